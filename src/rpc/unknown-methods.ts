import { status as codes, type Server, type StatusObject } from "@grpc/grpc-js";
import { unknownMethod } from "../domain/errors.js";
import { toStatus } from "./status.js";

/**
 * Has a server answer calls of methods that it does not have with the details that all statuses have. grpc-js (1.14.7) answers them by
 * itself, before any interceptor.
 */
export function answerUnknownMethods(server: Server): void {
  const inner = server as unknown as Answering;
  // All that could change with grpc-js: without it its own answer is kept, and the test of it fails.
  if (typeof inner._respondWithError !== "function") return;
  const respond = inner._respondWithError.bind(server);
  inner._respondWithError = (status, ...rest) => respond(completed(status), ...rest);
}

interface Answering {
  _respondWithError?(status: StatusObject, ...rest: unknown[]): void;
}

function completed(status: StatusObject): StatusObject {
  const [, method] = UNKNOWN_METHOD.exec(status.details) ?? [];
  if (status.code !== codes.UNIMPLEMENTED || method === undefined) return status;
  const completed = toStatus(unknownMethod(method), "");
  // What it sends here it sends as it is.
  return { ...completed, details: encodeURI(completed.details) };
}

/** As grpc-js says it. */
const UNKNOWN_METHOD = /^The server does not implement the method \/?(.*)$/s;
