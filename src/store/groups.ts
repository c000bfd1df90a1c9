import { type Call, lateness, timeLeft } from "../domain/call.js";
import { shuttingDown, storageUnavailable } from "../domain/errors.js";
import { OPERATION_TIMEOUT_MS } from "./driver-errors.js";

/** Calls that arrive while the database is at work for others form the next group, and share what a round trip costs. */
export interface Groups<Work extends { readonly call: Call }> {
  /** Has a work done. Rejects with its own error, or with UNAVAILABLE when its group fails or takes too long. */
  submit(work: Work): Promise<unknown>;
  /** Refuses what is still waiting and waits for what is under way. */
  close(): Promise<void>;
}

export interface GroupRules<Work> {
  readonly maxInFlight: number;
  /**
   * A group has this long for itself before another may start beside it. One large group costs the database and this process
   * less than two small ones; but one that is slow must not hold up the others.
   */
  readonly headStartMs: number;
  /** Which of those who wait, in the order of their arrival, go next, beside those that are under way. */
  choose(waiting: readonly Work[], underWay: readonly Work[]): readonly Work[];
  /**
   * Does a group's works. Each has an outcome of its own, in order, or one that is still to come; what is thrown is everybody's.
   */
  run(group: readonly Work[]): Promise<readonly (Outcome<unknown> | Promise<Outcome<unknown>>)[]>;
}

/** For groups of reads. The head start is about as long as a group takes when it is not slow. */
export const READ_GROUPS = { maxInFlight: 8, headStartMs: 5 };

export type Outcome<T> = { readonly result: T } | { readonly error: unknown };

export function createGroups<Work extends { readonly call: Call }>(rules: GroupRules<Work>): Groups<Work> {
  const waiting = new Map<Work, (outcome: Outcome<unknown>) => void>();
  const inFlight = new Map<Promise<void>, readonly Work[]>();
  /** The head start of the group that started last, while it lasts. */
  let headStart: NodeJS.Timeout | undefined;
  let closed = false;

  const pump = (): void => {
    while (waiting.size > 0 && inFlight.size < rules.maxInFlight && headStart === undefined) {
      dismissLate();
      const group = rules.choose([...waiting.keys()], [...inFlight.values()].flat());
      if (group.length === 0) return;
      start(group);
    }
  };

  /** Whose caller has gone, or has no time left, gets no turn. */
  const dismissLate = (): void => {
    for (const [{ call }, settle] of waiting) {
      if (call.signal.aborted) settle({ error: call.signal.reason });
      else if (timeLeft(call) < 1) settle({ error: lateness(call) });
    }
  };

  const start = (group: readonly Work[]): void => {
    const settles = group.map((work) => waiting.get(work));
    for (const work of group) waiting.delete(work);
    const endHeadStart = startAhead();
    const run = rules
      .run(group)
      .catch((error: unknown) => group.map(() => ({ error })))
      .then((outcomes) => Promise.all(outcomes.map(async (outcome, index) => settles[index]?.(await outcome))))
      .then(() => {
        inFlight.delete(run);
        endHeadStart();
        pump();
      });
    inFlight.set(run, group);
  };

  const startAhead = (): (() => void) => {
    if (rules.headStartMs === 0) return () => {};
    const end = (): void => {
      clearTimeout(own);
      if (headStart === own) headStart = undefined;
    };
    const own = setTimeout(() => {
      end();
      pump();
    }, rules.headStartMs);
    headStart = own;
    return end;
  };

  return {
    submit(work) {
      return new Promise((resolve, reject) => {
        if (closed) throw shuttingDown();
        const settle = (outcome: Outcome<unknown>): void => {
          clearTimeout(patience);
          waiting.delete(work);
          if ("error" in outcome) reject(outcome.error);
          else resolve(outcome.result);
        };
        // Whoever has been told that it failed must not have it done after all, if it was not begun.
        const noTurn = (): void => settle({ error: storageUnavailable(new Error("no turn in time")) });
        const patience = setTimeout(noTurn, OPERATION_TIMEOUT_MS);
        waiting.set(work, settle);
        pump();
      });
    },
    async close() {
      closed = true;
      for (const settle of waiting.values()) settle({ error: shuttingDown() });
      await Promise.all(inFlight.keys());
    },
  };
}
