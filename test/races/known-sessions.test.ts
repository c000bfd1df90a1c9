import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { failure } from "../support/api.js";
import { aMoment, millis, timestamp } from "../support/contract.js";
import { expireTime, idleTtl } from "../support/expiry.js";
import { messagesOf, type Pair, startPair } from "./support.js";

/**
 * A process decides on adding to a session by what it knows of the session from its last write. Here another process has changed
 * the session since, and the first must not go by what was.
 */
let pair: Pair;
let number = 0;
let sessionId: string;

beforeAll(async () => {
  pair = await startPair({ retentionMs: 3_600_000 });
});
afterAll(() => pair.stop());

const add = (by: "one" | "other", ...ids: string[]) =>
  pair[by].memory.addMemory({ sessionId, messages: ids.map((messageId) => ({ messageId })) });

const memoryIds = async () => (await messagesOf(pair.other, sessionId)).map(({ messageId }) => messageId);

const state = async () => (await pair.other.sessions.getSession({ sessionId })).session;

beforeEach(async () => {
  number += 1;
  sessionId = `known-${number}`;
  await add("one", "a");
  await add("one", "b");
});

test("another process has added: the sequences go on, and the count is exact", async () => {
  await add("other", "c", "d");
  const { messages } = await add("one", "e");
  expect(messages).toMatchObject([{ messageId: "e", sequence: 5 }]);
  expect(await memoryIds()).toEqual(["a", "b", "c", "d", "e"]);
  expect(await state()).toMatchObject({ messageCount: 5 });
});

test("another process has deleted it: adding brings it back without its old memory", async () => {
  await pair.other.sessions.deleteSession({ sessionId });
  expect(await add("one", "c")).toMatchObject({ sessionUndeleted: true, messages: [{ sequence: 3 }] });
  expect(await memoryIds()).toEqual(["c"]);
});

test("another process has purged it: adding creates it anew", async () => {
  const before = await state();
  await pair.other.sessions.purgeSession({ sessionId });
  expect(await add("one", "c")).toMatchObject({ sessionCreated: true, messages: [{ sequence: 1 }] });
  expect(await memoryIds()).toEqual(["c"]);
  expect((await state())?.uid).not.toBe(before?.uid);
});

test("another process has cleared its memory: what is added is its only memory", async () => {
  await pair.other.memory.clearMemory({ sessionId });
  expect(await add("one", "a")).toMatchObject({ messages: [{ messageId: "a", sequence: 3 }] });
  expect(await memoryIds()).toEqual(["a"]);
  expect(await state()).toMatchObject({ messageCount: 1 });
});

test("another process has deleted one message: it is not counted any more", async () => {
  await pair.other.memory.deleteMessage({ sessionId, messageId: "a" });
  await add("one", "c");
  expect(await memoryIds()).toEqual(["b", "c"]);
  expect(await state()).toMatchObject({ messageCount: 2 });
});

test("another process has added one message and deleted another: as many are there, but the sequences go on", async () => {
  await add("other", "c");
  await pair.other.memory.deleteMessage({ sessionId, messageId: "a" });
  expect(await add("one", "d")).toMatchObject({ messages: [{ messageId: "d", sequence: 4 }] });
  expect(await memoryIds()).toEqual(["b", "c", "d"]);
});

test("another process has purged it and filled it again as it was: what is added is in the new memory", async () => {
  await pair.other.sessions.purgeSession({ sessionId });
  await add("other", "x", "y");
  expect(await add("one", "z")).toMatchObject({ sessionCreated: false, messages: [{ sequence: 3 }] });
  expect(await memoryIds()).toEqual(["x", "y", "z"]);
});

test("another process has deleted and restored it: all its memory is there", async () => {
  await pair.other.sessions.deleteSession({ sessionId });
  await pair.other.sessions.undeleteSession({ sessionId, restoreMemory: true });
  await add("one", "c");
  expect(await memoryIds()).toEqual(["a", "b", "c"]);
});

