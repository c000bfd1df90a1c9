import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { newId, refusal, sessionNotFound, until, userNotFound, withIds } from "../support/contract.js";
import { startService, type TestService } from "../support/service.js";

/** The purger never comes in these tests: what vanishes is erased by the TTL index alone. */
const NO_PURGER = { purgeIntervalMs: 86_400_000 };

/** Deleted things go soon here, and late enough to be restored before by a slow machine. */
let brief: TestService;
/** Deleted things stay here, so that they can be looked at. */
let lasting: TestService;
beforeAll(async () => {
  brief = await startService({ retentionMs: 8_000, ...NO_PURGER });
  lasting = await startService({ retentionMs: 3_600_000, ...NO_PURGER });
});
afterAll(async () => {
  await brief.stop();
  await lasting.stop();
});

const sessionKey = (sessionId: string) => `default/${sessionId}`;
const sessionStored = ({ database }: TestService, sessionId: string) =>
  database.sessions.findOne({ _id: sessionKey(sessionId) });
const messagesStored = ({ database }: TestService, sessionId: string) =>
  database.messages.find({ session: sessionKey(sessionId) }, { sort: { sequence: 1 } }).toArray();
const userStored = ({ database }: TestService, userId: string) => database.users.findOne({ _id: `default/${userId}` });

async function sessionOf(service: TestService, ...ids: string[]): Promise<string> {
  const sessionId = newId();
  await service.memory.addMemory({ sessionId, messages: withIds(...ids) });
  return sessionId;
}

const isGone = async (service: TestService, sessionId: string): Promise<boolean> =>
  (await sessionStored(service, sessionId)) === null && (await messagesStored(service, sessionId)).length === 0;

const isMarked = async (service: TestService, sessionId: string): Promise<boolean> =>
  (await sessionStored(service, sessionId))?.expireAt !== undefined;

test.concurrent("a deleted session vanishes with its messages, and the live one beside it stays", async () => {
  const [deleted, live] = [await sessionOf(brief, "m1", "m2"), await sessionOf(brief, "m1")];
  await brief.sessions.deleteSession({ sessionId: deleted });
  await until(() => isGone(brief, deleted));
  expect(await refusal(brief.sessions.undeleteSession({ sessionId: deleted }))).toEqual(sessionNotFound(deleted));
  expect((await brief.memory.getMemory({ sessionId: live })).messages).toHaveLength(1);
});

test.concurrent("a deleted session without messages vanishes too", async () => {
  const sessionId = newId();
  await brief.sessions.createSession({ sessionId });
  await brief.sessions.deleteSession({ sessionId });
  await until(() => isGone(brief, sessionId));
});

test.concurrent("a deleted user vanishes with all sessions and messages", async () => {
  const userId = newId("user");
  await brief.users.createUser({ userId });
  const sessionIds = [newId(), newId()];
  await brief.memory.addMemory({ sessionId: sessionIds[0], userId, messages: withIds("m1", "m2") });
  await brief.sessions.createSession({ sessionId: sessionIds[1] as string, userId });
  await brief.users.deleteUser({ userId });
  for (const sessionId of sessionIds) await until(() => isGone(brief, sessionId));
  await until(async () => (await userStored(brief, userId)) === null);
  expect(await refusal(brief.users.undeleteUser({ userId }))).toEqual(userNotFound(userId));
});

test.concurrent("a deleted message vanishes out of a session that lives on", async () => {
  const sessionId = await sessionOf(brief, "m1", "gone", "m3");
  await brief.memory.deleteMessage({ sessionId, messageId: "gone" });
  await until(async () => (await messagesStored(brief, sessionId)).length === 2);
  const { messages, session } = await brief.memory.getMemory({ sessionId });
  expect(messages.map(({ messageId }) => messageId)).toEqual(["m1", "m3"]);
  expect(session?.messageCount).toBe(2);
});

test.concurrent("a cleared memory vanishes out of a session that lives on", async () => {
  const sessionId = await sessionOf(brief, "m1", "m2");
  await brief.memory.clearMemory({ sessionId });
  await brief.memory.addMemory({ sessionId, messages: withIds("m3") });
  await until(async () => (await messagesStored(brief, sessionId)).length === 1);
  expect((await brief.memory.getMemory({ sessionId })).messages.map(({ messageId }) => messageId)).toEqual(["m3"]);
});

test.concurrent("the memory that an undelete leaves behind vanishes, what came after stays", async () => {
  const undeleted = await sessionOf(brief, "m1");
  await brief.sessions.deleteSession({ sessionId: undeleted });
  await brief.memory.addMemory({ sessionId: undeleted, messages: withIds("m2") });
  await until(async () => (await messagesStored(brief, undeleted)).length === 1);
  expect((await brief.memory.getMemory({ sessionId: undeleted })).messages).toMatchObject([{ messageId: "m2" }]);
});

test.concurrent("what was restored in time is still there when its time would have come", async () => {
  const userId = newId("user");
  await brief.users.createUser({ userId });
  const [own, theirs, other] = [await sessionOf(brief, "m1"), newId(), await sessionOf(brief, "m1")];
  await brief.memory.addMemory({ sessionId: theirs, userId, messages: withIds("m1") });
  await brief.sessions.deleteSession({ sessionId: own });
  await brief.users.deleteUser({ userId });
  await brief.sessions.undeleteSession({ sessionId: own, restoreMemory: true });
  await brief.users.undeleteUser({ userId, restoreSessions: true });
  // What is deleted after them vanishes after them.
  await brief.sessions.deleteSession({ sessionId: other });
  await until(() => isGone(brief, other));
  for (const sessionId of [own, theirs]) {
    expect((await brief.memory.getMemory({ sessionId })).messages).toHaveLength(1);
  }
  expect((await brief.users.getUser({ userId })).user?.sessionCount).toBe(1);
});

