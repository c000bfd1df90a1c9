import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { SessionState } from "../../src/domain/decision.js";
import { deadlineExceeded, type SessionsError } from "../../src/domain/errors.js";
import { type Cost, createGroupCommit, type GroupCommit } from "../../src/store/changes/group-commit.js";
import type { SessionChange } from "../../src/store/changes/transaction.js";
import { OPERATION_TIMEOUT_MS } from "../../src/store/driver-errors.js";
import type { Outcome } from "../../src/store/groups.js";

const MIB = 1024 * 1024;
const SINGLE: Cost = { messages: 1, bytes: 100 };

interface Submission {
  /** The session, and the call's place in the order of its calls: `s1`, `s2`. */
  readonly name: string;
  readonly cost?: Cost;
  readonly alone?: boolean;
  readonly user?: string;
  readonly deadline?: number;
  readonly late?: () => SessionsError;
  readonly signal?: AbortSignal;
}

interface Group {
  readonly names: readonly string[];
  commit(): Promise<void>;
  fail(error: unknown): Promise<void>;
  /** Commits, but for one call, which fails alone. */
  commitBut(name: string, error: unknown): Promise<void>;
}

let commits: GroupCommit;
/** The transactions that were begun, in their order; each commits when the test says so. */
let groups: Group[];

function begin(changes: readonly SessionChange<unknown>[]): Promise<Outcome<unknown>[]> {
  const names = changes.map((change) => change.decide({} as SessionState).result as string);
  const outcomes = names.map((name): Outcome<unknown> => ({ result: name }));
  return new Promise((resolve, reject) => {
    groups.push({
      names,
      commit() {
        resolve(outcomes);
        return settled();
      },
      fail(error) {
        reject(error);
        return settled();
      },
      commitBut(failing, error) {
        resolve(names.map((name, index) => (name === failing ? { error } : (outcomes[index] as Outcome<unknown>))));
        return settled();
      },
    });
  });
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** When all that follows from something has happened: a group starts when a turn of the event loop has brought nothing more. */
const settled = async (): Promise<void> => {
  for (let n = 0; n < 4; n++) await turn();
};

const sessionOf = (name: string): string => name.replace(/\d+$/, "");

/** Its outcome is its name, or the reason of its error. */
function submit(submission: string | Submission): Promise<string> {
  const { name, cost, alone, user, ...call } = typeof submission === "string" ? { name: submission } : submission;
  const change: SessionChange<string> = {
    session: sessionOf(name),
    decide: () => ({ result: name }),
    ...(alone && { newest: true }),
    ...(user && { namedUsers: [user] }),
  };
  return commits
    .submit({ project: "p", requestId: name, deadline: Infinity, signal: NEVER, ...call }, change, cost)
    .catch((error) => error.reason ?? error);
}

const NEVER = new AbortController().signal;

/** Longer than any group is waited for. */
const LONG_MS = 50;

/** When those under way have taken long. */
async function later(): Promise<void> {
  await settled();
  vi.advanceTimersByTime(LONG_MS);
  await settled();
}

/** Four transactions under way, of other sessions: what is submitted now has to wait for one of them. */
async function occupy(): Promise<Group[]> {
  for (const letter of "wxyz") {
    void submit(`busy-${letter}1`);
    await later();
  }
  expect(groups).toHaveLength(4);
  return groups.splice(0);
}

/** The group that starts when one of those under way has ended. */
async function next(busy: Group[]): Promise<readonly string[]> {
  const before = groups.length;
  await busy.shift()?.commit();
  await later();
  return groups[before]?.names ?? [];
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance", "Date"] });
  groups = [];
  commits = createGroupCommit(begin);
});
afterEach(async () => {
  const closed = commits.close();
  for (const group of groups) await group.commit();
  // A test that leaves a transaction of its own under way waits for it in vain.
  await Promise.race([closed, settled()]);
  vi.useRealTimers();
});

