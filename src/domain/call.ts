import { type SessionsError, storageUnavailable } from "./errors.js";
import { DEFAULT_PROJECT } from "./keys.js";

/** What every operation knows of the call on whose behalf it runs. */
export interface Call {
  /** The project whose data the call may touch. */
  readonly project: string;
  /** The key of the user whose sessions alone the call may touch; undefined when it may touch all of the project's. */
  readonly user?: string | undefined;
  /** Aborted when the client has gone or the server stops. */
  readonly signal: AbortSignal;
  /** When the answer has to be there, in milliseconds since 1970; Infinity without a deadline. */
  readonly deadline: number;
  /** What the caller is told when it is not: whose deadline it is decides. Absent: that the database took too long. */
  readonly late?: () => SessionsError;
  /** Ends it with this, whatever is under way. */
  readonly end?: (error: SessionsError) => void;
  /** Names the call in the log, and in an INTERNAL error. */
  readonly requestId: string;
  /** Names the credential that was shown, and no person. Absent where none was asked for. */
  readonly credential?: string | undefined;
}

/** A call that nobody has made: what the service does by itself goes by keys, which say whose they are, and takes as long as it takes. */
export function ownCall(requestId: string, signal: AbortSignal): Call {
  return { project: DEFAULT_PROJECT, signal, deadline: Number.POSITIVE_INFINITY, requestId };
}

/** Whether the call may touch what belongs to this user, by their key; undefined for what belongs to nobody. */
export function reaches({ user }: Call, owner: string | undefined): boolean {
  return user === undefined || user === owner;
}

/** Milliseconds until the deadline. */
export function timeLeft({ deadline }: Call): number {
  return deadline - Date.now();
}

export function lateness({ late }: Call): SessionsError {
  return late?.() ?? storageUnavailable(new Error("took too long"));
}
