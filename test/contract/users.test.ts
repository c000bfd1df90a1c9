import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { ListUsersResponse } from "../../gen/sessions/v1/user_service.js";
import {
  aMoment,
  etagMismatch,
  invalid,
  memoryNotRestorable,
  millis,
  newId,
  refusal,
  sessionNotFound,
  texts,
  userExists,
  userNotDeleted,
  userNotFound,
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

const stored = async (userId: string) => (await service.users.getUser({ userId })).user;

async function newUser(): Promise<string> {
  const userId = newId("user");
  await service.users.createUser({ userId });
  return userId;
}

async function sessionOf(userId: string, ...messageIds: string[]): Promise<string> {
  const sessionId = newId();
  await service.memory.addMemory({ sessionId, userId, messages: withIds(...messageIds) });
  return sessionId;
}

const liveSessions = async (userId: string) =>
  (await service.sessions.listSessions({ userId })).flatMap(({ sessions }) =>
    sessions.map(({ sessionId }) => sessionId),
  );

const contents = async (sessionId: string) =>
  (await service.memory.getMemory({ sessionId, lastN: 100 })).messages.map(({ content }) => content);

const FIELDS = { email: "ada@example.org", firstName: "Ada", lastName: "Lovelace", metadata: { a: { b: 1 } } };

test("a new user is answered and read as created", async () => {
  const userId = newId("user");
  const { user } = await service.users.createUser({ userId, ...FIELDS });
  expect(user).toMatchObject({
    userId,
    ...FIELDS,
    uid: expect.stringMatching(/^[0-9a-f-]{36}$/),
    updateTime: user?.createTime,
    deleteTime: undefined,
    purgeTime: undefined,
    sessionCount: 0,
    etag: expect.stringMatching(/^.{1,64}$/),
  });
  expect(await stored(userId)).toEqual(user);
  const { user: bare } = await service.users.createUser({ userId: newId("user") });
  expect(bare).toMatchObject({ email: "", firstName: "", lastName: "", metadata: {} });
});

test("creating an id that exists, live or deleted, is refused and changes nothing", async () => {
  const userId = newId("user");
  const { user } = await service.users.createUser({ userId, ...FIELDS });
  expect(await refusal(service.users.createUser({ userId, email: "other" }))).toEqual(userExists(userId));
  expect(await stored(userId)).toEqual(user);
  await service.users.deleteUser({ userId });
  expect(await refusal(service.users.createUser({ userId }))).toEqual(userExists(userId));
  const { user: restored } = await service.users.undeleteUser({ userId });
  expect(restored).toMatchObject({ uid: user?.uid, ...FIELDS });
});

test("get, update, delete and purge of a missing user, or of a deleted one, are not found", async () => {
  const [missing, deleted] = [newId("user"), await newUser()];
  await service.users.deleteUser({ userId: deleted });
  for (const userId of [missing, deleted]) {
    for (const call of [service.users.getUser, service.users.updateUser, service.users.deleteUser]) {
      expect(await refusal(call({ userId }))).toEqual(userNotFound(userId));
    }
  }
  expect(await refusal(service.users.undeleteUser({ userId: missing }))).toEqual(userNotFound(missing));
  expect(await refusal(service.users.purgeUser({ userId: missing }))).toEqual(userNotFound(missing));
});

test("an update changes the fields that are present, and clears those that are present and empty", async () => {
  const userId = newId("user");
  const { user: before } = await service.users.createUser({ userId, ...FIELDS });
  await aMoment();
  const { user } = await service.users.updateUser({ userId, email: "", firstName: "Augusta" });
  expect(user).toEqual({
    ...before,
    email: "",
    firstName: "Augusta",
    updateTime: user?.updateTime,
    etag: user?.etag,
  });
  expect(millis(user?.updateTime)).toBeGreaterThan(millis(before?.updateTime));
  expect(user?.etag).not.toBe(before?.etag);
  expect(await stored(userId)).toEqual(user);
});

test("a user's metadata knows merge, merge patch and replace", async () => {
  const userId = newId("user");
  await service.users.createUser({ userId, ...FIELDS });
  const merged = await service.users.updateUser({ userId, metadata: { a: { c: null }, d: [1] } });
  expect(merged.user?.metadata).toEqual({ a: { b: 1, c: null }, d: [1] });
  const patched = await service.users.updateUser({ userId, metadata: { a: { c: null }, d: null }, metadataMode: 2 });
  expect(patched.user?.metadata).toEqual({ a: { b: 1 } });
  const replaced = await service.users.updateUser({ userId, metadata: { z: null }, metadataMode: 3 });
  expect(replaced.user).toMatchObject({ ...FIELDS, metadata: { z: null } });
});

test("concurrent merges of different keys of a user all survive", async () => {
  const userId = await newUser();
  const keys = Array.from({ length: 15 }, (_, n) => `key-${n}`);
  await Promise.all(keys.map((key) => service.users.updateUser({ userId, metadata: { [key]: true } })));
  expect((await stored(userId))?.metadata).toEqual(Object.fromEntries(keys.map((key) => [key, true])));
});

test("the current etag lets an update pass, a stale one is aborted and changes nothing", async () => {
  const userId = await newUser();
  const etag = (await stored(userId))?.etag as string;
  const { user } = await service.users.updateUser({ userId, firstName: "A", etag });
  expect(await refusal(service.users.updateUser({ userId, firstName: "B", etag }))).toEqual(
    etagMismatch({ user_id: userId }, etag),
  );
  expect(await stored(userId)).toEqual(user);
});

test("sessions move the user's session_count, and neither update_time nor the etag", async () => {
  const userId = await newUser();
  const before = await stored(userId);
  const [a, b] = [await sessionOf(userId, "m1"), newId()];
  await service.sessions.createSession({ sessionId: b, userId });
  expect(await stored(userId)).toEqual({ ...before, sessionCount: 2 });
  await service.sessions.deleteSession({ sessionId: a });
  await service.sessions.purgeSession({ sessionId: b });
  expect(await stored(userId)).toEqual({ ...before, sessionCount: 0 });
  await service.memory.addMemory({ sessionId: a, messages: texts("back") });
  expect(await stored(userId)).toEqual({ ...before, sessionCount: 1 });
});

test("sessions created for one user at once are all counted", async () => {
  const userId = await newUser();
  await Promise.all(Array.from({ length: 10 }, () => sessionOf(userId, "m1")));
  expect((await stored(userId))?.sessionCount).toBe(10);
});

test("a deleted user answers when they were deleted and when they go, and is gone with all sessions and memory", async () => {
  const userId = await newUser();
  const [a, b] = [await sessionOf(userId, "m1"), await sessionOf(userId)];
  const { user } = await service.users.deleteUser({ userId });
  expect(user).toMatchObject({ userId, sessionCount: 0, updateTime: user?.deleteTime });
  expect(millis(user?.purgeTime)).toBe(millis(user?.deleteTime) + RETENTION_MS);

  expect(await refusal(service.users.getUser({ userId }))).toEqual(userNotFound(userId));
  for (const sessionId of [a, b]) {
    expect(await refusal(service.sessions.getSession({ sessionId }))).toEqual(sessionNotFound(sessionId));
    expect(await service.memory.listMessages({ sessionId })).toEqual([]);
    expect((await service.memory.getMemory({ sessionId })).session).toBeUndefined();
    const { session } = await service.sessions.getSession({ sessionId, showDeleted: true });
    expect(session).toMatchObject({
      userId,
      messageCount: 0,
      deleteTime: user?.deleteTime,
      purgeTime: user?.purgeTime,
    });
  }
  expect((await service.sessions.batchGetSessions({ sessionIds: [a, b] })).missingSessionIds).toEqual([a, b]);
  expect(await liveSessions(userId)).toEqual([]);
});

test("deleting a user touches no session of anybody else, and none that has left them", async () => {
  const [userId, other] = [await newUser(), await newUser()];
  const [freed, moved, others] = [
    await sessionOf(userId, "a"),
    await sessionOf(userId, "b"),
    await sessionOf(other, "c"),
  ];
  await service.sessions.updateSession({ sessionId: freed, userId: "" });
  await service.sessions.updateSession({ sessionId: moved, userId: other });
  await service.users.deleteUser({ userId });
  expect(await contents(freed)).toEqual(["a"]);
  expect(await contents(moved)).toEqual(["b"]);
  expect(await liveSessions(other)).toEqual([moved, others]);
  expect((await stored(other))?.sessionCount).toBe(2);
});

test("nothing can be put into a deleted user's hands", async () => {
  const userId = await newUser();
  await service.users.deleteUser({ userId });
  const [fresh, free] = [newId(), newId()];
  await service.sessions.createSession({ sessionId: free });
  const calls = [
    service.sessions.createSession({ sessionId: fresh, userId }),
    service.memory.addMemory({ sessionId: fresh, userId }),
    service.sessions.updateSession({ sessionId: free, userId }),
  ];
  for (const outcome of await Promise.all(calls.map(refusal))) expect(outcome).toEqual(userNotUsable(userId));
});

test("sessions made while their user is deleted do not survive the deletion", async () => {
  const userId = await newUser();
  const creations = Array.from({ length: 12 }, async (_, n) => {
    await new Promise((resolve) => setTimeout(resolve, n * 3));
    return sessionOf(userId, "m1").catch(() => {});
  });
  await new Promise((resolve) => setTimeout(resolve, 15));
  await service.users.deleteUser({ userId });
  await Promise.all(creations);
  expect(await liveSessions(userId)).toEqual([]);
  const { user } = await service.users.undeleteUser({ userId });
  expect(user?.sessionCount).toBe(0);
  expect(await liveSessions(userId)).toEqual([]);
});

test("an undeleted user is who they were, with their sessions still deleted but restorable", async () => {
  const userId = newId("user");
  const { user: before } = await service.users.createUser({ userId, ...FIELDS });
  const sessionId = await sessionOf(userId, "m1");
  await service.users.deleteUser({ userId });
  const { user } = await service.users.undeleteUser({ userId });
  expect(user).toEqual({ ...before, updateTime: user?.updateTime, etag: user?.etag });
  expect(user?.etag).not.toBe(before?.etag);
  expect(await liveSessions(userId)).toEqual([]);
  await service.sessions.undeleteSession({ sessionId, restoreMemory: true });
  expect(await contents(sessionId)).toEqual(["m1"]);
  expect((await stored(userId))?.sessionCount).toBe(1);
});

test("restore_sessions brings back those that the deletion took, with memory and summary, and no others", async () => {
  const userId = await newUser();
  const [taken, empty, before] = [await sessionOf(userId, "m1", "m2"), newId(), await sessionOf(userId, "old")];
  await service.sessions.createSession({ sessionId: empty, userId, metadata: { k: 1 } });
  await service.memory.setSummary({ sessionId: taken, content: "sum", recentMessageId: "m1" });
  await service.memory.deleteMessage({ sessionId: taken, messageId: "m2" });
  await service.sessions.deleteSession({ sessionId: before });
  await service.users.deleteUser({ userId });
  const { user } = await service.users.undeleteUser({ userId, restoreSessions: true });
  expect(user).toMatchObject({ sessionCount: 2, deleteTime: undefined, purgeTime: undefined });
  expect(new Set(await liveSessions(userId))).toEqual(new Set([taken, empty]));
  expect(await contents(taken)).toEqual(["m1"]);
  expect((await service.memory.getMemory({ sessionId: taken })).summary?.content).toBe("sum");
  expect((await service.sessions.getSession({ sessionId: empty })).session?.metadata).toEqual({ k: 1 });
  expect(await refusal(service.sessions.getSession({ sessionId: before }))).toEqual(sessionNotFound(before));
});

test("restore_sessions brings back only what the latest deletion took", async () => {
  const userId = await newUser();
  const first = await sessionOf(userId, "first");
  await service.users.deleteUser({ userId });
  await service.users.undeleteUser({ userId });
  const second = await sessionOf(userId, "second");
  await service.users.deleteUser({ userId });
  await service.users.undeleteUser({ userId, restoreSessions: true });
  expect(await liveSessions(userId)).toEqual([second]);
  expect(await refusal(service.sessions.getSession({ sessionId: first }))).toEqual(sessionNotFound(first));
});

test("a session purged while its user was deleted does not come back with them", async () => {
  const userId = await newUser();
  const [kept, purged] = [await sessionOf(userId, "kept"), await sessionOf(userId, "purged")];
  await service.users.deleteUser({ userId });
  await service.sessions.purgeSession({ sessionId: purged });
  const { user } = await service.users.undeleteUser({ userId, restoreSessions: true });
  expect(user?.sessionCount).toBe(1);
  expect(await liveSessions(userId)).toEqual([kept]);
});

test("undeleting a live user is refused", async () => {
  const userId = await newUser();
  for (const restoreSessions of [false, true]) {
    expect(await refusal(service.users.undeleteUser({ userId, restoreSessions }))).toEqual(userNotDeleted(userId));
  }
});

test("after the purge time sessions cannot be restored any more, but the user can", async () => {
  const own = await startService({ retentionMs: 1, purgeIntervalMs: 3_600_000 });
  onTestFinished(() => own.stop());
  // Without the TTL index nothing but the purge time is over.
  await own.database.users.dropIndex("expiry");
  await own.users.createUser({ userId: "u" });
  await own.users.deleteUser({ userId: "u" });
  await aMoment();
  expect(await refusal(own.users.undeleteUser({ userId: "u", restoreSessions: true }))).toEqual(
    memoryNotRestorable({ user_id: "u" }),
  );
  expect((await own.users.undeleteUser({ userId: "u" })).user?.deleteTime).toBeUndefined();
});

test("a purge erases a live user with all that is theirs, and tells how much", async () => {
  const userId = await newUser();
  const [live, deleted] = [await sessionOf(userId, "m1", "m2"), await sessionOf(userId, "m3")];
  await service.memory.deleteMessage({ sessionId: live, messageId: "m1" });
  await service.sessions.deleteSession({ sessionId: deleted });
  const other = newId();
  await service.memory.addMemory({ sessionId: other, messages: withIds("m4") });
  expect(await service.users.purgeUser({ userId })).toMatchObject({ purgedSessions: 2, purgedMessages: 3 });

  expect(await refusal(service.users.getUser({ userId }))).toEqual(userNotFound(userId));
  expect(await refusal(service.users.undeleteUser({ userId }))).toEqual(userNotFound(userId));
  expect(await refusal(service.users.purgeUser({ userId }))).toEqual(userNotFound(userId));
  for (const sessionId of [live, deleted]) {
    expect(await refusal(service.sessions.getSession({ sessionId, showDeleted: true }))).toEqual(
      sessionNotFound(sessionId),
    );
    expect(await service.database.messages.countDocuments({ session: `default/${sessionId}` })).toBe(0);
  }
  expect(await service.database.users.countDocuments({ _id: `default/${userId}` })).toBe(0);
  expect(await contents(other)).toEqual(["m4"]);
});

test("a purge erases a deleted user too, and the id can be used anew", async () => {
  const userId = newId("user");
  const { user: first } = await service.users.createUser({ userId, ...FIELDS });
  const sessionId = await sessionOf(userId, "m1");
  await service.users.deleteUser({ userId });
  expect(await service.users.purgeUser({ userId })).toMatchObject({ purgedSessions: 1, purgedMessages: 1 });
  const { user: second } = await service.users.createUser({ userId });
  expect(second).toMatchObject({ email: "", metadata: {}, sessionCount: 0 });
  expect(second?.uid).not.toBe(first?.uid);
  await service.sessions.createSession({ sessionId, userId });
  expect(await contents(sessionId)).toEqual([]);
});

test("users are listed in the order of their creation, chunk by chunk, without the deleted ones", async () => {
  const own = await startService();
  onTestFinished(() => own.stop());
  const idsOf = (chunks: ListUsersResponse[]) => chunks.flatMap(({ users }) => users.map(({ userId }) => userId));
  expect(await own.users.listUsers({})).toEqual([]);
  for (const userId of ["d", "b", "gone", "a", "c"]) {
    await own.users.createUser({ userId, email: `${userId}@example.org` });
    await aMoment();
  }
  await own.users.deleteUser({ userId: "gone" });
  const all = ["d", "b", "a", "c"];
  const [chunk] = await own.users.listUsers({});
  expect(chunk).toMatchObject({ users: all.map((userId) => ({ userId })), nextCursor: "" });
  expect(chunk?.users[1]).toEqual((await own.users.getUser({ userId: "b" })).user);

  const chunks = await own.users.listUsers({ chunkSize: 3 });
  expect(chunks.map(({ users }) => users.length)).toEqual([3, 1]);
  expect(chunks.map(({ nextCursor }) => nextCursor === "")).toEqual([false, true]);
  expect(idsOf(await own.users.listUsers({ cursor: chunks[0]?.nextCursor, chunkSize: 1 }))).toEqual(["c"]);

  const limited = await own.users.listUsers({ limit: 2 });
  expect(idsOf(limited)).toEqual(["d", "b"]);
  expect(idsOf(await own.users.listUsers({ cursor: limited[0]?.nextCursor }))).toEqual(["a", "c"]);
  expect((await own.users.listUsers({ limit: 4 })).at(-1)?.nextCursor).toBe("");
});

test("chunks of users are about 256 KiB at most", async () => {
  const own = await startService();
  onTestFinished(() => own.stop());
  const long = "🦉".repeat(256);
  const ids = Array.from({ length: 100 }, (_, n) => `${n}${"🦉".repeat(250)}`);
  await Promise.all(
    ids.map((userId) => own.users.createUser({ userId, email: long, firstName: long, lastName: long })),
  );
  const chunks = await own.users.listUsers({ chunkSize: 1000 });
  expect(chunks.flatMap(({ users }) => users)).toHaveLength(100);
  const sizes = chunks.map((chunk) => ListUsersResponse.encode(chunk).finish().length);
  expect(Math.max(...sizes)).toBeLessThan(300 * 1024);
});

test("all that is wrong with a call is named at once", async () => {
  const long = "x".repeat(257);
  const fields = { userId: " ", email: long, firstName: long, lastName: long, metadata: { a: Number.NaN } };
  const names = ["user_id", "email", "first_name", "last_name", "metadata"];
  expect(await refusal(service.users.createUser(fields))).toEqual(invalid(...names));
  const update = service.users.updateUser({ ...fields, metadataMode: 9 as never, etag: "e".repeat(65) });
  expect(await refusal(update)).toEqual(invalid(...names, "metadata_mode", "etag"));
  for (const call of [
    service.users.getUser,
    service.users.deleteUser,
    service.users.undeleteUser,
    service.users.purgeUser,
  ]) {
    expect(await refusal(call({ userId: "" }))).toEqual(invalid("user_id"));
  }
  expect(await refusal(service.users.listUsers({ limit: -1, chunkSize: -1 }))).toEqual(invalid("limit", "chunk_size"));
});
