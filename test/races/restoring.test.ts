import { afterAll, beforeAll, expect, test } from "vitest";
import type { Purger } from "../../src/services/purging/purger.js";
import { createTestPurger } from "../support/purger.js";
import {
  atOnce,
  forEach,
  liveSession,
  messagesOf,
  moment,
  numbered,
  outcome,
  type Pair,
  sessionWithDeleted,
  startPair,
} from "./support.js";

const RETENTION_MS = 30 * 86_400_000;
let pair: Pair;
/** A third process, for which the retention of all that is deleted has passed. */
let latePurger: Purger;

beforeAll(async () => {
  pair = await startPair({ retentionMs: RETENTION_MS });
  latePurger = createTestPurger(pair.one.database, RETENTION_MS + 60_000);
});
afterAll(() => pair.stop());

const ERASERS: Record<string, (sessionId: string) => Promise<unknown>> = {
  PurgeSession: (sessionId) => pair.other.sessions.purgeSession({ sessionId }),
  "PurgeDeleted of everything": () => pair.other.purge.purgeDeleted({ olderThan: { seconds: 0, nanos: 0 } }),
  "the purger": () => latePurger.pass(),
};

test.each(Object.keys(ERASERS))(
  "undeleting against %s: the session is whole or gone, never a part of it",
  async (name) => {
    const erase = ERASERS[name] as (sessionId: string) => Promise<unknown>;
    const seen = { whole: 0, gone: 0 };
    await forEach(90, 3, async (round) => {
      const sessionId = `${name}-${round}`;
      const restoreMemory = round % 3 !== 0;
      const count = 40;
      await pair.one.memory.addMemory({ sessionId, messages: numbered(count) });
      await pair.one.memory.setSummary({ sessionId, content: "so far", recentMessageId: "m3" });
      await pair.one.sessions.deleteSession({ sessionId });
      const [undeleted] = await Promise.all([
        moment(10).then(() =>
          outcome(
            pair.one.sessions.undeleteSession({ sessionId, restoreMemory }),
            "SESSION_NOT_FOUND",
            "MEMORY_NOT_RESTORABLE",
          ),
        ),
        // PurgeSession erases live sessions too, and the two others may find the session live and leave it.
        moment(20).then(() => erase(sessionId)),
      ]);

      const session = await liveSession(pair.one, sessionId);
      const messages = await messagesOf(pair.other, sessionId);
      const memory = await pair.other.memory.getMemory({ sessionId });
      if (session) {
        expect(undeleted.answer).toBeDefined();
        expect(session.messageCount).toBe(restoreMemory ? count : 0);
        expect(messages).toHaveLength(restoreMemory ? count : 0);
        expect(memory.summary?.content).toBe(restoreMemory ? "so far" : undefined);
        seen.whole += 1;
      } else {
        expect(messages).toEqual([]);
        expect(memory).toEqual({
          messages: [],
          summary: undefined,
          session: undefined,
          truncated: false,
          tokenCount: 0,
        });
        if (name === "PurgeSession") expect(await sessionWithDeleted(pair.one, sessionId)).toBeUndefined();
        else expect(undeleted.answer).toBeUndefined();
        seen.gone += 1;
      }
    });
    expect(seen.gone).toBeGreaterThan(0);
    if (name !== "PurgeSession") expect(seen.whole).toBeGreaterThan(0);
  },
);

