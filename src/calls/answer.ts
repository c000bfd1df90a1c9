import { BadRequest, ErrorInfo, RetryInfo } from "../../gen/google/rpc/error_details.js";
import { type ErrorCode, SessionsError } from "../domain/errors.js";

/** What a caller is told who does not get what they asked for. Each door has its own shape for it. */
export interface Answer {
  readonly code: ErrorCode | "CANCELLED";
  readonly message: string;
  /** The `google.rpc` details, each as its type's full name and its bytes. */
  readonly details: readonly Detail[];
  /** After how many milliseconds it is worth to try again, as its RetryInfo says. */
  readonly retryAfterMs?: number | undefined;
}

export interface Detail {
  readonly type: string;
  readonly value: Uint8Array;
}

const DOMAIN = "sessions.v1";

/** After how long a client may try again: about what a database needs for an election. */
const RETRY_MS = 1_000;

/** The one place where an error becomes an answer. What is no error of ours is a fault of the service, and its text stays here. */
export function toAnswer(error: unknown, requestId: string): Answer {
  const known = error instanceof SessionsError ? error : internal(requestId);
  const { code, reason, violations } = known;
  const details = [
    detail("ErrorInfo", ErrorInfo.encode({ reason, domain: DOMAIN, metadata: { ...known.metadata } }).finish()),
  ];
  if (violations.length > 0) {
    const fieldViolations = violations.map((violation) => ({ ...violation, reason: "", localizedMessage: undefined }));
    details.push(detail("BadRequest", BadRequest.encode({ fieldViolations }).finish()));
  }
  const retryMs = retryAfterMs(known);
  if (retryMs !== undefined) {
    const retryDelay = { seconds: Math.floor(retryMs / 1000), nanos: Math.round((retryMs % 1000) * 1e6) };
    details.push(detail("RetryInfo", RetryInfo.encode({ retryDelay }).finish()));
  }
  return { code, message: shortened(known.message), details, retryAfterMs: retryMs };
}

/** After how many milliseconds it is worth to try again; undefined when the same call would fail again. */
export function retryAfterMs(error: SessionsError): number | undefined {
  const isPassing = error.code === "UNAVAILABLE" || error.reason === "OVERLOADED";
  return error.retryAfterMs ?? (isPassing ? RETRY_MS : undefined);
}

export function internal(requestId: string): SessionsError {
  return new SessionsError("INTERNAL", "INTERNAL", `A fault of the service, logged as request ${requestId}.`, {
    request_id: requestId,
  });
}

/** Headers have room for some kilobytes only; the violations say it all. */
function shortened(message: string): string {
  if (message.length <= MAX_MESSAGE) return message;
  // Half a surrogate pair cannot be encoded.
  return `${message.slice(0, MAX_MESSAGE).replace(/[\ud800-\udbff]$/, "")}…`;
}

const MAX_MESSAGE = 1000;

const detail = (name: string, value: Uint8Array): Detail => ({ type: `google.rpc.${name}`, value });
