import {
  MongoBulkWriteError,
  MongoClientClosedError,
  MongoError,
  MongoErrorLabel,
  MongoNetworkError,
  MongoNotConnectedError,
  MongoOperationTimeoutError,
  MongoServerError,
  MongoServerSelectionError,
  MongoTopologyClosedError,
} from "mongodb";
import { LookupNeeded } from "../domain/decision.js";
import { SessionsError, storageUnavailable } from "../domain/errors.js";

/**
 * No operation is waited for longer than this, whatever its caller's deadline. The driver's own `timeoutMS` has no effect as of
 * 7.8, and its other bounds add up: for a server, for a connection, for bytes on it, for the server's work, once more on a retry.
 */
export const OPERATION_TIMEOUT_MS = 10_000;

/**
 * Runs one database operation, for so long at most; what the driver throws becomes a domain error, whose cause is for the log
 * only.
 */
export async function translated<T>(operation: () => Promise<T>, withinMs = OPERATION_TIMEOUT_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(storageUnavailable(new Error("no answer in time"))), withinMs);
  });
  try {
    return await Promise.race([operation(), late]);
  } catch (error) {
    throw translate(error);
  } finally {
    clearTimeout(timer);
  }
}

export function translate(error: unknown): unknown {
  if (error instanceof SessionsError) return error;
  if (isSocketError(error)) return storageUnavailable(error);
  return error instanceof MongoError && isUnavailable(unwrapped(error)) ? storageUnavailable(error) : error;
}

/**
 * A connection that breaks in a transaction, before its commit, ends it: it can be run again. The driver says so by a label,
 * but leaves it out when another connection's break has emptied the pool just before, as it does when a primary dies.
 */
export function labelledInTransaction(thrown: unknown): unknown {
  const error = isSocketError(thrown) ? asDriverError(thrown) : thrown;
  if (!(error instanceof MongoError)) return error;
  const cause = unwrapped(error);
  if (cause instanceof MongoNetworkError) cause.addErrorLabel(MongoErrorLabel.TransientTransactionError);
  return cause;
}

/**
 * A connection that breaks during the commit leaves open whether it was done: it is to be sent again, which does it once. The driver
 * stumbles over what Node says of the connection, for it looks for labels on it, so all but its own errors means just that.
 */
export function labelledInCommit(thrown: unknown): unknown {
  if (thrown instanceof MongoError && !isSocketError(thrown)) return thrown;
  const error = asDriverError(thrown);
  error.addErrorLabel(MongoErrorLabel.UnknownTransactionCommitResult);
  return error;
}

function asDriverError(thrown: unknown): MongoNetworkError {
  if (thrown instanceof MongoNetworkError) return thrown;
  const cause = thrown instanceof Error ? thrown : new Error(String(thrown));
  return new MongoNetworkError(cause.message, { cause });
}

/** The driver makes whatever breaks off a bulk write into an error of the server's. */
function unwrapped(error: MongoError): MongoError {
  const cause: unknown = error instanceof MongoBulkWriteError ? error.errorResponse : undefined;
  return cause instanceof MongoError ? cause : error;
}

/**
 * A connection that breaks while a command is being written: the driver passes on what Node says of the socket, as it is, or as
 * an error of a bulk write.
 */
function isSocketError(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  return "syscall" in error || ("code" in error && SOCKET_CODES.has(String(error.code)));
}

/** What Node says without a system call. */
const SOCKET_CODES = new Set([
  "EPIPE",
  "ERR_SOCKET_CLOSED",
  "ERR_STREAM_DESTROYED",
  "ERR_STREAM_PREMATURE_CLOSE",
  "ERR_STREAM_WRITE_AFTER_END",
]);

/** Goes by classes, labels and codes, never by the words of a message. */
function isUnavailable(error: MongoError): boolean {
  if (UNAVAILABLE_CLASSES.some((type) => error instanceof type)) return true;
  if (UNAVAILABLE_LABELS.some((label) => error.hasErrorLabel(label))) return true;
  return error instanceof MongoServerError && UNAVAILABLE_CODES.has(Number(error.code));
}

/**
 * Whether a read may well succeed when it is sent again: its connection broke, or the primary is another by now. That is what the
 * driver goes by for the reads that it sends again itself.
 */
export function isWorthAnotherRead(error: unknown): boolean {
  return (
    isSocketError(error) ||
    error instanceof MongoNetworkError ||
    (error instanceof MongoServerError && OTHER_PRIMARY_CODES.has(Number(error.code)))
  );
}

/** As the driver has them: "retryable" of its specification. */
const OTHER_PRIMARY_CODES = new Set([6, 7, 89, 91, 134, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436]);

const UNAVAILABLE_CLASSES = [
  MongoNetworkError,
  MongoNotConnectedError,
  MongoOperationTimeoutError,
  MongoServerSelectionError,
  MongoTopologyClosedError,
  MongoClientClosedError,
];

const UNAVAILABLE_LABELS = [
  MongoErrorLabel.RetryableWriteError,
  MongoErrorLabel.TransientTransactionError,
  MongoErrorLabel.UnknownTransactionCommitResult,
  MongoErrorLabel.ResetPool,
];

/** Server codes of a database that is stopping, electing, out of time or not yet a replica set. */
const UNAVAILABLE_CODES = new Set([
  6, // HostUnreachable
  7, // HostNotFound
  43, // CursorNotFound
  50, // MaxTimeMSExpired
  64, // WriteConcernFailed
  89, // NetworkTimeout
  91, // ShutdownInProgress
  94, // NotYetInitialized
  112, // WriteConflict
  133, // FailedToSatisfyReadPreference
  134, // ReadConcernMajorityNotAvailableYet
  189, // PrimarySteppedDown
  202, // NetworkInterfaceExceededTimeLimit
  225, // TransactionTooOld
  237, // CursorKilled
  239, // SnapshotTooOld
  246, // SnapshotUnavailable
  251, // NoSuchTransaction
  262, // ExceededTimeLimit
  290, // TransactionExceededLifetimeLimitSeconds
  9001, // SocketException
  10107, // NotWritablePrimary
  11600, // InterruptedAtShutdown
  11601, // Interrupted: somebody has killed the operation or its session
  11602, // InterruptedDueToReplStateChange
  13435, // NotPrimaryNoSecondaryOk
  13436, // NotPrimaryOrSecondary
]);

export function isDuplicateKey(error: unknown): boolean {
  return error instanceof MongoServerError && error.code === 11000;
}

/** An index cannot be created because of another one, or because another process dropped it meanwhile. */
export function isIndexConflict(error: unknown): boolean {
  return error instanceof MongoServerError && INDEX_CONFLICT_CODES.has(Number(error.code));
}

const INDEX_CONFLICT_CODES = new Set([
  85, // IndexOptionsConflict
  86, // IndexKeySpecsConflict
  276, // IndexBuildAborted
]);

export function isIndexGone(error: unknown): boolean {
  return error instanceof MongoServerError && error.code === 27;
}

export function isLookupNeeded(error: unknown): boolean {
  return error instanceof LookupNeeded;
}

/** The database's log does not reach back any more to where it was to be read from, or is not that of the same collections. */
export function isLogLost(error: unknown): boolean {
  return error instanceof MongoServerError && LOG_LOST_CODES.has(Number(error.code));
}

const LOG_LOST_CODES = new Set([
  136, // CappedPositionLost
  280, // ChangeStreamFatalError
  286, // ChangeStreamHistoryLost
  326, // OplogQueryMinTsMissing
]);
