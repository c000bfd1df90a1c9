import { afterAll, beforeAll, expect, test } from "vitest";
import {
  aMoment,
  etagMismatch,
  invalid,
  memoryNotRestorable,
  millis,
  newId,
  refusal,
  sessionNotDeleted,
  sessionNotFound,
  texts,
  userNotUsable,
  withIds,
} from "../support/contract.js";
import { startService, type TestService } from "../support/service.js";

const RETENTION_MS = 3_600_000;

let service: TestService;
beforeAll(async () => {
  service = await startService({ retentionMs: RETENTION_MS });
});
afterAll(() => service.stop());

const contents = async (sessionId: string) =>
  (await service.memory.getMemory({ sessionId, lastN: 1000 })).messages.map(({ content }) => content);

async function sessionOf(...ids: string[]): Promise<string> {
  const sessionId = newId();
  await service.memory.addMemory({ sessionId, messages: withIds(...ids) });
  return sessionId;
}

test("a deleted session answers when it was deleted and when it goes, and seems empty", async () => {
  const sessionId = newId();
  await service.memory.addMemory({ sessionId, messages: texts("a"), sessionMetadata: { k: 1 } });
  const { session: before } = await service.sessions.getSession({ sessionId });
  await aMoment();
  const { session } = await service.sessions.deleteSession({ sessionId });
  expect(session).toMatchObject({
    sessionId,
    uid: before?.uid,
    metadata: { k: 1 },
    createTime: before?.createTime,
    updateTime: session?.deleteTime,
    lastMessageTime: undefined,
    messageCount: 0,
  });
  expect(session?.etag).not.toBe(before?.etag);
  expect(millis(session?.deleteTime)).toBeGreaterThan(millis(before?.updateTime));
  expect(millis(session?.purgeTime)).toBe(millis(session?.deleteTime) + RETENTION_MS);
});

test("a deleted session is gone to every reader at once", async () => {
  const sessionId = newId();
  const metadata = { tag: newId() };
  await service.memory.addMemory({ sessionId, messages: withIds("m1", "m2"), sessionMetadata: metadata });
  await service.memory.setSummary({ sessionId, content: "sum", recentMessageId: "m1" });
  await service.sessions.deleteSession({ sessionId });

  expect(await refusal(service.sessions.getSession({ sessionId }))).toEqual(sessionNotFound(sessionId));
  expect(await service.sessions.batchGetSessions({ sessionIds: [sessionId] })).toEqual({
    sessions: [],
    missingSessionIds: [sessionId],
    unreadSessionIds: [],
  });
  expect(await service.sessions.listSessions({ metadata })).toEqual([]);
  for (const lastN of [0, 10]) {
    expect(await service.memory.getMemory({ sessionId, lastN })).toEqual({
      messages: [],
      summary: undefined,
      session: undefined,
      truncated: false,
      tokenCount: 0,
    });
  }
  expect(await service.memory.listMessages({ sessionId })).toEqual([]);
  expect(await refusal(service.memory.getMessage({ sessionId, messageId: "m1" }))).toEqual(sessionNotFound(sessionId));
});

test("a deleted session takes no changes", async () => {
  const sessionId = await sessionOf("m1");
  const { session: deleted } = await service.sessions.deleteSession({ sessionId });
  const changes = [
    service.sessions.updateSession({ sessionId, metadata: { a: 1 } }),
    service.memory.updateMessage({ sessionId, messageId: "m1", tokenCount: 1 }),
    service.memory.deleteMessage({ sessionId, messageId: "m1" }),
    service.memory.clearMemory({ sessionId }),
    service.memory.setSummary({ sessionId, content: "s", recentMessageId: "m1" }),
  ];
  for (const outcome of await Promise.all(changes.map(refusal))) expect(outcome).toEqual(sessionNotFound(sessionId));
  expect((await service.sessions.getSession({ sessionId, showDeleted: true })).session).toEqual(deleted);
});

test("a second delete is not found, unless missing is allowed: then the answer is the deleted one, unchanged", async () => {
  const sessionId = await sessionOf("m1");
  const { session: deleted } = await service.sessions.deleteSession({ sessionId });
  expect(await refusal(service.sessions.deleteSession({ sessionId }))).toEqual(sessionNotFound(sessionId));
  expect((await service.sessions.deleteSession({ sessionId, allowMissing: true })).session).toEqual(deleted);
});

test("deleting an unknown session is not found, unless missing is allowed: then there is no session to answer", async () => {
  const sessionId = newId();
  expect(await refusal(service.sessions.deleteSession({ sessionId }))).toEqual(sessionNotFound(sessionId));
  expect(await service.sessions.deleteSession({ sessionId, allowMissing: true })).toEqual({ session: undefined });
});

