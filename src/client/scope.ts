import { invalidArgument, SessionsClientError } from "./error.js";

export interface CallOptions {
  /** Ends the call when aborted: it fails with CANCELLED, the signal's reason being the cause. */
  readonly signal?: AbortSignal;
  /**
   * How long the call may take in milliseconds, retries included; Infinity: as long as it takes. Default: the client's, but
   * none for listings and for calls whose work grows with what is stored (undelete, purge, deleteUser, fork).
   */
  readonly deadlineMs?: number;
}

/** What bounds one call with all its attempts: a deadline, the caller's signal, and the client that may be closed. */
export interface CallScope {
  /** In milliseconds since 1970; Infinity for none. */
  readonly deadline: number;
  throwIfEnded(): void;
  /** Has `cancel` called when the call is to end; the returned function takes that back. */
  onEnd(cancel: () => void): () => void;
  /** Rejects when the call ends before. */
  sleep(ms: number): Promise<void>;
  /** An attempt's failure. When the call was ended on this side, that is the reason, whatever the attempt says. */
  explain(error: unknown): SessionsClientError;
}

/** The client's own life: opens scopes until it is closed, which ends all that are under way. */
export interface Lifetime {
  open(options: CallOptions | undefined, defaultDeadlineMs: number): CallScope;
  close(): void;
}

export function createLifetime(): Lifetime {
  const cancels = new Set<() => void>();
  const aborts = createAborts();
  let closed = false;
  return {
    open({ signal, deadlineMs } = {}, defaultDeadlineMs) {
      const limit = deadlineMs ?? defaultDeadlineMs;
      if (!(limit >= 0)) throw invalidArgument("deadlineMs", "Milliseconds, at least 0.");
      const ended = (cause?: unknown): SessionsClientError | undefined => {
        if (closed) return clientClosed(cause);
        return signal?.aborted ? cancelled(signal.reason) : undefined;
      };
      const onEnd = (cancel: () => void): (() => void) => {
        cancels.add(cancel);
        const forget = signal && aborts.add(signal, cancel);
        return () => {
          cancels.delete(cancel);
          forget?.();
        };
      };
      return {
        deadline: Date.now() + limit,
        throwIfEnded() {
          const error = ended();
          if (error) throw error;
        },
        onEnd,
        async sleep(ms) {
          await new Promise<void>((resolve) => {
            const forget = onEnd(() => done());
            const timer = setTimeout(() => done(), ms);
            const done = () => {
              clearTimeout(timer);
              forget();
              resolve();
            };
          });
          this.throwIfEnded();
        },
        explain: (error) => ended(error) ?? SessionsClientError.from(error),
      };
    },
    close() {
      closed = true;
      for (const cancel of cancels) cancel();
    },
  };
}

/** One listener for each signal, however many calls share it: Node warns of more than ten as of a leak. */
function createAborts() {
  const cancelsOf = new WeakMap<AbortSignal, Set<() => void>>();
  return {
    add(signal: AbortSignal, cancel: () => void): () => void {
      const cancels = cancelsOf.get(signal) ?? new Set();
      if (!cancelsOf.has(signal)) {
        cancelsOf.set(signal, cancels);
        const abort = (): void => {
          for (const each of cancels) each();
        };
        signal.addEventListener("abort", abort, { once: true });
      }
      cancels.add(cancel);
      return () => void cancels.delete(cancel);
    },
  };
}

const clientClosed = (cause: unknown) =>
  new SessionsClientError("FAILED_PRECONDITION", "This client is closed.", { reason: "CLIENT_CLOSED" }, { cause });

const cancelled = (cause: unknown) =>
  new SessionsClientError("CANCELLED", "The caller has cancelled the call.", {}, { cause });
