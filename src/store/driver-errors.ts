import {
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

/** Runs one database operation; what the driver throws becomes a domain error, whose cause is for the log only. */
export async function translated<T>(operation: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(storageUnavailable(new Error("no answer in time"))), OPERATION_TIMEOUT_MS);
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
  if (error instanceof SessionsError || !(error instanceof MongoError)) return error;
  return isUnavailable(error) ? storageUnavailable(error) : error;
}

/** Goes by classes, labels and codes, never by the words of a message. */
function isUnavailable(error: MongoError): boolean {
  if (UNAVAILABLE_CLASSES.some((type) => error instanceof type)) return true;
  if (UNAVAILABLE_LABELS.some((label) => error.hasErrorLabel(label))) return true;
  return error instanceof MongoServerError && UNAVAILABLE_CODES.has(Number(error.code));
}

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
  237, // CursorKilled
  239, // SnapshotTooOld
  246, // SnapshotUnavailable
  262, // ExceededTimeLimit
  9001, // SocketException
  10107, // NotWritablePrimary
  11600, // InterruptedAtShutdown
  11602, // InterruptedDueToReplStateChange
  13435, // NotPrimaryNoSecondaryOk
  13436, // NotPrimaryOrSecondary
]);

export function isDuplicateKey(error: unknown): boolean {
  return error instanceof MongoServerError && error.code === 11000;
}

export function isLookupNeeded(error: unknown): boolean {
  return error instanceof LookupNeeded;
}