describe("calls that arrive while transactions are under way", () => {
  test("share the next one, and each has its own answer", async () => {
    const busy = await occupy();
    const outcomes = ["a1", "b1", "c1"].map(submit);
    expect(groups).toEqual([]);
    expect(await next(busy)).toEqual(["a1", "b1", "c1"]);
    await groups[0]?.commit();
    expect(await Promise.all(outcomes)).toEqual(["a1", "b1", "c1"]);
  });

  test("wait no longer than for the first of them to end", async () => {
    const [, , third] = await occupy();
    void submit("a1");
    await third?.commit();
    await later();
    expect(groups.map(({ names }) => names)).toEqual([["a1"]]);
  });

  test("are bounded in number, messages and bytes, the oldest first", async () => {
    let busy = await occupy();
    for (let n = 0; n < 130; n++) void submit(`s${n}-1`);
    const [first, second] = [await next(busy), await next(busy)];
    expect([first.length, second.length]).toEqual([128, 2]);
    expect(first[0]).toBe("s0-1");
    await Promise.all([...busy, ...groups.splice(0)].map((group) => group.commit()));

    busy = await occupy();
    for (const letter of "abc") void submit({ name: `${letter}1`, cost: { messages: 400, bytes: 1 } });
    expect([await next(busy), await next(busy)]).toEqual([["a1", "b1"], ["c1"]]);
    await Promise.all([...busy, ...groups.splice(0)].map((group) => group.commit()));

    busy = await occupy();
    for (const letter of "abc") void submit({ name: `${letter}1`, cost: { messages: 1, bytes: 3 * MIB } });
    expect([await next(busy), await next(busy)]).toEqual([["a1", "b1"], ["c1"]]);
    await Promise.all([...busy, ...groups].map((group) => group.commit()));
  });

  test("pass one that is too large for the group, which has its turn next, alone if need be", async () => {
    const busy = await occupy();
    void submit({ name: "a1", cost: SINGLE });
    void submit({ name: "large1", cost: { messages: 1, bytes: 9 * MIB } });
    void submit({ name: "b1", cost: SINGLE });
    expect(await next(busy)).toEqual(["a1", "b1"]);
    void submit({ name: "c1", cost: SINGLE });
    expect([await next(busy), await next(busy)]).toEqual([["large1"], ["c1"]]);
    await Promise.all([...busy, ...groups].map((group) => group.commit()));
  });
});

test("large calls leave a place for small ones, which do not wait behind them", async () => {
  for (const letter of "abcd") void submit({ name: `${letter}1`, cost: { messages: 8, bytes: 8 * MIB } });
  await later();
  expect(groups.map(({ names }) => names)).toEqual([["a1"], ["b1"], ["c1"]]);
  void submit({ name: "small1", cost: SINGLE });
  await later();
  expect(groups[3]?.names).toEqual(["small1"]);
  await groups[3]?.commit();
  expect(groups).toHaveLength(4);
  await groups[0]?.commit();
  await later();
  expect(groups[4]?.names).toEqual(["d1"]);
  await Promise.all(groups.map((group) => group.commit()));
});

describe("a group starts", () => {
  const namesOf = () => groups.map(({ names }) => names);

  test("with nothing under way when a turn of the event loop brings nothing more: a lone call waits for no more than that", async () => {
    void submit("a1");
    expect(groups).toEqual([]);
    await turn();
    expect(namesOf()).toEqual([["a1"]]);
  });

  test("with all that came turn by turn", async () => {
    setImmediate(() => {
      setImmediate(() => void submit("c1"));
      void submit("b1");
    });
    void submit("a1");
    await settled();
    expect(namesOf()).toEqual([["a1", "b1", "c1"]]);
  });

  test("beside others when it is as large as they are together", async () => {
    for (const name of ["a1", "b1"]) void submit(name);
    await settled();
    void submit("c1");
    await settled();
    expect(namesOf()).toEqual([["a1", "b1"]]);
    void submit("d1");
    await settled();
    expect(namesOf()).toEqual([
      ["a1", "b1"],
      ["c1", "d1"],
    ]);
    for (const name of ["e1", "f1", "g1"]) void submit(name);
    await settled();
    expect(groups).toHaveLength(2);
    await groups[0]?.commit();
    expect(groups[2]?.names).toEqual(["e1", "f1", "g1"]);
  });

  test("beside others at once when it is full", async () => {
    for (let n = 0; n < 128; n++) void submit(`a${n}-1`);
    await settled();
    for (let n = 0; n < 128; n++) void submit(`b${n}-1`);
    await settled();
    for (let n = 0; n < 129; n++) void submit(`c${n}-1`);
    await settled();
    expect(namesOf().map(({ length }) => length)).toEqual([128, 128, 128]);
  });

  test("beside one that takes long, but with none of its sessions", async () => {
    for (const name of ["a1", "b1", "c1"]) void submit(name);
    await settled();
    for (const name of ["a2", "d1"]) void submit(name);
    await settled();
    vi.advanceTimersByTime(LONG_MS - 1);
    await settled();
    expect(groups).toHaveLength(1);
    vi.advanceTimersByTime(1);
    expect(groups[1]?.names).toEqual(["d1"]);
    await groups[0]?.commit();
    await later();
    expect(groups[2]?.names).toEqual(["a2"]);
  });

  test("beside one that takes twice as long as those before it", async () => {
    for (let n = 0; n < 60; n++) {
      void submit(`a${n}`);
      await settled();
      vi.advanceTimersByTime(4);
      await groups.at(-1)?.commit();
    }
    groups = [];
    for (const name of ["a1", "b1", "c1"]) void submit(name);
    await settled();
    void submit("d1");
    await settled();
    vi.advanceTimersByTime(6);
    expect(groups).toHaveLength(1);
    vi.advanceTimersByTime(3);
    expect(groups[1]?.names).toEqual(["d1"]);
  });
});

