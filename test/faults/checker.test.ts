import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { checkHistory, type Verdict, violationsIn } from "./support/checker.js";
import { createHistory, type HistoryEvent, type Operation, type Seen } from "./support/history.js";
import { createRandom, type Random } from "./support/random.js";
import { report } from "./support/report.js";

/** One operation by its two moments on a line of time; `to` left out: nobody knows how it ended. */
interface Line {
  readonly f: Operation;
  readonly from: number;
  readonly to?: number;
  readonly ids?: readonly string[];
  /** What a get saw; nothing: no live session. */
  readonly saw?: readonly string[];
  readonly error?: string;
}

const add = (from: number, to: number | undefined, ...ids: string[]): Line => ({ f: "add", from, to, ids });
const get = (from: number, to: number, saw?: readonly string[]): Line => ({ f: "get", from, to, saw });
const other = (f: "delete" | "undelete" | "restore" | "clear", from: number, to?: number, error?: string): Line => ({
  f,
  from,
  to,
  error,
});

function historyOf(lines: readonly Line[]): HistoryEvent[] {
  return lines
    .flatMap((line, process): HistoryEvent[] => {
      const { f, from, to, ids = null, error } = line;
      const invoke: HistoryEvent = { process, type: "invoke", f, key: "s", value: ids, time: from };
      if (to === undefined) return [invoke];
      const seen: Seen = { live: line.saw !== undefined, ids: line.saw ?? [], count: line.saw?.length ?? 0 };
      return [
        invoke,
        { ...invoke, type: error ? "fail" : "ok", value: f === "get" ? seen : ids, ...(error && { error }), time: to },
      ];
    })
    .sort((a, b) => a.time - b.time);
}

function outcomeOf(lines: readonly Line[]): Verdict["outcome"] | undefined {
  return checkHistory(historyOf(lines))[0]?.outcome;
}

const GOOD: Record<string, readonly Line[]> = {
  "one after the other": [
    get(1, 2),
    add(3, 4, "a", "b"),
    get(5, 6, ["a", "b"]),
    add(7, 8, "c"),
    get(9, 10, ["a", "b", "c"]),
  ],
  "two adds at once, in the order that a later read tells": [
    add(1, 10, "a1", "a2"),
    add(2, 9, "b"),
    get(11, 12, ["b", "a1", "a2"]),
  ],
  "a read during an add, before it or after it": [add(1, 10, "a"), get(2, 3), get(4, 5, ["a"]), get(6, 7, ["a"])],
  "deleted, restored, deleted, undeleted": [
    add(1, 2, "a"),
    other("delete", 3, 4),
    get(5, 6),
    other("restore", 7, 8),
    get(9, 10, ["a"]),
    other("delete", 11, 12),
    other("undelete", 13, 14),
    get(15, 16, []),
    other("restore", 17, 18, "SESSION_NOT_DELETED"),
  ],
  "an add that brings a deleted session back, empty": [
    add(1, 2, "a"),
    other("delete", 3, 4),
    add(5, 6, "b"),
    get(7, 8, ["b"]),
  ],
  "an add of unknown outcome that happened much later": [
    add(1, undefined, "a"),
    get(2, 3),
    add(4, 5, "b"),
    get(6, 7, ["b"]),
    get(8, 9, ["b", "a"]),
  ],
  "an add of unknown outcome that never happened": [add(1, undefined, "a"), add(2, 3, "b"), get(4, 5, ["b"])],
  "a retried add that is there once": [add(1, undefined, "a", "b"), add(2, 3, "a", "b"), get(4, 5, ["a", "b"])],
  "a retried add, cleared in between and so added again": [
    add(1, undefined, "a"),
    get(2, 3, ["a"]),
    add(4, 20, "a"),
    other("clear", 5, 6),
    get(21, 22, ["a"]),
  ],
  "a delete of unknown outcome whose repetition finds nothing": [
    add(1, 2, "a"),
    other("delete", 3),
    other("delete", 4, 5, "SESSION_NOT_FOUND"),
    get(6, 7),
  ],
  "a clear against an add, in either order": [
    add(1, 2, "a"),
    add(3, 10, "b"),
    other("clear", 4, 9),
    get(11, 12, ["b"]),
  ],
  "many of unknown outcome": [
    ...Array.from({ length: 12 }, (_, index) => add(index, undefined, `u${index}`)),
    add(20, 21, "a"),
    get(22, 23, ["u7", "u3", "a"]),
    get(24, 25, ["u7", "u3", "a", "u11"]),
  ],
};

