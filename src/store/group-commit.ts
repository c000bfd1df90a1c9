import { type Call, lateness, timeLeft } from "../domain/call.js";
import { shuttingDown, storageUnavailable } from "../domain/errors.js";
import { OPERATION_TIMEOUT_MS } from "./driver-errors.js";
import { needsExtras, type Outcome, type SessionChange } from "./transaction.js";

/**
 * Changes that arrive while transactions are under way form the next one, and share its cost: above all the wait for a
 * journaled majority. No two groups in flight hold the same session, so that they do not get in each other's way.
 */
export interface GroupCommit {
  /** Has a change made. Rejects with its own error, or with UNAVAILABLE when its group's transaction fails or takes too long. */
  submit<T>(call: Call, change: SessionChange<T>, cost?: Cost): Promise<T>;
  /** Refuses what is still waiting and waits for what is under way. */
  close(): Promise<void>;
}

/** What a change adds to its group's transaction. */
export interface Cost {
  readonly messages: number;
  readonly bytes: number;
}

const MAX_GROUPS_IN_FLIGHT = 4;
/**
 * A group has this long for itself before another may start beside it. One large group costs the database and this process less
 * than two small ones; but one that is slow, or in another process's way, must not hold up the others.
 */
const HEAD_START_MS = 50;
const MAX_CHANGES = 128;
const MAX_MESSAGES = 1000;
const MAX_BYTES = 8 * 1024 * 1024;

interface Entry {
  readonly call: Call;
  readonly change: SessionChange<unknown>;
  readonly cost: Cost;
  readonly settle: (outcome: Outcome<unknown>) => void;
}

export function createGroupCommit(
  apply: (group: readonly SessionChange<unknown>[]) => Promise<Outcome<unknown>[]>,
  headStartMs = HEAD_START_MS,
): GroupCommit {
  let waiting: Entry[] = [];
  const busy = new Set<string>();
  const inFlight = new Set<Promise<void>>();
  /** The head start of the group that started last, while it lasts. */
  let headStart: NodeJS.Timeout | undefined;
  let closed = false;

  const pump = (): void => {
    while (inFlight.size < MAX_GROUPS_IN_FLIGHT && headStart === undefined) {
      const { group, left } = nextGroup(waiting, busy);
      waiting = left;
      if (group.length === 0) return;
      const ended = startAhead();
      const run = commit(group).finally(() => {
        inFlight.delete(run);
        ended();
        pump();
      });
      inFlight.add(run);
    }
  };

  const startAhead = (): (() => void) => {
    if (headStartMs === 0) return () => {};
    const end = (): void => {
      clearTimeout(own);
      if (headStart === own) headStart = undefined;
    };
    const own = setTimeout(() => {
      end();
      pump();
    }, headStartMs);
    headStart = own;
    return end;
  };

  const commit = async (group: Entry[]): Promise<void> => {
    for (const { change } of group) busy.add(change.session);
    try {
      const outcomes = await apply(group.map(({ change }) => change));
      group.forEach((entry, index) => {
        entry.settle(outcomes[index] as Outcome<unknown>);
      });
    } catch (error) {
      for (const entry of group) entry.settle({ error });
    } finally {
      for (const { change } of group) busy.delete(change.session);
    }
  };

  return {
    submit<T>(call: Call, change: SessionChange<T>, cost: Cost = { messages: 0, bytes: 0 }) {
      return new Promise<T>((resolve, reject) => {
        if (closed) throw shuttingDown();
        const entry: Entry = {
          call,
          change,
          cost,
          settle(outcome) {
            clearTimeout(patience);
            if ("error" in outcome) reject(outcome.error);
            else resolve(outcome.result as T);
          },
        };
        const patience = setTimeout(() => {
          // Whoever has been told that it failed must not have it made after all, if it was not begun.
          waiting = waiting.filter((other) => other !== entry);
          entry.settle({ error: storageUnavailable(new Error("no turn in time")) });
        }, OPERATION_TIMEOUT_MS);
        waiting.push(entry);
        pump();
      });
    },
    async close() {
      closed = true;
      for (const entry of waiting) entry.settle({ error: shuttingDown() });
      waiting = [];
      await Promise.all(inFlight);
    },
  };
}

/**
 * The next group out of those who wait, in the order of their arrival, and who is left. Changes of one session keep their
 * order: once one of them has to wait, so do those behind it. A change whose caller has gone, or has no time left, is not made.
 */
function nextGroup(waiting: readonly Entry[], busy: ReadonlySet<string>): { group: Entry[]; left: Entry[] } {
  const group: Entry[] = [];
  const left: Entry[] = [];
  const taken = new Set<string>();
  const held = new Set<string>(busy);
  let messages = 0;
  let bytes = 0;
  for (const entry of waiting) {
    const { session } = entry.change;
    const { signal } = entry.call;
    if (signal.aborted || timeLeft(entry.call) < 1) {
      entry.settle({ error: signal.aborted ? signal.reason : lateness(entry.call) });
      continue;
    }
    const alone = needsExtras(entry.change);
    const fits =
      group.length === 0 ||
      (group.length < MAX_CHANGES &&
        messages + entry.cost.messages <= MAX_MESSAGES &&
        bytes + entry.cost.bytes <= MAX_BYTES);
    if (held.has(session) || (alone && taken.has(session)) || !fits) {
      held.add(session);
      left.push(entry);
      continue;
    }
    if (alone) held.add(session);
    taken.add(session);
    messages += entry.cost.messages;
    bytes += entry.cost.bytes;
    group.push(entry);
  }
  return { group, left };
}
