import { expect, onTestFinished, test } from "vitest";
import { invalid, newId, refusal, sessionNotFound, texts, userNotFound, withIds } from "../support/contract.js";
import { startService, type TestService } from "../support/service.js";

/** PurgeDeleted reaches all that is deleted, so each test has a service, and a database, of its own. */
async function ownService(): Promise<TestService> {
  const service = await startService({ purgeIntervalMs: 3_600_000 });
  onTestFinished(() => service.stop());
  return service;
}

const NOW = { seconds: 0, nanos: 0 };
const NOTHING = { purgedSessions: 0, purgedMessages: 0, purgedUsers: 0 };

/** One deleted session of 2 messages, a deleted user with a session of 1, in a live session 1 message deleted and 2 cleared. */
async function deleteThings(service: TestService): Promise<void> {
  await service.memory.addMemory({ sessionId: "deleted", messages: withIds("m1", "m2") });
  await service.sessions.deleteSession({ sessionId: "deleted" });
  await service.users.createUser({ userId: "deleted" });
  await service.memory.addMemory({ sessionId: "of-user", userId: "deleted", messages: withIds("m1") });
  await service.users.deleteUser({ userId: "deleted" });
  await service.users.createUser({ userId: "live" });
  await service.memory.addMemory({ sessionId: "live", userId: "live", messages: withIds("c1", "c2") });
  await service.memory.clearMemory({ sessionId: "live" });
  await service.memory.addMemory({ sessionId: "live", messages: withIds("gone", "kept") });
  await service.memory.deleteMessage({ sessionId: "live", messageId: "gone" });
}

const DELETED_THINGS = { purgedSessions: 2, purgedMessages: 6, purgedUsers: 1 };

async function stored({ database }: TestService): Promise<{ sessions: number; messages: number; users: number }> {
  const { sessions, messages, users } = database;
  return {
    sessions: await sessions.countDocuments(),
    messages: await messages.countDocuments(),
    users: await users.countDocuments(),
  };
}

test("purging a live session erases it with all its messages, the deleted and cleared ones too", async () => {
  const service = await ownService();
  const sessionId = newId();
  await service.users.createUser({ userId: "u" });
  await service.memory.addMemory({ sessionId, userId: "u", messages: withIds("c1", "c2") });
  await service.memory.clearMemory({ sessionId });
  await service.memory.addMemory({ sessionId, messages: withIds("m1", "m2", "m3") });
  await service.memory.deleteMessage({ sessionId, messageId: "m1" });
  expect(await service.sessions.purgeSession({ sessionId })).toEqual({ purgedMessages: 5 });
  expect(await stored(service)).toEqual({ sessions: 0, messages: 0, users: 1 });
  expect(await refusal(service.sessions.getSession({ sessionId, showDeleted: true }))).toEqual(
    sessionNotFound(sessionId),
  );
  expect(await service.sessions.listSessions({ showDeleted: true })).toEqual([]);
  expect((await service.users.getUser({ userId: "u" })).user?.sessionCount).toBe(0);
});

test("purging a deleted session erases it, once; its user is not counted down again", async () => {
  const service = await ownService();
  await service.users.createUser({ userId: "u" });
  for (const sessionId of ["s", "other"]) {
    await service.memory.addMemory({ sessionId, userId: "u", messages: texts("a") });
  }
  await service.sessions.deleteSession({ sessionId: "s" });
  expect(await service.sessions.purgeSession({ sessionId: "s" })).toEqual({ purgedMessages: 1 });
  expect(await refusal(service.sessions.purgeSession({ sessionId: "s" }))).toEqual(sessionNotFound("s"));
  expect((await service.users.getUser({ userId: "u" })).user?.sessionCount).toBe(1);
  expect(await stored(service)).toEqual({ sessions: 1, messages: 1, users: 1 });
});

test("a session without messages, an unknown one and a blank id", async () => {
  const service = await ownService();
  await service.sessions.createSession({ sessionId: "empty" });
  expect(await service.sessions.purgeSession({ sessionId: "empty" })).toEqual({ purgedMessages: 0 });
  expect(await refusal(service.sessions.purgeSession({ sessionId: "unknown" }))).toEqual(sessionNotFound("unknown"));
  expect(await refusal(service.sessions.purgeSession({ sessionId: " " }))).toEqual(invalid("session_id"));
});

test("of many purges of one session at once exactly one purges", async () => {
  const service = await ownService();
  await service.memory.addMemory({ sessionId: "s", messages: texts("a", "b") });
  const outcomes = await Promise.allSettled(
    Array.from({ length: 5 }, () => service.sessions.purgeSession({ sessionId: "s" })),
  );
  expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  expect(await stored(service)).toMatchObject({ sessions: 0, messages: 0 });
});

test("a purged session that is created again has nothing of the old one", async () => {
  const service = await ownService();
  await service.memory.addMemory({ sessionId: "s", messages: withIds("m1"), sessionMetadata: { a: 1 } });
  await service.sessions.purgeSession({ sessionId: "s" });
  const added = await service.memory.addMemory({ sessionId: "s", messages: withIds("m1") });
  expect(added.sessionCreated).toBe(true);
  const { messages, session } = await service.memory.getMemory({ sessionId: "s" });
  expect(messages.map(({ messageId }) => messageId)).toEqual(["m1"]);
  expect(session).toMatchObject({ messageCount: 1, metadata: {} });
});

