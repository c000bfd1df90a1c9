import type { Call } from "../../domain/call.js";
import type { Traces } from "../../domain/traces.js";
import { type Choice, createGroups, type Outcome } from "../groups.js";
import { type StoreObserver, UNOBSERVED } from "../observer.js";
import { needsExtras, type SessionChange } from "./transaction.js";

/**
 * Changes that arrive while transactions are under way form the next one, and share its cost: above all the wait for a
 * journaled majority. No two groups in flight hold the same session, or name the same user, so that they do not get in each
 * other's way.
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
const MAX_CHANGES = 128;
const MAX_MESSAGES = 1000;
const MAX_BYTES = 8 * 1024 * 1024;
/** Large ones take seconds. They never take the last place, so that small ones do not wait behind them. */
const LARGE_BYTES = 512 * 1024;
const MAX_LARGE_BYTES_IN_FLIGHT = (MAX_GROUPS_IN_FLIGHT - 1) * MAX_BYTES;

interface Entry {
  readonly call: Call;
  readonly change: SessionChange<unknown>;
  readonly cost: Cost;
}

export function createGroupCommit(
  apply: (group: readonly SessionChange<unknown>[]) => Promise<Outcome<unknown>[]>,
  traces?: Traces,
  observer: StoreObserver = UNOBSERVED,
): GroupCommit {
  const groups = createGroups<Entry>(
    {
      name: "commit changes",
      maxInFlight: MAX_GROUPS_IN_FLIGHT,
      choose: nextGroup,
      run: (group) => apply(group.map(({ change }) => change)),
      onEnd: (calls, seconds) => observer.groupEnded("commit", calls, seconds),
    },
    traces,
  );
  return {
    submit: <T>(call: Call, change: SessionChange<T>, cost: Cost = { messages: 0, bytes: 0 }) =>
      groups.submit({ call, change, cost }) as Promise<T>,
    close: groups.close,
  };
}

/** Changes of one session keep their order: once one of them has to wait, so do those behind it. */
function nextGroup(waiting: readonly Entry[], underWay: readonly Entry[]): Choice<Entry> {
  const group: Entry[] = [];
  const taken = new Set<string>();
  const held = new Set(underWay.flatMap(({ change }) => documentsOf(change)));
  let messages = 0;
  let bytes = 0;
  let isFull = false;
  let largeBytes = underWay.reduce((sum, entry) => sum + largeBytesOf(entry), 0);
  for (const entry of waiting) {
    const { session } = entry.change;
    const alone = needsExtras(entry.change);
    const large = largeBytesOf(entry);
    const hasPlace = large === 0 || largeBytes + large <= MAX_LARGE_BYTES_IN_FLIGHT;
    const hasRoom =
      group.length === 0 ||
      (group.length < MAX_CHANGES &&
        messages + entry.cost.messages <= MAX_MESSAGES &&
        bytes + entry.cost.bytes <= MAX_BYTES);
    const isHeld = documentsOf(entry.change).some((key) => held.has(key));
    if (isHeld || (alone && taken.has(session)) || !hasPlace || !hasRoom) {
      isFull ||= !hasRoom && !isHeld;
      held.add(session);
      continue;
    }
    if (alone) held.add(session);
    taken.add(session);
    messages += entry.cost.messages;
    bytes += entry.cost.bytes;
    largeBytes += large;
    group.push(entry);
  }
  return { group, isFull };
}

const largeBytesOf = ({ cost }: Entry): number => (cost.bytes > LARGE_BYTES ? cost.bytes : 0);

/** What it may write that others may, too: the keys of sessions and users in one, with what tells them apart. */
const documentsOf = ({ session, namedUsers = [] }: SessionChange<unknown>): string[] => [
  session,
  ...namedUsers.flatMap((user) => (user ? [`user ${user}`] : [])),
];