test.each(Object.keys(GOOD))("a good history is accepted: %s", (name) => {
  expect(outcomeOf(GOOD[name] as Line[])).toBe("linearizable");
});

const BAD: Record<string, readonly Line[]> = {
  "a lost message": [add(1, 2, "a"), add(3, 4, "b"), get(5, 6, ["b"])],
  "a lost session": [add(1, 2, "a"), get(3, 4)],
  "a doubled message": [add(1, undefined, "a"), add(2, 3, "a"), get(4, 5, ["a", "a"])],
  "reordered messages": [add(1, 2, "a"), add(3, 4, "b"), get(5, 6, ["b", "a"])],
  "two readers who see two orders": [
    add(1, 10, "a"),
    add(2, 11, "b"),
    get(12, 13, ["a", "b"]),
    get(14, 15, ["b", "a"]),
  ],
  "a call's messages out of order": [add(1, 2, "a", "b"), get(3, 4, ["b", "a"])],
  "a message of another call within a call": [add(1, 9, "a", "b"), add(2, 8, "c"), get(10, 11, ["a", "c", "b"])],
  "a message that comes back after a clear": [add(1, 2, "a"), other("clear", 3, 4), get(5, 6, ["a"])],
  "a message that comes back with an add": [
    add(1, 2, "a"),
    other("delete", 3, 4),
    add(5, 6, "b"),
    get(7, 8, ["a", "b"]),
  ],
  "a message that comes back without being asked for": [
    add(1, 2, "a"),
    other("delete", 3, 4),
    other("undelete", 5, 6),
    get(7, 8, ["a"]),
  ],
  "a message that is restored after it was left deleted": [
    add(1, 2, "a"),
    other("delete", 3, 4),
    other("undelete", 5, 6),
    other("delete", 7, 8),
    other("restore", 9, 10),
    get(11, 12, ["a"]),
  ],
  "a deleted session that is still read": [add(1, 2, "a"), other("delete", 3, 4), get(5, 6, ["a"])],
  "a stale read": [add(1, 2, "a"), get(3, 4, ["a"]), add(5, 6, "b"), get(7, 8, ["a"])],
  "a read that a later one takes back": [add(1, undefined, "a"), get(2, 3, ["a"]), get(4, 5)],
  "a part of a call": [add(1, 10, "a", "b"), get(2, 3, ["a"])],
  "a part of a call of unknown outcome": [add(1, undefined, "a", "b"), get(2, 3, ["b"])],
  "a part of a restored memory": [
    add(1, 2, "a"),
    add(3, 4, "b"),
    other("delete", 5, 6),
    other("restore", 7, 8),
    get(9, 10, ["b"]),
  ],
  "a message that nobody added": [add(1, 2, "a"), get(3, 4, ["a", "x"])],
  "a delete that succeeds twice": [add(1, 2, "a"), other("delete", 3, 4), other("delete", 5, 6)],
  "a live session that is not found": [add(1, 2, "a"), other("clear", 3, 4, "SESSION_NOT_FOUND")],
  "an effect before its cause": [get(1, 2, ["a"]), add(3, 4, "a")],
};

