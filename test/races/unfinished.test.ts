import { afterAll, beforeAll, expect, test } from "vitest";
import type { RetiredEpoch, SessionRecord, UserRecord } from "../../src/domain/records.js";
import { createWork } from "../../src/store/erasing/work.js";
import { failure } from "../support/api.js";
import { eventually } from "../support/eventually.js";
import { createTestPurger } from "../support/purger.js";
import { forEach, liveSessionsOf, numbered, type Pair, startPair } from "./support.js";

/** What was begun by a process that has died, or is late, and is met by others. */

let pair: Pair;
beforeAll(async () => {
  pair = await startPair();
});
afterAll(() => pair.stop());

const keyOf = (id: string): string => `default/${id}`;

async function storedSession(sessionId: string): Promise<SessionRecord | null> {
  return pair.one.database.sessions.findOne({ _id: keyOf(sessionId) });
}

async function userWithSessions(userId: string, count: number): Promise<string[]> {
  await pair.one.users.createUser({ userId });
  const ids = Array.from({ length: count }, (_, index) => `${userId}-${index}`);
  await forEach(count, 32, async (index) => {
    const sessionId = ids[index] as string;
    await pair.at(index).memory.addMemory({ sessionId, userId, messages: numbered(1) });
  });
  return ids;
}

/** The first step of a PurgeUser whose process died right after it. */
async function beginPurgeOfUser(userId: string): Promise<void> {
  const { users } = pair.one.database;
  const { epoch } = (await users.findOne({ _id: keyOf(userId) })) as UserRecord;
  const now = new Date();
  const condemned = { deleted: true, deleteTime: now, purgeTime: now, sessionCount: 0 };
  await users.updateOne(
    { _id: keyOf(userId) },
    { $set: { ...condemned, task: { kind: "purge", epoch } }, $inc: { version: 1 } },
  );
}

/** The first step of a PurgeSession whose process died right after it. */
async function beginPurgeOfSession(sessionId: string): Promise<void> {
  const { epoch } = (await storedSession(sessionId)) as SessionRecord;
  const now = new Date();
  const entry: RetiredEpoch = { epoch, deleteTime: now, purgeTime: now, doneTo: 0, task: "erase" };
  await pair.one.database.sessions.updateOne(
    { _id: keyOf(sessionId) },
    { $set: { purging: true, deleted: true, deleteTime: now, purgeTime: now, retired: [entry] } },
  );
}

test("a pass that comes late to the erasure of a user leaves the sessions of the one who came after", async () => {
  const userId = "reborn";
  await userWithSessions(userId, 3);
  await beginPurgeOfUser(userId);

  const { database } = pair.other;
  const work = createWork(database);
  let goOn = (): void => {};
  const held = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  let found = (): void => {};
  const hasFound = new Promise<void>((resolve) => {
    found = resolve;
  });
  const late = createTestPurger(database, 0, {
    async *usersWithTask() {
      for await (const user of work.usersWithTask()) {
        found();
        await held;
        yield user;
      }
    },
  });
  const pass = late.pass();
  await hasFound;
  expect(await failure(pair.one.users.purgeUser({ userId }))).toMatchObject({ reason: "USER_NOT_FOUND" });
  const born = await userWithSessions(userId, 20);
  goOn();
  await pass;

  expect((await liveSessionsOf(pair.one, userId)).sort()).toEqual(born.sort());
  expect((await pair.one.users.getUser({ userId })).user?.sessionCount).toBe(20);
});

test("a user whose erasure was broken off is gone with all sessions for whoever is told so", async () => {
  const userId = "half-gone";
  const ids = await userWithSessions(userId, 300);
  await beginPurgeOfUser(userId);
  expect(await failure(pair.other.users.deleteUser({ userId }))).toMatchObject({ reason: "USER_NOT_FOUND" });
  const { sessions } = await pair.one.sessions.batchGetSessions({ sessionIds: ids.slice(0, 100) });
  expect(sessions).toEqual([]);
});

test("a PurgeUser that was broken off is finished before the next one says that there is no such user", async () => {
  const userId = "half-purged";
  const ids = await userWithSessions(userId, 50);
  await beginPurgeOfUser(userId);
  expect(await failure(pair.other.users.purgeUser({ userId }))).toMatchObject({ reason: "USER_NOT_FOUND" });
  expect(await pair.one.database.users.findOne({ _id: keyOf(userId) })).toBeNull();
  const left = await pair.one.database.messages.countDocuments({ session: { $in: ids.map(keyOf) } });
  expect(left).toBe(0);
});

test("a PurgeSession that was broken off is finished before the next one says that there is no such session", async () => {
  const sessionId = "half-erased";
  await pair.one.memory.addMemory({ sessionId, messages: numbered(1000) });
  await beginPurgeOfSession(sessionId);
  expect(await failure(pair.one.sessions.getSession({ sessionId }))).toMatchObject({ reason: "SESSION_NOT_FOUND" });
  expect(await failure(pair.other.sessions.purgeSession({ sessionId }))).toMatchObject({ reason: "SESSION_NOT_FOUND" });
  expect(await pair.one.database.messages.countDocuments({ session: keyOf(sessionId) })).toBe(0);
});

test("a session that was made while its predecessor was erased, and deleted, goes at its time", async () => {
  const sessionId = "successor";
  await pair.one.memory.addMemory({ sessionId, messages: numbered(5) });
  await beginPurgeOfSession(sessionId);
  await pair.one.memory.addMemory({ sessionId, messages: numbered(2, "n") });
  await pair.one.sessions.deleteSession({ sessionId });
  await eventually("its own messages are marked", async () =>
    (await storedSession(sessionId))?.retired?.every(({ task }) => task === "erase"),
  );
  await createTestPurger(pair.other.database).pass();
  const stored = await storedSession(sessionId);
  expect(stored).not.toHaveProperty("retired");
  expect(stored?.expireAt).toEqual(stored?.purgeTime);
});

test("restoring a user says when a session cannot be restored, and restores the others", async () => {
  const userId = "restored";
  const [whole = "", damaged = ""] = await userWithSessions(userId, 2);
  await pair.one.users.deleteUser({ userId });
  await pair.one.database.messages.deleteOne({ session: keyOf(damaged) });
  expect(await failure(pair.one.users.undeleteUser({ userId, restoreSessions: true }))).toMatchObject({
    code: "FAILED_PRECONDITION",
    reason: "MEMORY_NOT_RESTORABLE",
    metadata: { user_id: userId },
  });
  expect(await liveSessionsOf(pair.other, userId)).toEqual([whole]);
  expect((await pair.other.users.getUser({ userId })).user?.sessionCount).toBe(1);
});

test("a session that may not be restored keeps the times at which it goes", async () => {
  const userId = "gone";
  const [sessionId = ""] = await userWithSessions(userId, 1);
  await pair.one.users.deleteUser({ userId });
  const isMarked = async () => (await storedSession(sessionId))?.expireAt !== undefined;
  await eventually("all is marked", isMarked);
  expect(await failure(pair.one.sessions.undeleteSession({ sessionId, restoreMemory: true }))).toMatchObject({
    code: "FAILED_PRECONDITION",
    reason: "USER_NOT_FOUND",
  });
  expect(await isMarked()).toBe(true);
  const unmarked = { session: keyOf(sessionId), expireAt: { $exists: false } };
  expect(await pair.one.database.messages.countDocuments(unmarked)).toBe(0);
});