test("a dry run counts what the real run erases, and erases nothing", async () => {
  const service = await ownService();
  await deleteThings(service);
  const before = await stored(service);
  expect(await service.purge.purgeDeleted({ olderThan: NOW, dryRun: true })).toEqual(DELETED_THINGS);
  expect(await stored(service)).toEqual(before);
  expect(await service.purge.purgeDeleted({ olderThan: NOW })).toEqual(DELETED_THINGS);
  expect(await service.purge.purgeDeleted({ olderThan: NOW, dryRun: true })).toEqual(NOTHING);
  expect(await service.purge.purgeDeleted({ olderThan: NOW })).toEqual(NOTHING);
});

test("after a purge of all that is deleted only what lives is there, as it was", async () => {
  const service = await ownService();
  await deleteThings(service);
  const before = await service.memory.getMemory({ sessionId: "live", lastN: 10 });
  await service.purge.purgeDeleted({ olderThan: NOW });
  expect(await stored(service)).toEqual({ sessions: 1, messages: 1, users: 1 });
  expect(await service.memory.getMemory({ sessionId: "live", lastN: 10 })).toEqual(before);
  expect((await service.users.getUser({ userId: "live" })).user?.sessionCount).toBe(1);
  expect(await refusal(service.sessions.undeleteSession({ sessionId: "deleted" }))).toEqual(sessionNotFound("deleted"));
  expect(await refusal(service.users.undeleteUser({ userId: "deleted" }))).toEqual(userNotFound("deleted"));
});

test("what was undeleted in time is not purged", async () => {
  const service = await ownService();
  await deleteThings(service);
  await service.users.undeleteUser({ userId: "deleted", restoreSessions: true });
  await service.sessions.undeleteSession({ sessionId: "deleted", restoreMemory: true });
  const purged = { purgedSessions: 0, purgedMessages: 3, purgedUsers: 0 };
  expect(await service.purge.purgeDeleted({ olderThan: NOW, dryRun: true })).toEqual(purged);
  expect(await service.purge.purgeDeleted({ olderThan: NOW })).toEqual(purged);
  expect((await service.memory.getMemory({ sessionId: "deleted" })).messages).toHaveLength(2);
  expect((await service.memory.getMemory({ sessionId: "of-user" })).messages).toHaveLength(1);
});

test("by default only what is older than the retention goes, so nothing that is restorable", async () => {
  const service = await ownService();
  await deleteThings(service);
  const before = await stored(service);
  expect(await service.purge.purgeDeleted({ dryRun: true })).toEqual(NOTHING);
  expect(await service.purge.purgeDeleted({})).toEqual(NOTHING);
  expect(await stored(service)).toEqual(before);
});

test("older_than spares what was deleted since", async () => {
  const service = await ownService();
  for (const id of ["old", "new"]) {
    await service.users.createUser({ userId: id });
    await service.memory.addMemory({ sessionId: id, messages: withIds("m1") });
    await service.sessions.deleteSession({ sessionId: id });
    await service.users.deleteUser({ userId: id });
    await service.memory.addMemory({ sessionId: `${id}-live`, messages: withIds("gone", "kept") });
    await service.memory.deleteMessage({ sessionId: `${id}-live`, messageId: "gone" });
  }
  // As if "old" had been deleted an hour ago.
  await service.purge.purgeDeleted({ dryRun: true });
  const hourAgo = { $set: { deleteTime: new Date(Date.now() - 3_600_000) } };
  await service.database.sessions.updateOne({ _id: "default/old" }, hourAgo);
  await service.database.users.updateOne({ _id: "default/old" }, hourAgo);
  await service.database.messages.updateMany({ session: /^default\/old/, deleteTime: { $exists: true } }, hourAgo);

  expect(await service.purge.purgeDeleted({ olderThan: { seconds: 7200 } })).toEqual(NOTHING);
  const olderThan = { seconds: 1799, nanos: 999_999_999 };
  const purged = { purgedSessions: 1, purgedMessages: 2, purgedUsers: 1 };
  expect(await service.purge.purgeDeleted({ olderThan, dryRun: true })).toEqual(purged);
  expect(await service.purge.purgeDeleted({ olderThan })).toEqual(purged);
  await service.sessions.undeleteSession({ sessionId: "new", restoreMemory: true });
  await service.users.undeleteUser({ userId: "new" });
});

test("an older_than that is negative or no Duration is refused", async () => {
  const service = await ownService();
  for (const olderThan of [
    { seconds: -1, nanos: 0 },
    { seconds: 0, nanos: -1 },
    { seconds: 0, nanos: 1_000_000_000 },
    { seconds: 315_576_000_001, nanos: 0 },
  ]) {
    expect(await refusal(service.purge.purgeDeleted({ olderThan }))).toEqual(invalid("older_than"));
  }
  expect(await service.purge.purgeDeleted({ olderThan: { seconds: 315_576_000_000, nanos: 0 } })).toEqual(NOTHING);
});