describe("calls of one session", () => {
  test("are never in two transactions at once, and keep their order", async () => {
    const first = submit("s1");
    await settled();
    const outcomes = [first, ...["s2", "t1", "s3"].map(submit)];
    await later();
    expect(groups.map(({ names }) => names)).toEqual([["s1"], ["t1"]]);
    await groups[0]?.commit();
    expect(groups[2]?.names).toEqual(["s2", "s3"]);
    await groups[1]?.commit();
    await groups[2]?.commit();
    expect(await Promise.all(outcomes)).toEqual(["s1", "s2", "t1", "s3"]);
  });

  test("and those that name one user are never in two transactions at once: both may write the user's document", async () => {
    void submit({ name: "a1", user: "ann" });
    await settled();
    for (const name of ["b1", "c1"]) void submit({ name, user: "ann" });
    void submit({ name: "d1", user: "bob" });
    await later();
    expect(groups.map(({ names }) => names)).toEqual([["a1"], ["d1"]]);
    await groups[0]?.commit();
    await later();
    expect(groups[2]?.names).toEqual(["b1", "c1"]);
  });

  test("keep their order also when an earlier one is too large for the group, or has to be alone", async () => {
    const busy = await occupy();
    const large = { messages: 600, bytes: 1 };
    void submit({ name: "a1", cost: large });
    void submit({ name: "s1", cost: large });
    void submit({ name: "s2", cost: SINGLE });
    void submit({ name: "t1", alone: true });
    void submit("t2");
    void submit("u1");
    void submit({ name: "u2", alone: true });
    expect(await next(busy)).toEqual(["a1", "t1", "u1"]);
    expect(await next(busy)).toEqual(["s1", "s2"]);
    await groups[0]?.commit();
    await later();
    expect(groups[2]?.names).toEqual(["t2", "u2"]);
    await Promise.all([...busy, ...groups].map((group) => group.commit()));
  });

  test("hold up no other session, however long they take", async () => {
    void submit("slow0");
    await settled();
    for (let n = 1; n <= 200; n++) void submit(`slow${n}`);
    const [slow] = groups.splice(0);
    for (let n = 1; n <= 10; n++) {
      const outcomes = ["a", "b", "c"].map((session) => submit(session + n));
      await later();
      for (let group = groups.shift(); group; group = groups.shift()) await group.commit();
      expect(await Promise.all(outcomes)).toEqual([`a${n}`, `b${n}`, `c${n}`]);
    }
    await slow?.commit();
    expect(groups[0]?.names).toHaveLength(128);
    await groups[0]?.commit();
  });
});

describe("a call is not made", () => {
  test("when its deadline has passed before its turn", async () => {
    void submit("s1");
    await settled();
    const deadline = Date.now() + 20;
    const [late, other] = [submit({ name: "s2", deadline, late: deadlineExceeded }), submit("s3")];
    vi.advanceTimersByTime(20);
    await groups[0]?.commit();
    expect(await late).toBe("DEADLINE_EXCEEDED");
    expect(groups[1]?.names).toEqual(["s3"]);
    await groups[1]?.commit();
    expect(await other).toBe("s3");
    expect(await submit({ name: "t1", deadline, late: deadlineExceeded })).toBe("DEADLINE_EXCEEDED");
    expect(groups).toHaveLength(2);
  });

  test("when its client has gone before its turn", async () => {
    void submit("s1");
    await settled();
    const client = new AbortController();
    const gone = submit({ name: "s2", signal: client.signal });
    client.abort("gone");
    await groups[0]?.commit();
    expect(await gone).toBe("gone");
    expect(await submit({ name: "t1", signal: client.signal })).toBe("gone");
    expect(groups).toHaveLength(1);
  });
});

test("a call that has had no turn, or no answer, within the time of an operation is UNAVAILABLE", async () => {
  const first = submit("s1");
  await settled();
  const second = submit("s2");
  vi.advanceTimersByTime(OPERATION_TIMEOUT_MS);
  expect(await Promise.all([first, second])).toEqual(["STORAGE_UNAVAILABLE", "STORAGE_UNAVAILABLE"]);
  await groups[0]?.commit();
  expect(groups, "what was refused is not made after all").toHaveLength(1);
  const answered = submit("t1");
  await settled();
  await groups[1]?.commit();
  expect(await answered).toBe("t1");
  expect(vi.getTimerCount()).toBe(0);
});