test("a delete with a stale etag is aborted, with the current one it passes", async () => {
  const sessionId = await sessionOf("m1");
  const stale = (await service.sessions.getSession({ sessionId })).session?.etag as string;
  const { session } = await service.sessions.updateSession({ sessionId, metadata: { a: 1 } });
  expect(await refusal(service.sessions.deleteSession({ sessionId, etag: stale }))).toEqual(
    etagMismatch({ session_id: sessionId }, stale),
  );
  expect(await contents(sessionId)).toEqual(["m1"]);
  await service.sessions.deleteSession({ sessionId, etag: session?.etag });
  expect(await refusal(service.sessions.getSession({ sessionId }))).toEqual(sessionNotFound(sessionId));
});

test("all that is wrong with a delete is named at once", async () => {
  expect(await refusal(service.sessions.deleteSession({ sessionId: "", etag: "e".repeat(65) }))).toEqual(
    invalid("session_id", "etag"),
  );
});

test("an undelete brings the session back as it was, without its memory", async () => {
  const sessionId = newId();
  await service.memory.addMemory({ sessionId, messages: withIds("m1"), sessionMetadata: { k: 1 } });
  await service.memory.setSummary({ sessionId, content: "sum", recentMessageId: "m1" });
  const { session: before } = await service.sessions.getSession({ sessionId });
  const { session: deleted } = await service.sessions.deleteSession({ sessionId });
  await aMoment();
  const { session } = await service.sessions.undeleteSession({ sessionId });
  expect(session).toEqual({
    ...before,
    messageCount: 0,
    lastMessageTime: undefined,
    updateTime: session?.updateTime,
    etag: session?.etag,
  });
  expect(millis(session?.updateTime)).toBeGreaterThan(millis(deleted?.updateTime));
  expect([before?.etag, deleted?.etag]).not.toContain(session?.etag);
  expect(await service.memory.getMemory({ sessionId })).toMatchObject({ messages: [], summary: undefined, session });
});

test("memory that an undelete has left deleted stays so for good", async () => {
  const sessionId = await sessionOf("old");
  await service.sessions.deleteSession({ sessionId });
  await service.sessions.undeleteSession({ sessionId });
  await service.memory.addMemory({ sessionId, messages: withIds("new") });
  await service.sessions.deleteSession({ sessionId });
  const { session } = await service.sessions.undeleteSession({ sessionId, restoreMemory: true });
  expect(session?.messageCount).toBe(1);
  expect(await contents(sessionId)).toEqual(["new"]);
});

test("an undelete with restore_memory brings back messages, summary, count and time", async () => {
  const sessionId = await sessionOf("m1", "m2", "m3");
  await service.memory.setSummary({ sessionId, content: "sum", recentMessageId: "m1", metadata: { s: 1 } });
  const before = await service.memory.getMemory({ sessionId });
  await service.sessions.deleteSession({ sessionId });
  const { session } = await service.sessions.undeleteSession({ sessionId, restoreMemory: true });
  expect(session).toEqual({ ...before.session, updateTime: session?.updateTime, etag: session?.etag });
  expect(await service.memory.getMemory({ sessionId })).toEqual({ ...before, session });
  expect(await contents(sessionId)).toEqual(["m1", "m2", "m3"]);
});

test("restored memory goes on where it was, under new sequences", async () => {
  const sessionId = await sessionOf("m1", "m2");
  await service.sessions.deleteSession({ sessionId });
  await service.sessions.undeleteSession({ sessionId, restoreMemory: true });
  await service.memory.addMemory({ sessionId, messages: withIds("m3") });
  const [chunk] = await service.memory.listMessages({ sessionId });
  expect(chunk?.messages.map(({ messageId }) => messageId)).toEqual(["m1", "m2", "m3"]);
  expect(new Set(chunk?.messages.map(({ sequence }) => sequence)).size).toBe(3);
});

test("what was deleted or cleared before the session was does not come back with it", async () => {
  const sessionId = await sessionOf("cleared");
  await service.memory.clearMemory({ sessionId });
  await service.memory.addMemory({ sessionId, messages: withIds("m1", "dropped", "m2") });
  await service.memory.deleteMessage({ sessionId, messageId: "dropped" });
  await service.sessions.deleteSession({ sessionId });
  const { session } = await service.sessions.undeleteSession({ sessionId, restoreMemory: true });
  expect(session?.messageCount).toBe(2);
  expect(await contents(sessionId)).toEqual(["m1", "m2"]);
});