test("a deleted session and its messages carry the purge time at which they go", async () => {
  const sessionId = await sessionOf(lasting, "m1", "m2");
  const { session } = await lasting.sessions.deleteSession({ sessionId });
  const purgeTime = new Date((session?.purgeTime?.seconds ?? 0) * 1000 + (session?.purgeTime?.nanos ?? 0) / 1e6);
  await until(() => isMarked(lasting, sessionId));
  expect((await sessionStored(lasting, sessionId))?.expireAt).toEqual(purgeTime);
  const messages = await messagesStored(lasting, sessionId);
  expect(messages.map(({ expireAt }) => expireAt)).toEqual([purgeTime, purgeTime]);
});

test("a deleted user, their sessions and messages carry the purge time at which they go", async () => {
  const [userId, sessionId] = [newId("user"), newId()];
  await lasting.users.createUser({ userId });
  await lasting.memory.addMemory({ sessionId, userId, messages: withIds("m1") });
  const { user } = await lasting.users.deleteUser({ userId });
  const purgeTime = new Date((user?.purgeTime?.seconds ?? 0) * 1000 + (user?.purgeTime?.nanos ?? 0) / 1e6);
  await until(async () => (await userStored(lasting, userId))?.expireAt !== undefined);
  expect((await userStored(lasting, userId))?.expireAt).toEqual(purgeTime);
  expect((await sessionStored(lasting, sessionId))?.expireAt).toEqual(purgeTime);
  expect((await messagesStored(lasting, sessionId)).map(({ expireAt }) => expireAt)).toEqual([purgeTime]);
});

test("deleted and cleared messages carry a time at which they go, the live ones beside them never", async () => {
  const sessionId = await sessionOf(lasting, "cleared");
  await lasting.memory.clearMemory({ sessionId });
  await lasting.memory.addMemory({ sessionId, messages: withIds("deleted", "live") });
  await lasting.memory.deleteMessage({ sessionId, messageId: "deleted" });
  const expiring = async () => (await messagesStored(lasting, sessionId)).map(({ expireAt }) => expireAt !== undefined);
  await until(async () => (await expiring())[0] === true);
  expect(await expiring()).toEqual([true, true, false]);
  expect(await isMarked(lasting, sessionId)).toBe(false);
});

test("nothing that is live carries a time at which it goes, whatever it has been through", async () => {
  const userId = newId("user");
  await lasting.users.createUser({ userId });
  const [restored, undeleted, added, theirs] = [newId(), newId(), newId(), newId()];
  for (const sessionId of [restored, undeleted, added]) {
    await lasting.memory.addMemory({ sessionId, messages: withIds("m1") });
    await lasting.sessions.deleteSession({ sessionId });
    await until(() => isMarked(lasting, sessionId));
  }
  await lasting.memory.addMemory({ sessionId: theirs, userId, messages: withIds("m1") });
  await lasting.users.deleteUser({ userId });
  await until(async () => (await userStored(lasting, userId))?.expireAt !== undefined);

  await lasting.sessions.undeleteSession({ sessionId: restored, restoreMemory: true });
  await lasting.sessions.undeleteSession({ sessionId: undeleted });
  await lasting.memory.addMemory({ sessionId: undeleted, messages: withIds("m2") });
  await lasting.memory.addMemory({ sessionId: added, messages: withIds("m2") });
  await lasting.users.undeleteUser({ userId, restoreSessions: true });

  for (const sessionId of [restored, undeleted, added, theirs]) {
    expect(await isMarked(lasting, sessionId)).toBe(false);
    const { messages } = await lasting.memory.getMemory({ sessionId });
    const stored = await messagesStored(lasting, sessionId);
    const live = stored.filter(({ _id }) => messages.some(({ messageId }) => _id.endsWith(`/${messageId}`)));
    expect(live.map(({ expireAt, deleteTime }) => [expireAt, deleteTime])).toEqual([[undefined, undefined]]);
  }
  expect(await userStored(lasting, userId)).not.toHaveProperty("expireAt");
});

test("a user who is undeleted at the very moment at which their deletion is completed is not erased", async () => {
  const { users, client } = lasting.database;
  const userId = newId("user");
  const _id = `default/${userId}`;
  await lasting.users.createUser({ userId });
  await lasting.users.deleteUser({ userId });
  await until(async () => (await userStored(lasting, userId))?.expireAt !== undefined);
  const completed = await userStored(lasting, userId);
  // Once more, slowly: the document as it was before, and its completion under way while the undelete comes in.
  await users.updateOne({ _id }, { $unset: { expireAt: true }, $set: { task: { kind: "retire", epoch: "e" } } });
  const session = client.startSession();
  onTestFinished(() => session.endSession());
  session.startTransaction();
  const completion = { $set: { expireAt: completed?.expireAt }, $unset: { task: 1 as const }, $inc: { version: 1 } };
  await users.updateOne({ _id }, completion, { session });
  const undeleted = lasting.users.undeleteUser({ userId });
  const waiting = [{ $currentOp: {} }, { $match: { ns: users.namespace, op: "update" } }];
  const isWaiting = async () => {
    const found = client.db("admin").aggregate(waiting, { readConcern: { level: "local" } });
    return (await found.toArray()).length > 0;
  };
  await until(isWaiting);
  await session.commitTransaction();
  await undeleted;
  expect(await userStored(lasting, userId)).not.toHaveProperty("expireAt");
});
