import { status as codes, Metadata, type StatusObject } from "@grpc/grpc-js";
import { BadRequest, ErrorInfo, RetryInfo } from "../../gen/google/rpc/error_details.js";
import { Status } from "../../gen/google/rpc/status.js";
import { SessionsError } from "../domain/errors.js";

/** The one place where an error becomes a gRPC status, with the `google.rpc` details that every status carries. */

const DOMAIN = "sessions.v1";

/** After how long a client may try again: about what a database needs for an election. */
const RETRY_MS = 1_000;

export function toStatus(error: unknown, requestId: string): StatusObject {
  const known = error instanceof SessionsError ? error : internal(requestId);
  const code = codes[known.code];
  const details = [
    any(
      "ErrorInfo",
      ErrorInfo.encode({ reason: known.reason, domain: DOMAIN, metadata: { ...known.metadata } }).finish(),
    ),
  ];
  if (known.violations.length > 0) {
    const fieldViolations = known.violations.map((violation) => ({
      ...violation,
      reason: "",
      localizedMessage: undefined,
    }));
    details.push(any("BadRequest", BadRequest.encode({ fieldViolations }).finish()));
  }
  const retryMs = known.retryAfterMs ?? (isPassing(known) ? RETRY_MS : undefined);
  if (retryMs !== undefined) {
    const retryDelay = { seconds: Math.floor(retryMs / 1000), nanos: Math.round((retryMs % 1000) * 1e6) };
    details.push(any("RetryInfo", RetryInfo.encode({ retryDelay }).finish()));
  }
  const message = shortened(known.message);
  const metadata = new Metadata();
  metadata.set(DETAILS_KEY, Buffer.from(Status.encode({ code, message, details }).finish()));
  return { code, details: message, metadata };
}

export const DETAILS_KEY = "grpc-status-details-bin";

const isPassing = ({ code, reason }: SessionsError): boolean => code === "UNAVAILABLE" || reason === "OVERLOADED";

function internal(requestId: string): SessionsError {
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

function any(type: string, value: Uint8Array): { typeUrl: string; value: Uint8Array } {
  return { typeUrl: `type.googleapis.com/google.rpc.${type}`, value };
}