test("a call whose transaction has begun has its answer, whatever becomes of its client", async () => {
  const client = new AbortController();
  const outcome = submit({ name: "s1", signal: client.signal });
  await settled();
  client.abort();
  await groups[0]?.commit();
  expect(await outcome).toBe("s1");
});

describe("a failure", () => {
  const error = new Error("the database is away");

  test("of a group is that of its members, and only theirs", async () => {
    const busy = await occupy();
    const outcomes = ["a1", "b1"].map(submit);
    await next(busy);
    const [behind, other] = [submit("a2"), submit("c1")];
    await groups[0]?.fail(error);
    expect(await Promise.all(outcomes)).toEqual([error, error]);
    await Promise.all(busy.map((group) => group.commit()));
    await later();
    await Promise.all(groups.slice(1).map((group) => group.commit()));
    expect(await Promise.all([behind, other])).toEqual(["a2", "c1"]);
  });

  test("of one call in a group is its own", async () => {
    const busy = await occupy();
    const outcomes = ["a1", "b1", "c1"].map(submit);
    await next(busy);
    await groups[0]?.commitBut("b1", error);
    expect(await Promise.all(outcomes)).toEqual(["a1", error, "c1"]);
  });
});

test("closing refuses what waits and what comes, and ends when all that was under way has its answer", async () => {
  const underWay = submit("s1");
  await settled();
  const waiting = submit("s2");
  let closed = false;
  const closing = commits.close().then(() => {
    closed = true;
  });
  expect(await Promise.all([waiting, submit("t1")])).toEqual(["SHUTTING_DOWN", "SHUTTING_DOWN"]);
  await settled();
  expect(closed).toBe(false);
  await groups[0]?.commit();
  expect(await underWay).toBe("s1");
  await closing;
  expect(groups).toHaveLength(1);
});

test("whatever comes and ends in whatever order, groups are bounded and disjoint, and all calls are made in turn", async () => {
  const arrival = fc.record({
    session: fc.constantFrom("a", "b", "c", "d", "e"),
    messages: fc.constantFrom(0, 1, 600, 1_000),
    bytes: fc.constantFrom(0, 1, 5 * MIB, 12 * MIB),
    alone: fc.boolean(),
  });
  const end = fc.record({ ends: fc.nat({ max: 3 }), fails: fc.boolean() });
  await fc.assert(
    fc.asyncProperty(fc.array(fc.oneof({ arbitrary: arrival, weight: 2 }, end), { maxLength: 60 }), async (events) => {
      groups = [];
      commits = createGroupCommit(begin);
      const submitted = new Map<string, Submission>();
      const outcomes: Promise<string>[] = [];
      const begun: string[] = [];
      let seen = 0;
      const underWay: Group[] = [];
      const look = () => {
        for (const group of groups.slice(seen)) {
          const members = group.names.map((name) => submitted.get(name) as Submission);
          if (members.length > 1) {
            expect(members.reduce((sum, { cost }) => sum + (cost?.messages ?? 0), 0)).toBeLessThanOrEqual(1_000);
            expect(members.reduce((sum, { cost }) => sum + (cost?.bytes ?? 0), 0)).toBeLessThanOrEqual(8 * MIB);
          }
          for (const { name, alone } of members) {
            const same = group.names.filter((other) => sessionOf(other) === sessionOf(name));
            if (alone) expect(same).toEqual([name]);
          }
          underWay.push(group);
          begun.push(...group.names);
        }
        seen = groups.length;
        expect(underWay.length).toBeLessThanOrEqual(4);
        const held = underWay.flatMap(({ names }) => [...new Set(names.map(sessionOf))]);
        expect(new Set(held).size).toBe(held.length);
      };
      const endOne = async (index: number, fails: boolean) => {
        const [group] = underWay.splice(index % underWay.length, 1);
        await (fails ? group?.fail("failed") : group?.commit());
        await later();
        look();
      };
      for (const event of events) {
        if ("session" in event) {
          const { session, alone, ...cost } = event;
          const submission = { name: `${session}${submitted.size}`, cost, alone };
          submitted.set(submission.name, submission);
          outcomes.push(submit(submission));
          await later();
          look();
        } else if (underWay.length > 0) await endOne(event.ends, event.fails);
      }
      while (underWay.length > 0) await endOne(0, false);

      expect(begun.toSorted()).toEqual([...submitted.keys()].toSorted());
      for (const session of "abcde") {
        const inOrder = (names: Iterable<string>) => [...names].filter((name) => sessionOf(name) === session);
        expect(inOrder(begun)).toEqual(inOrder(submitted.keys()));
      }
      for (const [index, outcome] of (await Promise.all(outcomes)).entries()) {
        expect([[...submitted.keys()][index], "failed"]).toContain(outcome);
      }
    }),
    { numRuns: 60 },
  );
});
