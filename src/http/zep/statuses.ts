import type { Answer } from "../../calls/answer.js";

/** The status of each way in which a call can fail. The legacy server knows no conflict: what is there already is a bad request to it. */
export function statusOf(code: Answer["code"]): number {
  return STATUSES[code];
}

const STATUSES: Readonly<Record<Answer["code"], number>> = {
  INVALID_ARGUMENT: 400,
  ALREADY_EXISTS: 400,
  FAILED_PRECONDITION: 400,
  UNAUTHENTICATED: 401,
  PERMISSION_DENIED: 403,
  NOT_FOUND: 404,
  ABORTED: 409,
  OUT_OF_RANGE: 400,
  RESOURCE_EXHAUSTED: 429,
  CANCELLED: 499,
  INTERNAL: 500,
  UNIMPLEMENTED: 501,
  UNAVAILABLE: 503,
  DEADLINE_EXCEEDED: 504,
};
