import { constants } from "node:http2";
import { ServerInterceptingCall, type ServerInterceptor } from "@grpc/grpc-js";
import { LAST_BYTES_MS } from "../calls/execution.js";
import { streamOf } from "./refuse.js";

/** Drops what nobody reads of a stream that is over. */
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