test("what is restored while its deletion is still being marked stays for good", async () => {
  const ids = Array.from({ length: 60 }, (_, index) => `marked-${index}`);
  await forEach(ids.length, 6, async (index) => {
    const sessionId = ids[index] as string;
    await pair.one.memory.addMemory({ sessionId, messages: numbered(20) });
    for (let again = 0; again < 3; again++) {
      await pair.one.sessions.deleteSession({ sessionId });
      await moment(3);
      await pair.other.sessions.undeleteSession({ sessionId, restoreMemory: true });
    }
  });
  // Whatever was left to do is done, and all that is deleted is erased.
  await latePurger.pass();
  await pair.one.purge.purgeDeleted({ olderThan: { seconds: 0, nanos: 0 } });
  for (const sessionId of ids) {
    expect((await liveSession(pair.one, sessionId))?.messageCount).toBe(20);
    expect(await messagesOf(pair.other, sessionId)).toHaveLength(20);
  }
  const doomed = await pair.one.database.messages.countDocuments({
    session: { $in: ids.map((id) => `default/${id}`) },
    expireAt: { $exists: true },
  });
  expect(doomed).toBe(0);
});

test("of many undeletes at once one succeeds, and the memory is back in full", async () => {
  await forEach(20, 2, async (round) => {
    const sessionId = `undelete-${round}`;
    await pair.one.memory.addMemory({ sessionId, messages: numbered(10) });
    await pair.one.sessions.deleteSession({ sessionId });
    const outcomes = await atOnce(10, (call) =>
      outcome(pair.at(call).sessions.undeleteSession({ sessionId, restoreMemory: true }), "SESSION_NOT_DELETED"),
    );
    expect(outcomes.filter(({ answer }) => answer)).toHaveLength(1);
    expect(await messagesOf(pair.other, sessionId)).toHaveLength(10);
  });
});

test("an undelete with memory against one without: the memory is whole or empty, as the last one said", async () => {
  await forEach(60, 4, async (round) => {
    const sessionId = `both-${round}`;
    await pair.one.memory.addMemory({ sessionId, messages: numbered(10) });
    await pair.one.sessions.deleteSession({ sessionId });
    const [withMemory, without] = await Promise.all(
      [true, false].map((restoreMemory, call) =>
        moment(6).then(() =>
          outcome(pair.at(call).sessions.undeleteSession({ sessionId, restoreMemory }), "SESSION_NOT_DELETED"),
        ),
      ),
    );
    expect([withMemory?.answer, without?.answer].filter(Boolean)).toHaveLength(1);
    const count = withMemory?.answer ? 10 : 0;
    expect((await liveSession(pair.one, sessionId))?.messageCount).toBe(count);
    expect(await messagesOf(pair.other, sessionId)).toHaveLength(count);
  });
});

test("undeleting a user with sessions against purging: each session is whole or gone, and counted", async () => {
  await forEach(30, 2, async (round) => {
    const userId = `restored-${round}`;
    await pair.one.users.createUser({ userId });
    const ids = [0, 1, 2, 3].map((index) => `${userId}-${index}`);
    await Promise.all(ids.map((sessionId) => pair.one.memory.addMemory({ sessionId, userId, messages: numbered(10) })));
    await pair.one.users.deleteUser({ userId });
    const eraser = [
      () => pair.other.purge.purgeDeleted({ olderThan: { seconds: 0, nanos: 0 } }),
      () => latePurger.pass(),
      () => outcome(pair.other.users.purgeUser({ userId }), "USER_NOT_FOUND"),
    ][round % 3] as () => Promise<unknown>;
    const [undeleted] = await Promise.all([
      moment(10).then(() =>
        outcome(
          pair.one.users.undeleteUser({ userId, restoreSessions: true }),
          "USER_NOT_FOUND",
          "MEMORY_NOT_RESTORABLE",
        ),
      ),
      moment(20).then(eraser),
    ]);
    const { answer } = await outcome(pair.other.users.getUser({ userId }), "USER_NOT_FOUND");
    if (round % 3 !== 2) expect(answer === undefined).toBe(undeleted.answer === undefined);
    const live = (await Promise.all(ids.map((id) => liveSession(pair.one, id)))).filter((session) => session);
    expect(answer?.user?.sessionCount ?? 0).toBe(live.length);
    for (const session of live) {
      expect(session?.messageCount).toBe(10);
      expect(await messagesOf(pair.other, session?.sessionId ?? "")).toHaveLength(10);
    }
  });
});
