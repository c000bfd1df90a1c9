import { afterAll, beforeAll, expect, test } from "vitest";
import type { JsonObject } from "../../src/domain/json.js";
import {
  aMoment,
  etagMismatch,
  invalid,
  millis,
  newId,
  refusal,
  sessionNotFound,
  texts,
  userNotUsable,
} from "../support/contract.js";
import { startService, type TestService } from "../support/service.js";

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.stop());

async function sessionWith(metadata: JsonObject): Promise<string> {
  const sessionId = newId();
  await service.sessions.createSession({ sessionId, metadata });
  return sessionId;
}

const stored = async (sessionId: string) => (await service.sessions.getSession({ sessionId })).session;
const sessionCount = async (userId: string) => (await service.users.getUser({ userId })).user?.sessionCount;

async function newUser(): Promise<string> {
  const userId = newId("user");
  await service.users.createUser({ userId });
  return userId;
}

const BEFORE = { keep: 1, deep: { keep: [1, 2], change: "old" }, list: [1, 2], gone: true };

test("merge is the default: objects merge, arrays and scalars are replaced, null is stored, unnamed keys survive", async () => {
  const sessionId = await sessionWith(BEFORE);
  const update = { deep: { change: { now: "an object" } }, list: [3], gone: null };
  const after = { keep: 1, deep: { keep: [1, 2], change: { now: "an object" } }, list: [3], gone: null };
  const { session } = await service.sessions.updateSession({ sessionId, metadata: update });
  expect(session?.metadata).toEqual(after);
  expect(await stored(sessionId)).toEqual(session);
});

test("METADATA_MODE_MERGE is the same as the default", async () => {
  const sessionId = await sessionWith({ a: { b: 1 } });
  const { session } = await service.sessions.updateSession({
    sessionId,
    metadata: { a: { c: null } },
    metadataMode: 1,
  });
  expect(session?.metadata).toEqual({ a: { b: 1, c: null } });
});

test("merge patch removes the keys that are null, at every depth, and stores none", async () => {
  const sessionId = await sessionWith(BEFORE);
  const update = { deep: { change: null }, gone: null, unknown: null, fresh: { inner: null, kept: 1 }, list: [null] };
  const { session } = await service.sessions.updateSession({ sessionId, metadata: update, metadataMode: 2 });
  expect(session?.metadata).toEqual({ keep: 1, deep: { keep: [1, 2] }, list: [null], fresh: { kept: 1 } });
});

test("replace leaves exactly what is sent, also nothing", async () => {
  const sessionId = await sessionWith(BEFORE);
  const replaced = await service.sessions.updateSession({ sessionId, metadata: { a: null }, metadataMode: 3 });
  expect(replaced.session?.metadata).toEqual({ a: null });
  const emptied = await service.sessions.updateSession({ sessionId, metadata: {}, metadataMode: 3 });
  expect(emptied.session?.metadata).toEqual({});
});

test("an empty object merges nothing, and unset metadata stays in every mode", async () => {
  const sessionId = await sessionWith(BEFORE);
  for (const metadataMode of [0, 1, 2] as const) {
    const { session } = await service.sessions.updateSession({ sessionId, metadata: {}, metadataMode });
    expect(session?.metadata).toEqual(BEFORE);
  }
  for (const metadataMode of [0, 1, 2, 3] as const) {
    const { session } = await service.sessions.updateSession({ sessionId, metadataMode });
    expect(session?.metadata).toEqual(BEFORE);
  }
});

test("concurrent merges of different keys all survive", async () => {
  const sessionId = await sessionWith({});
  const keys = Array.from({ length: 30 }, (_, n) => `key-${n}`);
  await Promise.all(
    keys.map((key) => service.sessions.updateSession({ sessionId, metadata: { all: { [key]: true } } })),
  );
  expect((await stored(sessionId))?.metadata).toEqual({ all: Object.fromEntries(keys.map((key) => [key, true])) });
});

test("an update moves update_time and the etag, and nothing else of the session", async () => {
  const sessionId = await sessionWith({});
  await service.memory.addMemory({ sessionId, messages: texts("hello") });
  const before = await stored(sessionId);
  await aMoment();
  const { session } = await service.sessions.updateSession({ sessionId, metadata: { a: 1 } });
  expect(session).toEqual({ ...before, metadata: { a: 1 }, updateTime: session?.updateTime, etag: session?.etag });
  expect(millis(session?.updateTime)).toBeGreaterThan(millis(before?.updateTime));
  expect(session?.etag).not.toBe(before?.etag);
});

test("messages and summaries move neither update_time nor the etag", async () => {
  const sessionId = await sessionWith({});
  const before = await stored(sessionId);
  await service.memory.addMemory({ sessionId, messages: [{ messageId: "m1" }, { messageId: "m2" }] });
  await service.memory.updateMessage({ sessionId, messageId: "m1", tokenCount: 1 });
  await service.memory.setSummary({ sessionId, content: "s", recentMessageId: "m1" });
  await service.memory.deleteMessage({ sessionId, messageId: "m1" });
  expect(await stored(sessionId)).toMatchObject({ updateTime: before?.updateTime, etag: before?.etag });
});

