import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { createPurger } from "../../src/services/purging/purger.js";
import { takeLease } from "../../src/store/erasing/lease.js";
import { eventually } from "../support/eventually.js";
import { createTestPurger } from "../support/purger.js";
import { startService, type TestService } from "../support/service.js";

/** The purger by its own rhythm: nobody calls PurgeDeleted here, and what is looked for is out of the TTL index's reach. */
describe("the purger", () => {
  let service: TestService;
  beforeAll(async () => {
    service = await startService({ purgeIntervalMs: 100, retentionMs: 0 });
  });
  afterAll(() => service.stop());

  const left = async (sessionId: string) => {
    const { sessions, messages } = service.database;
    const session = `default/${sessionId}`;
    return (await sessions.countDocuments({ _id: session })) + (await messages.countDocuments({ session }));
  };

  test("erases what is deleted once its time has come", async () => {
    const sessionId = randomUUID();
    await service.memory.addMemory({ sessionId, messages: [{ content: "a" }, { content: "b" }] });
    await service.sessions.deleteSession({ sessionId });
    await eventually("the session is erased", async () => (await left(sessionId)) === 0);
  });

  test("finishes the erasure of a session that a dead process had begun", async () => {
    const sessionId = randomUUID();
    await service.memory.addMemory({ sessionId, messages: [{ content: "a" }] });
    const { sessions } = service.database;
    const session = await sessions.findOne({ _id: `default/${sessionId}` });
    const now = new Date();
    const epoch = session?.epoch ?? "";
    await sessions.updateOne(
      { _id: `default/${sessionId}` },
      {
        $set: {
          deleted: true,
          deleteTime: now,
          purgeTime: now,
          purging: true,
          retired: [{ epoch, deleteTime: now, purgeTime: now, doneTo: 0, task: "erase" }],
        },
      },
    );
    await eventually("the session is erased", async () => (await left(sessionId)) === 0);
  });

  test("finishes the deletion of a user that a dead process had begun", async () => {
    const userId = randomUUID();
    const sessionId = randomUUID();
    await service.users.createUser({ userId });
    await service.memory.addMemory({ sessionId, userId, messages: [{ content: "a" }] });
    const { users } = service.database;
    const user = await users.findOne({ _id: `default/${userId}` });
    const now = new Date();
    await users.updateOne(
      { _id: `default/${userId}` },
      {
        $set: {
          deleted: true,
          deleteTime: now,
          purgeTime: now,
          sessionCount: 0,
          task: { kind: "retire", epoch: user?.epoch ?? "" },
        },
      },
    );
    await eventually("user and session are erased", async () => {
      const count = (await left(sessionId)) + (await users.countDocuments({ _id: `default/${userId}` }));
      return count === 0;
    });
  });

  test("leaves alone what lives", async () => {
    const sessionId = randomUUID();
    await service.memory.addMemory({ sessionId, messages: [{ content: "a" }] });
    const gone = randomUUID();
    await service.sessions.createSession({ sessionId: gone });
    await service.sessions.deleteSession({ sessionId: gone });
    await eventually("the other session is erased", async () => (await left(gone)) === 0);
    expect(await left(sessionId)).toBe(2);
  });
});

describe("what a call is erasing", () => {
  const CALL = { project: "default", signal: new AbortController().signal, deadline: Infinity, requestId: "" };

  test("is left to it by passes of the same process, so that it tells of all of it", async () => {
    const SESSIONS = 40;
    const EACH = 200;
    const service = await startService();
    onTestFinished(service.stop);
    const ids = Array.from({ length: SESSIONS }, () => randomUUID());
    const messages = Array.from({ length: EACH }, () => ({ content: "a" }));
    await Promise.all(ids.map((sessionId) => service.memory.addMemory({ sessionId, messages })));
    await Promise.all(ids.map((sessionId) => service.sessions.deleteSession({ sessionId })));
    const purger = createTestPurger(service.database);
    onTestFinished(purger.stop);
    let isOver = false;
    const passes = (async () => {
      while (!isOver) await purger.pass();
    })();
    const purged = await purger.purgeDeleted(CALL, 0, false);
    isOver = true;
    await passes;
    expect(purged).toEqual({ sessions: SESSIONS, messages: SESSIONS * EACH, users: 0 });
    expect(await service.database.messages.countDocuments()).toBe(0);
  });

  test("is told by one, when two would erase it", async () => {
    const service = await startService();
    onTestFinished(service.stop);
    const messages = Array.from({ length: 1000 }, () => ({ content: "a" }));
    for (let n = 0; n < 3; n++) await service.memory.addMemory({ sessionId: "s", messages });
    const outcomes = await Promise.allSettled([1, 2].map(() => service.sessions.purgeSession({ sessionId: "s" })));
    const answers = outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? [outcome.value] : []));
    expect(answers).toEqual([{ purgedMessages: 3000 }]);
  });
});

test("a lease is held by one at a time, and goes to another when it has run out", async () => {
  const service = await startService();
  try {
    const name = randomUUID();
    const takers = ["a", "b", "c", "d"];
    const taken = await Promise.all(takers.map((holder) => takeLease(service.database, name, holder, 60_000)));
    expect(taken.filter(Boolean)).toHaveLength(1);
    const holder = takers[taken.indexOf(true)] as string;
    expect(await takeLease(service.database, name, holder, 1)).toBe(true);
    await eventually("the lease is free", () => takeLease(service.database, name, "e", 60_000));
    expect(await takeLease(service.database, name, holder, 60_000)).toBe(false);
  } finally {
    await service.stop();
  }
});

test("housekeeping that does not end holds up neither the passes nor the end", async () => {
  let [marked, passes, stopped] = [0, 0, false];
  const retirement = {
    async mark() {
      marked += 1;
      await new Promise((resolve) => setTimeout(resolve, 2));
    },
  };
  const none = async function* () {};
  const work = {
    now: async () => new Date(),
    usersWithTask: none,
    sessionsToMark: none,
    sessionsToErase: none,
    copiesIdleSince: none,
    usersDue: none,
    sessionsDue: none,
  };
  const purger = createPurger({
    retirement,
    work,
    takeTurn: async () => {
      passes += 1;
      return true;
    },
    intervalMs: 50,
    onError: (error: unknown) => {
      throw error;
    },
  } as unknown as Parameters<typeof createPurger>[0]);
  purger.start();
  const nudging = (async () => {
    for (let n = 0; !stopped; n++) {
      purger.nudge(`default/${n}`);
      if (n % 4 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
  })();
  await eventually("three passes were made", () => passes >= 3);
  const before = marked;
  await purger.stop();
  stopped = true;
  await nudging;
  expect(marked - before).toBeLessThan(5);
});