test.each(Object.keys(BAD))("a bad history is rejected: %s", (name) => {
  expect(outcomeOf(BAD[name] as Line[])).toBe("violated");
  // Also when it is only the end of a longer one that is in order.
  const before = [add(1, 2, "p"), get(3, 4, ["p"]), other("delete", 5, 6), other("undelete", 7, 8)];
  const after = (BAD[name] as Line[])
    .filter(({ f, saw }) => f !== "get" || saw !== undefined)
    .map((line) => ({ ...line, from: line.from + 100, to: line.to && line.to + 100 }));
  if (after.length === BAD[name]?.length) expect(outcomeOf([...before, ...after])).toBe("violated");
});

test("a count that is not that of the messages is rejected", () => {
  const events = historyOf([add(1, 2, "a"), get(3, 4, ["a"])]).map((event) =>
    event.type === "ok" && event.f === "get" ? { ...event, value: { ...(event.value as Seen), count: 2 } } : event,
  );
  expect(violationsIn(checkHistory(events))).toHaveLength(1);
});

test("sessions are checked each by itself, and what is wrong is told with the answer that nothing explains", () => {
  const good = historyOf([add(1, 2, "a"), get(3, 4, ["a"])]);
  const bad = historyOf([add(1, 2, "a"), get(3, 4, [])]).map((event) => ({
    ...event,
    key: "t",
    process: event.process + 10,
  }));
  const [violation, ...more] = violationsIn(checkHistory([...good, ...bad]));
  expect(violation).toMatch(/^t is violated: get of process 11, .*"ids":\[\]/);
  expect(more).toEqual([]);
});

test("a search that grows too long is given up, and that is no acceptance", () => {
  const hard = [
    ...Array.from({ length: 14 }, (_, index) => add(index, undefined, `u${index}`)),
    other("clear", 19),
    add(20, 21, "a"),
    get(22, 23, ["a", "never added"]),
  ];
  const verdicts = checkHistory(historyOf(hard), 1_000);
  expect(verdicts[0]?.outcome).toBe("undecided");
  expect(violationsIn(verdicts)).toHaveLength(1);
});

test("however often a call was sent again without an answer, the search stays short", () => {
  const again = [
    ...Array.from({ length: 12 }, (_, index) => add(index, undefined, "u1", "u2")),
    ...Array.from({ length: 6 }, (_, index) => other("clear", 12 + index)),
    add(20, 21, "a"),
  ];
  expect(checkHistory(historyOf([...again, get(22, 23, ["a", "u1", "u2"])]), 1_000)[0]?.outcome).toBe("linearizable");
  expect(checkHistory(historyOf([...again, get(22, 23, ["a", "never added"])]), 1_000)[0]?.outcome).toBe("violated");
});

test("random small histories get the verdict of trying every order", () => {
  const random = createRandom(4);
  const count = { linearizable: 0, violated: 0, undecided: 0 };
  const violations: string[] = [];
  for (let round = 0; round < 4_000; round++) {
    const lines = randomLines(random);
    const verdict = outcomeOf(lines) ?? "undecided";
    count[verdict] += 1;
    if ((verdict === "linearizable") !== someOrderExplains(lines)) violations.push(JSON.stringify(lines));
  }
  const tried = count.linearizable + count.violated + count.undecided;
  report("history checker against trying every order", { tried, acknowledged: tried, faults: 0, ...count, violations });
  expect(violations).toEqual([]);
  expect(Math.min(count.linearizable, count.violated)).toBeGreaterThan(500);
});

test("a history is written one event a line, for other checkers to read", async () => {
  const history = createHistory();
  const end = history.invoke(history.newProcess(), "s", "add", ["a", "b"]);
  const readEnd = history.invoke(history.newProcess(), "s", "get", null);
  end({ type: "info", value: ["a", "b"], error: "UNAVAILABLE" });
  readEnd({ type: "ok", value: { live: true, ids: ["a", "b"], count: 2 } });
  const file = await history.save("example");
  const lines = (await readFile(file, "utf8")).trimEnd().split("\n");
  expect(lines.map((line) => JSON.parse(line))).toEqual(history.events);
  expect(JSON.parse(lines[2] as string)).toEqual({
    process: 0,
    type: "info",
    f: "add",
    key: "s",
    value: ["a", "b"],
    error: "UNAVAILABLE",
    time: expect.any(Number),
  });
});