test("restoring the memory of a session that had none is fine", async () => {
  const sessionId = newId();
  await service.sessions.createSession({ sessionId });
  await service.sessions.deleteSession({ sessionId });
  const { session } = await service.sessions.undeleteSession({ sessionId, restoreMemory: true });
  expect(session).toMatchObject({ messageCount: 0, deleteTime: undefined, purgeTime: undefined });
});

test("more messages than one batch of housekeeping are restored in full", async () => {
  const sessionId = newId();
  const thousand = Array.from({ length: 1000 }, (_, n) => ({ content: String(n) }));
  await service.memory.addMemory({ sessionId, messages: thousand });
  await service.memory.addMemory({ sessionId, messages: texts("and one") });
  await service.sessions.deleteSession({ sessionId });
  const { session } = await service.sessions.undeleteSession({ sessionId, restoreMemory: true });
  expect(session?.messageCount).toBe(1001);
  const chunks = await service.memory.listMessages({ sessionId, chunkSize: 1000 });
  expect(chunks.flatMap(({ messages }) => messages)).toHaveLength(1001);
});

test("undeleting a live session is refused and changes nothing", async () => {
  const sessionId = await sessionOf("m1");
  const before = await service.sessions.getSession({ sessionId });
  for (const restoreMemory of [false, true]) {
    expect(await refusal(service.sessions.undeleteSession({ sessionId, restoreMemory }))).toEqual(
      sessionNotDeleted(sessionId),
    );
  }
  expect(await service.sessions.getSession({ sessionId })).toEqual(before);
});

test("undeleting an unknown or purged session is not found", async () => {
  const unknown = newId();
  const purged = await sessionOf("m1");
  await service.sessions.deleteSession({ sessionId: purged });
  await service.sessions.purgeSession({ sessionId: purged });
  for (const sessionId of [unknown, purged]) {
    for (const restoreMemory of [false, true]) {
      expect(await refusal(service.sessions.undeleteSession({ sessionId, restoreMemory }))).toEqual(
        sessionNotFound(sessionId),
      );
    }
  }
});

test("a session whose user is deleted cannot be undeleted, with or without memory", async () => {
  const [sessionId, userId] = [newId(), newId("user")];
  await service.users.createUser({ userId });
  await service.memory.addMemory({ sessionId, userId, messages: texts("a") });
  await service.users.deleteUser({ userId });
  for (const restoreMemory of [false, true]) {
    expect(await refusal(service.sessions.undeleteSession({ sessionId, restoreMemory }))).toEqual(
      userNotUsable(userId),
    );
  }
  expect(await refusal(service.sessions.getSession({ sessionId }))).toEqual(sessionNotFound(sessionId));
});

test("a user's count follows the deletion and the restoration of their session", async () => {
  const [sessionId, userId] = [newId(), newId("user")];
  await service.users.createUser({ userId });
  await service.memory.addMemory({ sessionId, userId, messages: texts("a") });
  const count = async () => (await service.users.getUser({ userId })).user?.sessionCount;
  await service.sessions.deleteSession({ sessionId });
  expect(await count()).toBe(0);
  const { session } = await service.sessions.undeleteSession({ sessionId, restoreMemory: true });
  expect(session?.userId).toBe(userId);
  expect(await count()).toBe(1);
});

test("memory whose erasure has begun is not restorable, but the session is, without it", async () => {
  const sessionId = await sessionOf("m1", "m2");
  await service.sessions.deleteSession({ sessionId });
  // As the TTL index does it, one message at a time.
  await service.database.messages.deleteOne({ session: `default/${sessionId}` });
  expect(await refusal(service.sessions.undeleteSession({ sessionId, restoreMemory: true }))).toEqual(
    memoryNotRestorable({ session_id: sessionId }),
  );
  expect(await refusal(service.sessions.getSession({ sessionId }))).toEqual(sessionNotFound(sessionId));
  const { session } = await service.sessions.undeleteSession({ sessionId });
  expect(session?.messageCount).toBe(0);
  expect(await contents(sessionId)).toEqual([]);
});

test("of many deletes at once exactly one deletes", async () => {
  const sessionId = await sessionOf("m1");
  const outcomes = await Promise.allSettled(
    Array.from({ length: 5 }, () => service.sessions.deleteSession({ sessionId })),
  );
  expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
});

test("of many undeletes at once exactly one undeletes, and the memory is whole", async () => {
  const sessionId = await sessionOf("m1", "m2");
  await service.sessions.deleteSession({ sessionId });
  const outcomes = await Promise.allSettled(
    Array.from({ length: 5 }, () => service.sessions.undeleteSession({ sessionId, restoreMemory: true })),
  );
  expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  expect(await contents(sessionId)).toEqual(["m1", "m2"]);
});
