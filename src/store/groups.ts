import { type Call, lateness, timeLeft } from "../domain/call.js";
import { shuttingDown, storageUnavailable } from "../domain/errors.js";
import type { Place, Traces } from "../domain/traces.js";
import { OPERATION_TIMEOUT_MS } from "./driver-errors.js";

/**
 * Calls that arrive while the database is at work for others form the next group, and share what a round trip costs.
 *
 * When the next group starts follows from what is under way, so it holds on any machine:
 * - With nothing under way, when a turn of the event loop has brought nothing more: who is alone hardly waits, and those whose
 *   requests came in one go are together. A busy loop can bring something in each turn, so nobody waits for that longer than
 *   twice as long as groups usually take.
 * - Beside others, when it is as large as all of them. So of many calls half are at the database while the other half gathers, and
 *   its work never ends while some wait; small groups, which cost nearly as much as large ones, do not split what could be one.
 * - At once, when it is full; and when those under way take twice as long as groups usually do, for a slow one must not hold up others.
 *   Nor must a slow work hold up others: those of its group that have their outcome are not under way any more.
 */
export interface Groups<Work extends { readonly call: Call }> {
  /** Has a work done. Rejects with its own error, or with UNAVAILABLE when its group fails or takes too long. */
  submit(work: Work): Promise<unknown>;
  /** Refuses what is still waiting and waits for what is under way. */
  close(): Promise<void>;
}

export interface GroupRules<Work> {
  /** What is done, in a trace. */
  readonly name: string;
  readonly maxInFlight: number;
  /** Which of those who wait, in the order of their arrival, go next, beside those that are under way. */
  choose(waiting: readonly Work[], underWay: readonly Work[]): Choice<Work>;
  /**
   * Does a group's works. Each has an outcome of its own, in order, or one that is still to come; what is thrown is everybody's. What is
   * done for one of them alone is run as its own.
   */
  run(group: readonly Work[], asOwn: AsOwn<Work>): Promise<readonly (Outcome<unknown> | Promise<Outcome<unknown>>)[]>;
  /** A group of so many works has ended, or has outcomes that are still to come. */
  onEnd(works: number, seconds: number): void;
}

type AsOwn<Work> = <T>(work: Work, act: () => T) => T;

export interface Choice<Work> {
  readonly group: readonly Work[];
  /** Whether others wait who could go too, had the group room for them. */
  readonly isFull: boolean;
}

export type Outcome<T> = { readonly result: T } | { readonly error: unknown };

/** What groups are taken to need before any has ended, and at most: what is slow now must not be waited for later. */
const LONG_MS = 25;

interface Waiter {
  settle(outcome: Outcome<unknown>): void;
  readonly place: Place | undefined;
}

export function createGroups<Work extends { readonly call: Call }>(
  rules: GroupRules<Work>,
  traces?: Traces,
): Groups<Work> {
  const waiting = new Map<Work, Waiter>();
  /** With those works of each group that have no outcome yet. */
  const inFlight = new Map<Promise<void>, Set<Work>>();
  let arrivals = 0;
  let look: NodeJS.Immediate | undefined;
  /** Set while a group waits for those under way. */
  let patience: NodeJS.Timeout | undefined;
  let lastStart = 0;
  let usualMs = LONG_MS;
  let closed = false;

  /** At the end of this turn of the event loop, or of the first one that brings nothing more, or when that does not come. */
  const lookSoon = (since = performance.now()): void => {
    if (look) return;
    const seen = arrivals;
    look = setImmediate(() => {
      look = undefined;
      const isStillComing = arrivals > seen && performance.now() - since < 2 * usualMs;
      pump(isStillComing);
      if (isStillComing) lookSoon(since);
    });
  };

  const pump = (isStillComing: boolean): void => {
    clearTimeout(patience);
    patience = undefined;
    dismissLate();
    while (waiting.size > 0 && inFlight.size < rules.maxInFlight) {
      const underWay = [...inFlight.values()].flatMap((works) => [...works]);
      const { group, isFull } = rules.choose([...waiting.keys()], underWay);
      if (group.length === 0) return;
      if (!isFull) {
        if (isStillComing) return;
        const restMs = lastStart + 2 * usualMs - performance.now();
        if (group.length < underWay.length && restMs > 0) {
          patience = setTimeout(() => pump(false), restMs);
          return;
        }
      }
      start(group);
    }
  };

  /** Whose caller has gone, or has no time left, gets no turn. */
  const dismissLate = (): void => {
    for (const [{ call }, { settle }] of waiting) {
      if (call.signal.aborted) settle({ error: call.signal.reason });
      else if (timeLeft(call) < 1) settle({ error: lateness(call) });
    }
  };

  const start = (group: readonly Work[]): void => {
    const waiters = group.map((work) => waiting.get(work));
    for (const work of group) waiting.delete(work);
    const works = new Set(group);
    const started = performance.now();
    lastStart = started;
    const underWay = runTogether(group, waiters)
      .catch((error: unknown) => group.map(() => ({ error })))
      .then((outcomes) => {
        const ms = performance.now() - started;
        usualMs += (Math.min(ms, LONG_MS) - usualMs) / 8;
        rules.onEnd(group.length, ms / 1000);
        lookSoon();
        return Promise.all(
          group.map(async (work, index) => {
            waiters[index]?.settle((await outcomes[index]) as Outcome<unknown>);
            works.delete(work);
          }),
        );
      })
      .then(() => {
        inFlight.delete(underWay);
        lookSoon();
      });
    inFlight.set(underWay, works);
  };

  const runTogether = (group: readonly Work[], waiters: readonly (Waiter | undefined)[]) => {
    if (!traces) return rules.run(group, (_, act) => act());
    const places = waiters.map((waiter) => waiter?.place);
    const placeOf = new Map(group.map((work, index) => [work, places[index]]));
    const asOwn: AsOwn<Work> = (work, act) => {
      const place = placeOf.get(work);
      return place ? place.run(act) : act();
    };
    return traces.together(rules.name, places, () => rules.run(group, asOwn));
  };

  return {
    submit(work) {
      return new Promise((resolve, reject) => {
        if (closed) throw shuttingDown();
        const place = traces?.join(rules.name);
        const settle = (outcome: Outcome<unknown>): void => {
          clearTimeout(timer);
          waiting.delete(work);
          place?.leave();
          if ("error" in outcome) reject(outcome.error);
          else resolve(outcome.result);
        };
        // Whoever has been told that it failed must not have it done after all, if it was not begun.
        const noTurn = (): void => settle({ error: storageUnavailable(new Error("no turn in time")) });
        const timer = setTimeout(noTurn, OPERATION_TIMEOUT_MS);
        waiting.set(work, { settle, place });
        arrivals += 1;
        lookSoon();
      });
    },
    async close() {
      closed = true;
      clearTimeout(patience);
      for (const { settle } of waiting.values()) settle({ error: shuttingDown() });
      await Promise.all(inFlight.keys());
    },
  };
}
