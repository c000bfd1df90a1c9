import { expect, onTestFinished, test } from "vitest";
import type { SessionRecord } from "../../src/domain/records.js";
import { createExpirer, type ExpirerDeps } from "../../src/services/purging/expirer.js";
import { eventually } from "../support/eventually.js";

/** Expired sessions of a database that is none: what is taken in hand, when, and by whom. */
function expirerOf(due: readonly string[], deps: Partial<ExpirerDeps> = {}) {
  const seen = {
    looks: 0,
    turns: 0,
    taken: [] as string[],
    expired: 0,
    nudged: [] as string[],
    errors: [] as unknown[],
  };
  const expirer = createExpirer({
    changes: {
      submit: async (_call, { session }) => {
        seen.taken.push(session);
        return { retired: [] } as unknown as SessionRecord as never;
      },
      close: async () => {},
    },
    work: {
      now: async () => {
        seen.looks += 1;
        return new Date();
      },
      async *sessionsExpiring() {
        yield* due;
      },
    },
    nudge: (session) => seen.nudged.push(session),
    takeTurn: async () => {
      seen.turns += 1;
      return true;
    },
    intervalMs: 2 ** 30,
    retentionMs: 0,
    onExpired: () => {
      seen.expired += 1;
    },
    onError: (error) => seen.errors.push(error),
    ...deps,
  });
  onTestFinished(expirer.stop);
  return { expirer, seen };
}

const many = (count: number) => Array.from({ length: count }, (_, n) => `default/${n}`);

test("what is due is deleted, counted, and has its memory marked", async () => {
  const { expirer, seen } = expirerOf(["default/a", "default/b"]);
  await expirer.pass();
  expect(seen).toMatchObject({ taken: ["default/a", "default/b"], expired: 2, nudged: ["default/a", "default/b"] });
});

test("a turn is taken for something, and again after some hundreds: who lost it leaves the rest to another", async () => {
  const nothing = expirerOf([]);
  await nothing.expirer.pass();
  expect(nothing.seen.turns).toBe(0);

  const all = expirerOf(many(1_000));
  await all.expirer.pass();
  expect(all.seen.taken).toHaveLength(1_000);
  expect(all.seen.turns).toBe(5);

  let turns = 0;
  const lost = expirerOf(many(1_000), { takeTurn: async () => ++turns <= 2 });
  await lost.expirer.pass();
  expect(lost.seen.taken).toHaveLength(400);
});

test("a turn is over before the interval is, with time for another to look and to delete", async () => {
  const forMs: number[] = [];
  const { expirer } = expirerOf(["default/a"], {
    intervalMs: 60_000,
    takeTurn: async (_holder, ms) => forMs.push(ms) > 0,
  });
  await expirer.pass();
  // Another looks once in a quarter of the interval, or a little later.
  expect((forMs[0] ?? Number.NaN) + (60_000 / 4) * 1.25).toBeLessThan(60_000);
});

test("one that cannot be deleted holds up no other, and when none can be the look ends", async () => {
  const failing = (fails: (session: string) => boolean): Partial<ExpirerDeps> => ({
    changes: {
      submit: async (_call, { session }) => {
        if (fails(session)) throw new Error(session);
        return { retired: undefined } as unknown as SessionRecord as never;
      },
      close: async () => {},
    },
  });
  const one = expirerOf(
    many(100),
    failing((session) => session === "default/7"),
  );
  await one.expirer.pass();
  expect(one.seen).toMatchObject({ expired: 99, nudged: [] });
  expect(one.seen.errors).toHaveLength(1);

  const all = expirerOf(
    many(10_000),
    failing(() => true),
  );
  await expect(all.expirer.pass()).rejects.toThrow("default/");
  expect(all.seen.errors.length).toBeLessThan(100);
});

test("it looks again and again, also after a look has failed, and not any more once it is stopped", async () => {
  let fails = true;
  const looks: number[] = [];
  const { expirer, seen } = expirerOf([], {
    intervalMs: 40,
    work: {
      now: async () => {
        looks.push(performance.now());
        if (fails) throw new Error("away");
        return new Date();
      },
      async *sessionsExpiring() {},
    },
  });
  expirer.start();
  expirer.start();
  await eventually("it has failed twice", () => seen.errors.length >= 2);
  fails = false;
  const before = looks.length;
  await eventually("it goes on", () => looks.length >= before + 3);
  await expirer.stop();
  const { length } = looks;
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(looks).toHaveLength(length);
});

test("a stop ends a look at a million", async () => {
  let taken = 0;
  const { expirer } = expirerOf(many(1_000_000), {
    intervalMs: 4,
    changes: {
      submit: async () => {
        taken += 1;
        await new Promise((resolve) => setTimeout(resolve, 1));
        return undefined as never;
      },
      close: async () => {},
    },
  });
  expirer.start();
  await eventually("it is at work", () => taken > 100);
  await expirer.stop();
  const before = taken;
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(taken).toBe(before);
  expect(taken).toBeLessThan(100_000);
});
