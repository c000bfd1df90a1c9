import { status as codes, Metadata } from "@grpc/grpc-js";
import { BadRequest, ErrorInfo, RetryInfo } from "../../gen/google/rpc/error_details.js";
import { Status } from "../../gen/google/rpc/status.js";
import type * as reasons from "../../gen/sessions/v1/error_reason.js";

/** A gRPC status by its name. */
export type ErrorCode = Exclude<keyof typeof codes, "OK">;

type Unprefixed<Name> = Name extends `ERROR_REASON_${infer Reason}` ? Exclude<Reason, "UNSPECIFIED"> : never;

/** The machine-readable cause. `CLIENT_CLOSED` is the client's own; the others are the service's. */
export type ErrorReason = Unprefixed<keyof typeof reasons.ErrorReason> | "CLIENT_CLOSED";

export interface Violation {
  /** The field's path in the request, as the proto spells it: `messages[3].metadata`. */
  readonly field: string;
  readonly description: string;
}

export interface ErrorDetails {
  readonly reason?: ErrorReason;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly violations?: readonly Violation[];
  readonly retryDelayMs?: number;
}

/** The one error that the client's calls end with. */
export class SessionsClientError extends Error {
  override readonly name = "SessionsClientError";
  readonly code: ErrorCode;
  /** Undefined when the service did not answer itself: a connection that was lost, a call that was cancelled. */
  readonly reason: ErrorReason | undefined;
  /** The variable parts of the message, such as `session_id`. */
  readonly metadata: Readonly<Record<string, string>>;
  /** With INVALID_ARGUMENT: all that is wrong with the request. */
  readonly violations: readonly Violation[];
  /** After how long the service suggests to try again. */
  readonly retryDelayMs: number | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.reason = details.reason;
    this.metadata = details.metadata ?? {};
    this.violations = details.violations ?? [];
    this.retryDelayMs = details.retryDelayMs;
  }

  /** Anything thrown as this class: itself, a gRPC status with its details, or else UNKNOWN with the cause kept. */
  static from(error: unknown): SessionsClientError {
    if (error instanceof SessionsClientError) return error;
    if (isStatus(error)) return fromStatus(error);
    const message = error instanceof Error ? error.message : String(error);
    return new SessionsClientError("UNKNOWN", message, {}, { cause: error });
  }
}

export const invalidArgument = (field: string, description: string, cause?: unknown) =>
  new SessionsClientError(
    "INVALID_ARGUMENT",
    `${field}: ${description}`,
    { reason: "INVALID_FIELD", metadata: { fields: field }, violations: [{ field, description }] },
    { cause },
  );

interface GrpcStatus extends Error {
  readonly code: number;
  readonly details: string;
  readonly metadata: Metadata;
}

function isStatus(error: unknown): error is GrpcStatus {
  return (
    error instanceof Error &&
    typeof (error as Partial<GrpcStatus>).code === "number" &&
    (error as Partial<GrpcStatus>).metadata instanceof Metadata
  );
}

function fromStatus(error: GrpcStatus): SessionsClientError {
  const details = decodeDetails(error.metadata);
  const code = details.reason === undefined && isLostConnection(error) ? "UNAVAILABLE" : codeOf(error.code);
  // A deadline that passes on this side comes without the service's details.
  const reason = details.reason ?? (code === "DEADLINE_EXCEEDED" ? "DEADLINE_EXCEEDED" : undefined);
  return new SessionsClientError(code, error.details, { ...details, reason }, { cause: error });
}

function codeOf(code: number): ErrorCode {
  const name = codes[code] as keyof typeof codes | undefined;
  return name === undefined || name === "OK" ? "UNKNOWN" : name;
}

/**
 * grpc-js tells most cut connections as UNAVAILABLE, but one that is cut in the midst of a stream may also look like a
 * cancellation that nobody asked for, or like a reset stream. What the caller cancelled does not come here.
 */
function isLostConnection({ code, details }: GrpcStatus): boolean {
  return code === codes.CANCELLED || (code === codes.INTERNAL && details.startsWith("Received RST_STREAM"));
}

function decodeDetails(metadata: Metadata): ErrorDetails {
  const [bytes] = metadata.get("grpc-status-details-bin");
  if (!(bytes instanceof Uint8Array)) return {};
  try {
    return Object.assign({}, ...Status.decode(bytes).details.map(decodeDetail));
  } catch {
    // Not ours: something between here and the service wrote it. The status itself still counts.
    return {};
  }
}

function decodeDetail({ typeUrl, value }: { typeUrl: string; value: Uint8Array }): ErrorDetails {
  switch (typeUrl.slice(typeUrl.lastIndexOf("/") + 1)) {
    case "google.rpc.ErrorInfo": {
      const { reason, metadata } = ErrorInfo.decode(value);
      return { reason: reason as ErrorReason, metadata };
    }
    case "google.rpc.BadRequest":
      return {
        violations: BadRequest.decode(value).fieldViolations.map(({ field, description }) => ({ field, description })),
      };
    case "google.rpc.RetryInfo": {
      const { retryDelay } = RetryInfo.decode(value);
      return retryDelay ? { retryDelayMs: retryDelay.seconds * 1000 + retryDelay.nanos / 1e6 } : {};
    }
    default:
      return {};
  }
}
