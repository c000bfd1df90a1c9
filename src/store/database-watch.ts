import type { Database } from "./database.js";
import type { IndexConflict } from "./indexes.js";

/** How often the database is asked for a sign of life, and how long it may take. */
const PERIOD_MS = 1_000;
const PATIENCE_MS = 2_500;

/**
 * Watches whether the database answers, and creates the indexes when it first does. It tells each turn once, beginning
 * with whatever is found first.
 */
export function watchDatabase(
  database: Database,
  listener: {
    onReachable(): void;
    onUnreachable(error: unknown): void;
    onIndexConflict(conflict: IndexConflict): void;
  },
): { readonly firstContact: Promise<"reachable" | "unreachable">; stop(): Promise<void> } {
  let state: "reachable" | "unreachable" | undefined;
  let prepared = false;
  let stopped = false;
  let wake = (): void => {};
  let tellFirst: (state: "reachable" | "unreachable") => void;
  const firstContact = new Promise<"reachable" | "unreachable">((resolve) => {
    tellFirst = resolve;
  });

  const become = (next: "reachable" | "unreachable", error?: unknown): void => {
    if (stopped || state === next) return;
    state = next;
    if (next === "reachable") listener.onReachable();
    else listener.onUnreachable(error);
    tellFirst(next);
  };

  const look = async (): Promise<void> => {
    // An answer that takes too long counts as none, but is waited for: questions must not pile up.
    const patience = setTimeout(() => become("unreachable", new Error("no answer in time")), PATIENCE_MS);
    try {
      await database.ping();
      clearTimeout(patience);
      if (!prepared) await database.prepare(listener.onIndexConflict);
      prepared = true;
      become("reachable");
    } catch (error) {
      become("unreachable", error);
    } finally {
      clearTimeout(patience);
    }
  };

  const run = async (): Promise<void> => {
    while (!stopped) {
      await look();
      if (stopped) return;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, PERIOD_MS);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  };
  const running = run();

  return {
    firstContact,
    async stop() {
      stopped = true;
      wake();
      await running;
    },
  };
}
