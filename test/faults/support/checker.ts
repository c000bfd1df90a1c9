import type { HistoryEvent, Seen } from "./history.js";

/**
 * Whether the history of each session could have come from a session that does one operation after the other, each at some
 * moment between its begin and its end. An operation of unknown outcome took effect at any moment after its begin, or never.
 *
 * The search is that of Wing and Gong with Lowe's improvements: the events are gone through in their order, and operations are
 * put in line only when one of them ends, so just in time; what has failed from one place with one state is not tried again.
 */
export interface Verdict {
  readonly key: string;
  readonly operations: number;
  /** `undecided` when the search was given up: nothing is proven then, so a test must not pass. */
  readonly outcome: "linearizable" | "violated" | "undecided";
  /** What no order could explain, or where the search was given up. */
  readonly explanation?: string;
}

/** Steps of the search, a session. A history as the tests record them takes thousands. */
const MAX_STEPS = 2_000_000;

export function checkHistory(events: readonly HistoryEvent[], maxSteps = MAX_STEPS): Verdict[] {
  const byKey = new Map<string, HistoryEvent[]>();
  for (const event of events) {
    const others = byKey.get(event.key);
    if (others) others.push(event);
    else byKey.set(event.key, [event]);
  }
  return [...byKey].map(([key, own]) => checkSession(key, own, maxSteps));
}

/** What does not hold: of a session that is in order, nothing. */
export function violationsIn(verdicts: readonly Verdict[]): string[] {
  return verdicts
    .filter(({ outcome }) => outcome !== "linearizable")
    .map(({ key, outcome, explanation }) => `${key} is ${outcome}: ${explanation}`);
}

interface Op {
  readonly index: number;
  readonly begin: HistoryEvent;
  /** Undefined: nobody knows how it ended. */
  readonly end: HistoryEvent | undefined;
}

interface Sight {
  readonly saw: Seen;
  readonly at: number;
}

type Moment = { readonly begins: Op } | { readonly ends: Op };

function checkSession(key: string, events: readonly HistoryEvent[], maxSteps: number): Verdict {
  const { ops, moments } = read(events);
  const failed = new Set<string>();
  let steps = 0;
  let farthest = 0;

  /** Whether all from this moment on can be explained, `taken` being the operations that are in line already. */
  function explains(at: number, state: State, taken: ReadonlySet<Op>): boolean {
    let next = at;
    for (; next < moments.length; next++) {
      const moment = moments[next] as Moment;
      if ("ends" in moment && !taken.has(moment.ends)) break;
    }
    farthest = Math.max(farthest, next);
    if (next === moments.length) return true;

    steps += 1;
    if (steps > maxSteps) throw new GivenUp();
    const { ends: due } = moments[next] as { ends: Op };
    const open = ops.filter((op) => isOpen(op, next) && !taken.has(op));
    const place = `${next} ${[...taken].filter((op) => isOpen(op, next)).map(({ index }) => index)} ${state.key}`;
    if (failed.has(place)) return false;
    const sight = nextSight(next, taken);
    if (sight && isLost(state, sight, taken)) return fails(place);

    const choices: { op: Op; after: State }[] = [];
    const alike = new Set<string>();
    for (const op of [due, ...open.filter((other) => other !== due)]) {
      // Of operations that ask for the same, and of which nobody knows the outcome, any can stand for any other.
      if (!op.end) {
        if (alike.has(demandOf(op))) continue;
        alike.add(demandOf(op));
      }
      const after = op.end ? answered(state, op.begin, op.end) : effect(state, op.begin);
      if (after === undefined) continue;
      // What never changes anything can come as soon as it may: whatever else can follow can still follow it.
      if (op.end && (READS.has(op.begin.f) || op.end.type === "fail")) {
        return explains(next, state, new Set([...taken, op])) || fails(place);
      }
      if (op.end || after.key !== state.key) choices.push({ op, after });
    }
    // What is sure to have happened first, then what the next read saw: most operations of unknown outcome explain nothing.
    const seen = sight?.saw.ids ?? [];
    const rank = ({ op }: { op: Op }): number => {
      if (op.end) return 0;
      const position = op.begin.f === "add" ? seen.indexOf((op.begin.value as readonly string[])[0] as string) : -1;
      return position === -1 ? Number.POSITIVE_INFINITY : 1 + position;
    };
    choices.sort((a, b) => (rank(a) === rank(b) ? 0 : rank(a) - rank(b)));
    return choices.some(({ op, after }) => explains(next, after, new Set([...taken, op]))) || fails(place);
  }

  /** What the next read saw whose answer is still to be explained, and when that came. */
  function nextSight(from: number, taken: ReadonlySet<Op>): Sight | undefined {
    for (let at = from; at < moments.length; at++) {
      const moment = moments[at] as Moment;
      if (!("ends" in moment) || !READS.has(moment.ends.begin.f) || taken.has(moment.ends)) continue;
      return { saw: moment.ends.end?.value as Seen, at };
    }
    return undefined;
  }

  /** Whether a live session can no longer become what the next read saw, as nothing is left that takes messages away. */
  function isLost({ status, memory }: State, { saw, at }: Sight, taken: ReadonlySet<Op>): boolean {
    if (status !== "live" || memory.every((id, index) => id === saw.ids[index])) return false;
    return !ops.some(
      (other) => TAKES_AWAY.has(other.begin.f) && (beginOf.get(other) as number) < at && !taken.has(other),
    );
  }

  function fails(place: string): false {
    failed.add(place);
    return false;
  }

  function isOpen(op: Op, at: number): boolean {
    return (beginOf.get(op) as number) < at && (endOf.get(op) ?? Number.POSITIVE_INFINITY) >= at;
  }

  const beginOf = new Map<Op, number>();
  const endOf = new Map<Op, number>();
  for (const [index, moment] of moments.entries()) {
    if ("begins" in moment) beginOf.set(moment.begins, index);
    else endOf.set(moment.ends, index);
  }

  try {
    if (explains(0, NO_SESSION, new Set())) return { key, operations: ops.length, outcome: "linearizable" };
  } catch (error) {
    if (!(error instanceof GivenUp)) throw error;
    return { key, operations: ops.length, outcome: "undecided", explanation: inWords(moments[farthest]) };
  }
  return { key, operations: ops.length, outcome: "violated", explanation: inWords(moments[farthest]) };
}