test("another process has given it a user and metadata: it keeps them", async () => {
  const userId = `user-of-${sessionId}`;
  await pair.other.users.createUser({ userId });
  await pair.other.sessions.updateSession({ sessionId, userId, metadata: { $set: "a.b", k: [1, null] } });
  const { session: updated } = await pair.other.sessions.getSession({ sessionId });
  await add("one", "c");
  expect(await state()).toMatchObject({ userId, metadata: { $set: "a.b", k: [1, null] }, etag: updated?.etag });
  await pair.one.users.deleteUser({ userId });
  expect(await failure(pair.other.sessions.getSession({ sessionId }))).toMatchObject({ reason: "SESSION_NOT_FOUND" });
});

describe("another process has changed when it expires: what is added moves that by what is, not by what was", () => {
  const HOUR = 3_600_000;
  /** When it expires, after its last message was made. */
  const idleFor = async () => {
    const session = await state();
    return session?.expiresAt && millis(session.expiresAt) - millis(session.lastMessageTime);
  };
  const update = (fields: object) => pair.other.sessions.updateSession({ sessionId, ...fields });
  const known = async () => {
    await update({ expiry: idleTtl(HOUR) });
    await add("one", "c");
    await add("one", "d");
    expect(await idleFor()).toBe(HOUR);
    await aMoment();
  };

  test("it has been given one", async () => {
    await update({ expiry: idleTtl(HOUR) });
    await aMoment();
    await add("one", "c");
    expect(await idleFor()).toBe(HOUR);
  });

  test("it has been given another", async () => {
    await known();
    await update({ expiry: idleTtl(2 * HOUR) });
    await add("one", "e");
    expect(await idleFor()).toBe(2 * HOUR);
  });

  test("it has none any more", async () => {
    await known();
    await update({ clearExpiry: true });
    await add("one", "e");
    expect(await state()).toMatchObject({ expiry: undefined, expiresAt: undefined });
  });

  test("it expires at a moment", async () => {
    await known();
    const at = Date.now() + HOUR;
    await update({ expiry: expireTime(at) });
    await add("one", "e");
    expect(await state()).toMatchObject({ expiry: expireTime(at), expiresAt: timestamp(at) });
  });

  test("it expired at a moment, and is to be idle now", async () => {
    await update({ expiry: expireTime(Date.now() + HOUR) });
    await add("one", "c");
    await add("one", "d");
    await update({ expiry: idleTtl(HOUR) });
    await aMoment();
    await add("one", "e");
    expect(await idleFor()).toBe(HOUR);
  });
});

test("another process has added: expected_last_sequence is compared with what is, not with what was", async () => {
  await add("other", "c");
  const messages = [{ messageId: "d" }];
  expect(await failure(pair.one.memory.addMemory({ sessionId, messages, expectedLastSequence: 2 }))).toMatchObject({
    reason: "SEQUENCE_MISMATCH",
    metadata: { last_sequence: "3" },
  });
  await pair.one.memory.addMemory({ sessionId, messages, expectedLastSequence: 3 });
  expect(await memoryIds()).toEqual(["a", "b", "c", "d"]);
});

test("another process has added the same message: it is there once", async () => {
  const { messages } = await add("other", "c");
  expect((await add("one", "c")).messages).toEqual(messages);
  expect(await memoryIds()).toEqual(["a", "b", "c"]);
});

test("another process has deleted it: adding nothing brings it back, too", async () => {
  await pair.other.sessions.deleteSession({ sessionId });
  const was = await pair.other.memory.addMemory({ sessionId, messages: [] });
  await pair.other.sessions.deleteSession({ sessionId });
  expect(await pair.one.memory.addMemory({ sessionId, messages: [] })).toEqual(was);
});

test("two processes that take turns at a session each find what the other has left", async () => {
  for (let turn = 0; turn < 30; turn++) await add(turn % 3 === 0 ? "one" : "other", `turn-${turn}`);
  expect(await memoryIds()).toEqual(["a", "b", ...Array.from({ length: 30 }, (_, turn) => `turn-${turn}`)]);
  expect(await state()).toMatchObject({ messageCount: 32 });
});