/** The same verdict in the plainest way: each order of the operations, tried on a session written down once more. */
function someOrderExplains(lines: readonly Line[]): boolean {
  const follow = (
    left: readonly Line[],
    session: readonly string[] | undefined,
    deleted: readonly string[] | undefined,
  ) =>
    left.every(({ to }) => to === undefined) ||
    left.some((line): boolean => {
      if (left.some(({ to }) => to !== undefined && to < line.from)) return false;
      const rest = left.filter((one) => one !== line);
      const isUnknown = line.to === undefined;
      const live = session !== undefined;
      const known = live ? "SESSION_NOT_DELETED" : deleted ? undefined : "SESSION_NOT_FOUND";
      const refused = { add: undefined, get: undefined, delete: live ? undefined : "SESSION_NOT_FOUND" }[
        line.f as "add"
      ];
      const error =
        line.f === "undelete" || line.f === "restore"
          ? known
          : line.f === "clear" && !live
            ? "SESSION_NOT_FOUND"
            : refused;
      if (!isUnknown && error !== line.error) return false;
      if (error !== undefined) return follow(rest, session, deleted);
      if (line.f === "add") {
        const ids = line.ids ?? [];
        return follow(rest, session?.includes(ids[0] as string) ? session : [...(session ?? []), ...ids], undefined);
      }
      if (line.f === "get")
        return `${line.saw}` === `${session}` && live === (line.saw !== undefined) && follow(rest, session, deleted);
      if (line.f === "delete") return follow(rest, undefined, session);
      return follow(rest, line.f === "restore" ? deleted : [], undefined);
    });
  return follow(lines, undefined, undefined);
}

/** Operations that overlap at random, answered as a session would in one possible order, and sometimes a little otherwise. */
function randomLines({ below, fraction, pick }: Random): Line[] {
  let session: string[] | undefined;
  let deleted: string[] | undefined;
  const calls = [["a"], ["b"], ["c", "d"]];
  return Array.from({ length: 3 + below(4) }, (_, index): Line => {
    // It takes effect at 10 × index; neighbours overlap.
    const from = index * 10 - below(25) + fraction() / 2;
    const to = fraction() < 0.2 ? undefined : index * 10 + below(25) + 0.5 + fraction() / 2;
    const happens = to !== undefined || fraction() < 0.5;
    const f = pick(["add", "add", "get", "get", "delete", "undelete", "restore", "clear"] as const);
    const wrong = fraction() < 0.12;
    if (f === "add") {
      const ids = pick(calls);
      if (happens && !wrong) {
        if (!session?.includes(ids[0] as string)) session = [...(session ?? []), ...ids];
        deleted = undefined;
      }
      return { f, from, to, ids };
    }
    if (f === "get") {
      const saw = wrong ? pick([undefined, [], ["a"], ["a", "b"], ["c"]]) : session;
      return { f, from, to, saw };
    }
    const isBack = f === "undelete" || f === "restore";
    const error = isBack
      ? session
        ? "SESSION_NOT_DELETED"
        : deleted
          ? undefined
          : "SESSION_NOT_FOUND"
      : session
        ? undefined
        : "SESSION_NOT_FOUND";
    if (wrong || error) return { f, from, to, error: wrong && error ? undefined : error };
    if (happens) {
      const memory = f === "restore" ? deleted : [];
      if (f === "delete") deleted = session;
      session = f === "delete" ? undefined : memory;
      if (f !== "delete") deleted = undefined;
    }
    return { f, from, to };
  });
}
