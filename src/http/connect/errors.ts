import { fromBinary, type Registry, toJson } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import type { Answer } from "../../calls/answer.js";

/** What a caller is told, as the library sends it. `registry` knows the details, which are sent in JSON too, for people to read. */
export function connectError({ code, message, details }: Answer, registry: Registry): ConnectError {
  const error = new ConnectError(message, CODES[code]);
  error.details = details.map(({ type, value }) => {
    const desc = registry.getMessage(type);
    return { type, value, debug: desc && toJson(desc, fromBinary(desc, value)) };
  });
  return error;
}

const CODES: Readonly<Record<Answer["code"], Code>> = {
  ABORTED: Code.Aborted,
  ALREADY_EXISTS: Code.AlreadyExists,
  CANCELLED: Code.Canceled,
  DEADLINE_EXCEEDED: Code.DeadlineExceeded,
  FAILED_PRECONDITION: Code.FailedPrecondition,
  INTERNAL: Code.Internal,
  INVALID_ARGUMENT: Code.InvalidArgument,
  NOT_FOUND: Code.NotFound,
  PERMISSION_DENIED: Code.PermissionDenied,
  RESOURCE_EXHAUSTED: Code.ResourceExhausted,
  OUT_OF_RANGE: Code.OutOfRange,
  UNAUTHENTICATED: Code.Unauthenticated,
  UNAVAILABLE: Code.Unavailable,
  UNIMPLEMENTED: Code.Unimplemented,
};
