import type { SessionsClientError } from "./error.js";
import type { CallScope } from "./scope.js";

export interface RetryOptions {
  /** How many failures in a row are forgiven. 0: none. Default 8, which is about 15 seconds. */
  readonly maxRetries: number;
  /** The wait before the first retry, in milliseconds; it doubles with each further one. Default 100. */
  readonly initialDelayMs: number;
  /** The longest wait, in milliseconds; a longer one that the service asks for is kept all the same. Default 5000. */
  readonly maxDelayMs: number;
}

export const DEFAULT_DEADLINE_MS = 10_000;
export const DEFAULT_RETRIES: RetryOptions = { maxRetries: 8, initialDelayMs: 100, maxDelayMs: 5_000 };

/** The failures of one call, in a row. */
export interface Retries {
  /**
   * Waits until it is time to try again. Throws the error when it is not one to try again after, or time or tries are up. Who is
   * patient tries any number of times, if any at all.
   */
  pauseAfter(error: SessionsClientError, isPatient?: boolean): Promise<void>;
  /** There was progress: what failed before does not count any more. */
  reset(): void;
}

export function createRetries(options: RetryOptions, scope: CallScope): Retries {
  let failures = 0;
  return {
    async pauseAfter(error, isPatient = false) {
      if (!(isPassing(error) || isRefused(error))) throw error;
      if (failures >= options.maxRetries && !(isPatient && options.maxRetries > 0)) throw error;
      const delay = delayMs(failures, options, error.retryDelayMs, Math.random());
      if (Date.now() + delay >= scope.deadline) throw error;
      failures += 1;
      await scope.sleep(delay);
    },
    reset() {
      failures = 0;
    },
  };
}

/**
 * Half of the wait is chance, so that many clients who failed together do not come back together, and none comes before
 * the service asked for. `random` is from 0 to 1.
 */
export function delayMs(failures: number, options: RetryOptions, advisedMs = 0, random: number): number {
  const longest = Math.min(options.initialDelayMs * 2 ** failures, options.maxDelayMs);
  return advisedMs + longest * (0.5 + random / 2);
}

/** Whether the service said that it did nothing at all, only for there being too much: then any call can be tried again. */
export function isRefused({ reason }: SessionsClientError): boolean {
  return reason === "OVERLOADED" || reason === "RATE_LIMITED";
}

/** Whether the same may succeed later. */
function isPassing({ code, reason }: SessionsClientError): boolean {
  return (code === "UNAVAILABLE" && reason !== "CLIENT_CLOSED") || reason === "WATCHER_TOO_SLOW";
}
