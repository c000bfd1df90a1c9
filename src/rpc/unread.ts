import { constants } from "node:http2";
import { ServerInterceptingCall, type ServerInterceptor } from "@grpc/grpc-js";
import { streamOf } from "./refuse.js";

/** How long the rest of a stream's answer has to get out when it is over. */
const LAST_BYTES_MS = 10_000;

/**
 * A stream's status comes behind all that was written before it. Who does not read never gets to it, and what was written would stay in
 * memory for as long as they keep their connection: it is dropped.
 */
export const dropUnread: ServerInterceptor = ({ responseStream }, call) => {
  if (!responseStream) return new ServerInterceptingCall(call);
  const stream = streamOf(call);
  return new ServerInterceptingCall(call, {
    sendStatus(status, next) {
      next(status);
      if (!stream || stream.closed) return;
      const timer = setTimeout(() => stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM), LAST_BYTES_MS).unref();
      stream.once("close", () => clearTimeout(timer));
    },
  });
};
