import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Call } from "../../src/domain/call.js";
import { createGroups, type Groups, type Outcome } from "../../src/store/groups.js";

/** Rules of groups that are no matter of transactions, see group-commit.test.ts. */

interface Work {
  readonly call: Call;
  readonly name: string;
}

interface Group {
  readonly names: readonly string[];
  end(outcomes?: readonly (Outcome<unknown> | Promise<Outcome<unknown>>)[]): void;
}

let groups: Groups<Work>;
let begun: Group[];

const MAX_WORKS = 100;
const call: Call = { project: "p", requestId: "r", deadline: Infinity, signal: new AbortController().signal };

const submit = (name: string): Promise<unknown> => groups.submit({ call, name });
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const settled = async (): Promise<void> => {
  for (let n = 0; n < 4; n++) await turn();
};

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance", "Date"] });
  begun = [];
  groups = createGroups<Work>({
    name: "work",
    maxInFlight: 4,
    choose: (waiting) => ({ group: waiting.slice(0, MAX_WORKS), isFull: waiting.length >= MAX_WORKS }),
    onEnd() {},
    run: (group) =>
      new Promise((resolve) => {
        const names = group.map(({ name }) => name);
        begun.push({ names, end: (outcomes = names.map((result) => ({ result }))) => resolve(outcomes) });
      }),
  });
});
afterEach(() => vi.useRealTimers());

test("with calls that come in each turn of a busy event loop, none waits for others more than twice as long as groups take", async () => {
  // Each turn takes 5 ms, and groups are taken to need 25.
  const calls: Promise<unknown>[] = [];
  const bring = (): void => {
    calls.push(submit(`s${calls.length}`));
    vi.advanceTimersByTime(5);
    if (calls.length < 20) setImmediate(bring);
  };
  setImmediate(bring);
  calls.push(submit("s0"));
  for (let n = 0; n < 30; n++) await turn();
  expect(calls).toHaveLength(20);
  expect(begun[0]?.names).toEqual(Array.from({ length: 11 }, (_, n) => `s${n}`));
  for (let n = 0; n < begun.length; n++) {
    begun[n]?.end();
    await settled();
  }
  expect(await Promise.all(calls)).toEqual(calls.map((_, n) => `s${n}`));
});

test("a work that takes longer than the others of its group does not make those wait that come after it", async () => {
  const [first, second, slow] = ["a", "b", "slow"].map(submit);
  await settled();
  let endSlow = (_: Outcome<unknown>): void => {};
  const late = new Promise<Outcome<unknown>>((resolve) => {
    endSlow = resolve;
  });
  begun[0]?.end([{ result: 1 }, { result: 2 }, late]);
  expect(await Promise.all([first, second])).toEqual([1, 2]);
  const next = submit("next");
  await settled();
  expect(begun[1]?.names).toEqual(["next"]);
  begun[1]?.end();
  expect(await next).toBe("next");
  endSlow({ result: 3 });
  expect(await slow).toBe(3);
  await groups.close();
  expect(vi.getTimerCount()).toBe(0);
});

test("who waits behind a group has a turn as soon as most of its works have their outcome", async () => {
  const works = ["a", "b", "slow"].map(submit);
  await settled();
  void submit("next");
  await settled();
  expect(begun).toHaveLength(1);
  begun[0]?.end([{ result: 1 }, { result: 2 }, new Promise(() => {})]);
  await Promise.all(works.slice(0, 2));
  await settled();
  expect(begun[1]?.names).toEqual(["next"]);
});
