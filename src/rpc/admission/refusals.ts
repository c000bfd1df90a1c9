import { constants, type ServerHttp2Stream } from "node:http2";
import type { ServerInterceptingCallInterface } from "@grpc/grpc-js";
import type { Logger } from "pino";
import type { SessionsError } from "../../domain/errors.js";
import { toStatus } from "../status.js";

/** Ends a call before anything was done for it. */
export function refuse(call: ServerInterceptingCallInterface, error: unknown, requestId = ""): void {
  call.sendStatus(toStatus(error, requestId));
  // Else what has arrived is kept, and what is on its way still comes.
  streamOf(call)?.close(constants.NGHTTP2_NO_ERROR);
}

/**
 * The HTTP/2 stream under a call. grpc-js tells of a message only when all of it has arrived; a thousand calls that each send
 * nearly all of one would hold gigabytes that nobody has counted.
 */
export function streamOf(call: ServerInterceptingCallInterface): ServerHttp2Stream | undefined {
  let inner: Layer | undefined = call as Layer;
  while (inner && !inner.stream) inner = inner.nextCall;
  return inner?.stream;
}

/** A call as grpc-js has it, one interceptor's around another's. */
type Layer = { readonly nextCall?: Layer; readonly stream?: ServerHttp2Stream };

/** Refusals come in thousands; the log tells their number this often. */
const LOG_PERIOD_MS = 1_000;

/** Logs refusals: the first at once, and those that follow together, with how many they are and more about the newest of them. */
export function createRefusalLog(log: Logger): (error: SessionsError, about: object) => void {
  let refused = 0;
  let tellNewest = (): void => {};
  let period: NodeJS.Timeout | undefined;
  const tell = (): void => {
    period = undefined;
    if (refused === 0) return;
    tellNewest();
    refused = 0;
    period = setTimeout(tell, LOG_PERIOD_MS).unref();
  };
  return (error, about) => {
    refused += 1;
    tellNewest = () => log.warn({ refused, reason: error.reason, ...about }, `refused: ${error.message}`);
    if (!period) tell();
  };
}
