import { constants, type ServerHttp2Stream } from "node:http2";
import type { ServerInterceptingCallInterface } from "@grpc/grpc-js";
import { toStatus } from "./status.js";

/** Ends a call before anything was done for it. */
export function refuse(call: ServerInterceptingCallInterface, error: unknown): void {
  call.sendStatus(toStatus(error, ""));
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