/** What an operation asks for. */
const demandOf = ({ begin }: Op): string => `${begin.f} ${begin.value}`;

const READS: ReadonlySet<string> = new Set(["get", "search"]);
const TAKES_AWAY: ReadonlySet<string> = new Set(["delete", "clear"]);

class GivenUp extends Error {}

/** The operations in the order of their begins, and all moments at which one begins or ends with an answer. */
function read(events: readonly HistoryEvent[]): { ops: Op[]; moments: Moment[] } {
  const ends = new Map<HistoryEvent, HistoryEvent>();
  const running = new Map<number, HistoryEvent>();
  for (const event of events) {
    const begin = running.get(event.process);
    if (event.type === "invoke") running.set(event.process, event);
    else if (begin && event.type !== "info") ends.set(begin, event);
  }
  const ops: Op[] = [];
  const byEvent = new Map<HistoryEvent, Op>();
  for (const begin of events) {
    if (begin.type !== "invoke") continue;
    const end = ends.get(begin);
    // A read that nobody saw the answer of says nothing.
    if (READS.has(begin.f) && end?.type !== "ok") continue;
    const op = { index: ops.length, begin, end };
    ops.push(op);
    byEvent.set(begin, op);
    if (end) byEvent.set(end, op);
  }
  const moments = events.flatMap((event): Moment[] => {
    const op = byEvent.get(event);
    if (op === undefined) return [];
    return [event === op.begin ? { begins: op } : { ends: op }];
  });
  return { ops, moments };
}

interface State {
  readonly status: "missing" | "live" | "deleted";
  /** The messages in order; of a deleted session those that a restoration brings back. */
  readonly memory: readonly string[];
  readonly key: string;
}

const NO_SESSION = stateOf("missing", []);

function stateOf(status: State["status"], memory: readonly string[]): State {
  return { status, memory, key: `${status} ${memory.join(" ")}` };
}

/** The state after an operation that answered so, or nothing when it cannot have answered so in this state. */
function answered(state: State, begin: HistoryEvent, end: HistoryEvent): State | undefined {
  if (end.type === "fail") return refusal(state, begin) === end.error ? state : undefined;
  if (READS.has(begin.f)) return isSeen(state, end.value as Seen) ? state : undefined;
  return refusal(state, begin) === undefined ? effect(state, begin) : undefined;
}

/** With what reason the session refuses an operation, if it does. */
function refusal({ status, memory }: State, { f, value }: HistoryEvent): string | undefined {
  if (f === "delete" || f === "clear") return status === "live" ? undefined : "SESSION_NOT_FOUND";
  if (f === "undelete" || f === "restore") {
    if (status === "missing") return "SESSION_NOT_FOUND";
    return status === "live" ? "SESSION_NOT_DELETED" : undefined;
  }
  if (f !== "add" || status !== "live") return undefined;
  const known = (value as readonly string[]).filter((id) => memory.includes(id)).length;
  return known > 0 && known < (value as readonly string[]).length ? "MESSAGE_ID_CONFLICT" : undefined;
}

/** The state after an operation, the same one when the session refuses it. */
function effect(state: State, begin: HistoryEvent): State {
  const { status, memory } = state;
  if (refusal(state, begin) !== undefined) return state;
  switch (begin.f) {
    case "add": {
      const ids = begin.value as readonly string[];
      if (status !== "live") return stateOf("live", ids);
      return ids.every((id) => memory.includes(id)) ? state : stateOf("live", [...memory, ...ids]);
    }
    case "delete":
      return stateOf("deleted", memory);
    case "undelete":
      return stateOf("live", []);
    case "restore":
      return stateOf("live", memory);
    case "clear":
      return stateOf("live", []);
    case "get":
    case "search":
      return state;
  }
}

function isSeen({ status, memory }: State, seen: Seen): boolean {
  const isLive = status === "live";
  const there = isLive ? memory : [];
  const { live = isLive, count = there.length, ids } = seen;
  return live === isLive && count === there.length && sameIds(ids, there);
}

function sameIds(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((id, index) => id === b[index]);
}

function inWords(moment: Moment | undefined): string {
  if (moment === undefined || !("ends" in moment)) return "nothing in particular";
  const { begin, end } = moment.ends;
  const said = end?.type === "fail" ? end.error : JSON.stringify(end?.value);
  return `${begin.f} of process ${begin.process}, from ${begin.time} to ${end?.time} µs, answered ${said}`;
}