test("the current etag lets an update pass; a stale one is aborted and changes nothing", async () => {
  const sessionId = await sessionWith({ a: 1 });
  const etag = (await stored(sessionId))?.etag as string;
  const { session } = await service.sessions.updateSession({ sessionId, metadata: { a: 2 }, etag });
  const stale = service.sessions.updateSession({ sessionId, metadata: { a: 3 }, etag });
  expect(await refusal(stale)).toEqual(etagMismatch({ session_id: sessionId }, etag));
  expect(await stored(sessionId)).toEqual(session);
});

test("of many updates with the same etag exactly one passes", async () => {
  const sessionId = await sessionWith({});
  const etag = (await stored(sessionId))?.etag as string;
  const outcomes = await Promise.allSettled(
    [1, 2, 3, 4, 5].map((n) => service.sessions.updateSession({ sessionId, metadata: { n }, etag })),
  );
  expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
});

test("an etag of an earlier session of the same id does not fit", async () => {
  const sessionId = await sessionWith({});
  const etag = (await stored(sessionId))?.etag as string;
  await service.sessions.purgeSession({ sessionId });
  await service.sessions.createSession({ sessionId });
  expect(await refusal(service.sessions.updateSession({ sessionId, etag }))).toEqual(
    etagMismatch({ session_id: sessionId }, etag),
  );
});

test("a missing session is not found, a soft-deleted one neither, and it stays as it was", async () => {
  const missing = newId();
  expect(await refusal(service.sessions.updateSession({ sessionId: missing, metadata: { a: 1 } }))).toEqual(
    sessionNotFound(missing),
  );
  const sessionId = await sessionWith({ a: 1 });
  const { session: deleted } = await service.sessions.deleteSession({ sessionId });
  expect(await refusal(service.sessions.updateSession({ sessionId, metadata: { a: 2 } }))).toEqual(
    sessionNotFound(sessionId),
  );
  expect((await service.sessions.getSession({ sessionId, showDeleted: true })).session).toEqual(deleted);
});

test("a session moves from nobody to a user, to another, and away, and each user's count is exact", async () => {
  const [first, second] = [await newUser(), await newUser()];
  const sessionId = await sessionWith({ a: 1 });
  const given = await service.sessions.updateSession({ sessionId, userId: first });
  expect(given.session).toMatchObject({ userId: first, metadata: { a: 1 } });
  expect(await sessionCount(first)).toBe(1);

  await service.sessions.updateSession({ sessionId, userId: second });
  expect([await sessionCount(first), await sessionCount(second)]).toEqual([0, 1]);
  await service.sessions.updateSession({ sessionId, userId: second });
  expect(await sessionCount(second)).toBe(1);
  const untouched = await service.sessions.updateSession({ sessionId, metadata: { b: 2 } });
  expect(untouched.session?.userId).toBe(second);

  const freed = await service.sessions.updateSession({ sessionId, userId: "" });
  expect(freed.session?.userId).toBeUndefined();
  expect(await sessionCount(second)).toBe(0);
});

test("an unknown or deleted user is refused, and the session stays with whom it was", async () => {
  const [owner, deleted, unknown] = [await newUser(), await newUser(), newId("user")];
  await service.users.deleteUser({ userId: deleted });
  const sessionId = newId();
  await service.sessions.createSession({ sessionId, userId: owner });
  const before = await stored(sessionId);
  for (const userId of [deleted, unknown]) {
    const update = service.sessions.updateSession({ sessionId, userId, metadata: { a: 1 } });
    expect(await refusal(update)).toEqual(userNotUsable(userId));
  }
  expect(await stored(sessionId)).toEqual(before);
  expect(await sessionCount(owner)).toBe(1);
});

test("a merge whose result is over 64 KiB is refused and changes nothing", async () => {
  const half = "x".repeat(40 * 1024);
  const sessionId = await sessionWith({ first: half });
  const before = await stored(sessionId);
  expect(await refusal(service.sessions.updateSession({ sessionId, metadata: { second: half } }))).toEqual(
    invalid("metadata"),
  );
  expect(await stored(sessionId)).toEqual(before);
  const { session } = await service.sessions.updateSession({
    sessionId,
    metadata: { first: null, second: half },
    metadataMode: 2,
  });
  expect(session?.metadata).toEqual({ second: half });
});

test("all that is wrong with an update is named at once", async () => {
  const update = service.sessions.updateSession({
    sessionId: " ",
    userId: "\u0007",
    metadata: { a: Number.NaN },
    metadataMode: 99 as never,
    etag: "e".repeat(65),
  });
  expect(await refusal(update)).toEqual(invalid("session_id", "user_id", "metadata", "metadata_mode", "etag"));
});
