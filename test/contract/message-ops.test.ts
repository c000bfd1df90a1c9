import { afterAll, beforeAll, expect, test } from "vitest";
import {
  invalid,
  messageNotFound,
  millis,
  newId,
  refusal,
  sessionNotFound,
  texts,
  timestamp,
  withIds,
} from "../support/contract.js";
import { startService, type TestService } from "../support/service.js";

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.stop());

const ids = async (sessionId: string) =>
  (await service.memory.getMemory({ sessionId, lastN: 1000 })).messages.map(({ messageId }) => messageId);
const stored = async (sessionId: string) => (await service.sessions.getSession({ sessionId })).session;

async function sessionOf(...messageIds: string[]): Promise<string> {
  const sessionId = newId();
  await service.memory.addMemory({ sessionId, messages: withIds(...messageIds) });
  return sessionId;
}

test("a message is got by its id, as a listing shows it", async () => {
  const sessionId = await sessionOf("m1", "m2");
  const { message } = await service.memory.getMessage({ sessionId, messageId: "m2" });
  expect(message).toMatchObject({ messageId: "m2", sessionId, content: "m2" });
  expect((await service.memory.listMessages({ sessionId }))[0]?.messages[1]).toEqual(message);
});

test("get, update and delete of a missing message or session are not found", async () => {
  const sessionId = await sessionOf("m1");
  const missing = newId();
  const calls = [service.memory.getMessage, service.memory.updateMessage, service.memory.deleteMessage];
  for (const call of calls) {
    expect(await refusal(call({ sessionId, messageId: "m2" }))).toEqual(messageNotFound(sessionId, "m2"));
    expect(await refusal(call({ sessionId: missing, messageId: "m1" }))).toEqual(sessionNotFound(missing));
  }
});

test("get, update and delete name all blank ids at once", async () => {
  for (const call of [service.memory.getMessage, service.memory.updateMessage, service.memory.deleteMessage]) {
    expect(await refusal(call({ sessionId: "", messageId: " " }))).toEqual(invalid("session_id", "message_id"));
  }
});

test("an update changes metadata and token count, moves update_time, and nothing else", async () => {
  const sessionId = newId();
  const createTime = timestamp(Date.now() - 60_000);
  await service.memory.addMemory({
    sessionId,
    messages: [
      { messageId: "m1", role: "r", content: "c", metadata: { a: { b: 1 }, n: 1 }, tokenCount: 3, createTime },
    ],
  });
  const { message: before } = await service.memory.getMessage({ sessionId, messageId: "m1" });
  const session = await stored(sessionId);
  const { message } = await service.memory.updateMessage({
    sessionId,
    messageId: "m1",
    metadata: { a: { c: null } },
    tokenCount: 0,
  });
  expect(message).toEqual({
    ...before,
    metadata: { a: { b: 1, c: null }, n: 1 },
    tokenCount: 0,
    updateTime: message?.updateTime,
    etag: message?.etag,
  });
  expect(millis(message?.updateTime)).toBeGreaterThanOrEqual(millis(before?.updateTime));
  expect((await service.memory.getMessage({ sessionId, messageId: "m1" })).message).toEqual(message);
  expect(await stored(sessionId)).toEqual(session);
});

test("an update leaves what it does not name", async () => {
  const sessionId = newId();
  await service.memory.addMemory({ sessionId, messages: [{ messageId: "m1", metadata: { a: 1 }, tokenCount: 3 }] });
  const tokens = await service.memory.updateMessage({ sessionId, messageId: "m1", tokenCount: 4 });
  expect(tokens.message).toMatchObject({ metadata: { a: 1 }, tokenCount: 4 });
  const metadata = await service.memory.updateMessage({ sessionId, messageId: "m1", metadata: { b: 2 } });
  expect(metadata.message).toMatchObject({ metadata: { a: 1, b: 2 }, tokenCount: 4 });
  const nothing = await service.memory.updateMessage({ sessionId, messageId: "m1", metadata: {} });
  expect(nothing.message).toMatchObject({ metadata: { a: 1, b: 2 }, tokenCount: 4 });
});

test("a message's metadata knows merge patch and replace", async () => {
  const sessionId = newId();
  await service.memory.addMemory({ sessionId, messages: [{ messageId: "m1", metadata: { a: 1, b: { c: 1, d: 1 } } }] });
  const update = (metadata: Record<string, never>, metadataMode: 2 | 3) =>
    service.memory.updateMessage({ sessionId, messageId: "m1", metadata, metadataMode });
  const patched = await update({ a: null, b: { c: null } } as never, 2);
  expect(patched.message?.metadata).toEqual({ b: { d: 1 } });
  const replaced = await update({ x: null } as never, 3);
  expect(replaced.message?.metadata).toEqual({ x: null });
  expect((await update({}, 3)).message?.metadata).toEqual({});
});

test("concurrent merges of different keys of a message all survive", async () => {
  const sessionId = await sessionOf("m1");
  const keys = Array.from({ length: 15 }, (_, n) => `key-${n}`);
  await Promise.all(
    keys.map((key) => service.memory.updateMessage({ sessionId, messageId: "m1", metadata: { [key]: true } })),
  );
  const { message } = await service.memory.getMessage({ sessionId, messageId: "m1" });
  expect(message?.metadata).toEqual(Object.fromEntries(keys.map((key) => [key, true])));
});

test("an update whose result is over 64 KiB is refused and changes nothing", async () => {
  const sessionId = newId();
  const half = "x".repeat(40 * 1024);
  await service.memory.addMemory({ sessionId, messages: [{ messageId: "m1", metadata: { a: half } }] });
  expect(await refusal(service.memory.updateMessage({ sessionId, messageId: "m1", metadata: { b: half } }))).toEqual(
    invalid("metadata"),
  );
  const { message } = await service.memory.getMessage({ sessionId, messageId: "m1" });
  expect(message?.metadata).toEqual({ a: half });
});

test("all that is wrong with an update is named at once", async () => {
  const call = service.memory.updateMessage({
    sessionId: "",
    messageId: "\n",
    metadata: { a: Number.NEGATIVE_INFINITY },
    metadataMode: -1 as never,
    tokenCount: -1,
  });
  expect(await refusal(call)).toEqual(invalid("session_id", "message_id", "metadata", "metadata_mode", "token_count"));
});

test("a deleted message is answered as it was, and is gone to every reader at once", async () => {
  const sessionId = await sessionOf("m1", "m2", "m3");
  const { message: before } = await service.memory.getMessage({ sessionId, messageId: "m2" });
  const { message } = await service.memory.deleteMessage({ sessionId, messageId: "m2" });
  expect(message).toEqual(before);
  expect(await ids(sessionId)).toEqual(["m1", "m3"]);
  const [chunk] = await service.memory.listMessages({ sessionId });
  expect(chunk?.messages.map(({ messageId }) => messageId)).toEqual(["m1", "m3"]);
  for (const call of [service.memory.getMessage, service.memory.updateMessage, service.memory.deleteMessage]) {
    expect(await refusal(call({ sessionId, messageId: "m2" }))).toEqual(messageNotFound(sessionId, "m2"));
  }
});

test("deleting messages keeps the count exact and last_message_time the newest one's", async () => {
  const sessionId = newId();
  const times = [5, 4, 3].map((minutes) => timestamp(Date.now() - minutes * 60_000));
  await service.memory.addMemory({
    sessionId,
    messages: times.map((createTime, n) => ({ messageId: `m${n}`, createTime })),
  });
  await service.memory.deleteMessage({ sessionId, messageId: "m2" });
  expect(await stored(sessionId)).toMatchObject({ messageCount: 2, lastMessageTime: times[1] });
  await service.memory.deleteMessage({ sessionId, messageId: "m0" });
  expect(await stored(sessionId)).toMatchObject({ messageCount: 1, lastMessageTime: times[1] });
  await service.memory.deleteMessage({ sessionId, messageId: "m1" });
  expect(await stored(sessionId)).toMatchObject({ messageCount: 0, lastMessageTime: undefined });
});

test("of many deletes of one message at once exactly one deletes, and the count drops by one", async () => {
  const sessionId = await sessionOf("m1", "m2");
  const outcomes = await Promise.allSettled(
    Array.from({ length: 5 }, () => service.memory.deleteMessage({ sessionId, messageId: "m1" })),
  );
  expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  expect((await stored(sessionId))?.messageCount).toBe(1);
});

test("all messages of a session can be deleted at once", async () => {
  const messageIds = Array.from({ length: 10 }, (_, n) => `m${n}`);
  const sessionId = await sessionOf(...messageIds);
  await Promise.all(messageIds.map((messageId) => service.memory.deleteMessage({ sessionId, messageId })));
  expect(await stored(sessionId)).toMatchObject({ messageCount: 0, lastMessageTime: undefined });
  expect(await ids(sessionId)).toEqual([]);
});

test("clearing takes messages and summary; the session itself stays as it was", async () => {
  const sessionId = newId();
  await service.memory.addMemory({ sessionId, messages: withIds("m1"), sessionMetadata: { a: 1 } });
  await service.memory.setSummary({ sessionId, content: "s", recentMessageId: "m1" });
  const before = await stored(sessionId);
  const { session } = await service.memory.clearMemory({ sessionId });
  expect(session).toEqual({ ...before, messageCount: 0, lastMessageTime: undefined });
  expect(await service.memory.getMemory({ sessionId, lastN: 10 })).toEqual({
    messages: [],
    summary: undefined,
    session,
    truncated: false,
    tokenCount: 0,
  });
  expect(await service.memory.listMessages({ sessionId })).toEqual([]);
  expect(await refusal(service.memory.getMessage({ sessionId, messageId: "m1" }))).toEqual(
    messageNotFound(sessionId, "m1"),
  );
});

test("a cleared memory goes on with new messages only", async () => {
  const sessionId = await sessionOf("m1", "m2");
  await service.memory.clearMemory({ sessionId });
  await service.memory.addMemory({ sessionId, messages: texts("fresh") });
  expect((await service.memory.getMemory({ sessionId })).messages.map(({ content }) => content)).toEqual(["fresh"]);
  expect((await stored(sessionId))?.messageCount).toBe(1);
});

test("clearing an empty memory is fine, clearing a missing or deleted session is not found", async () => {
  const empty = newId();
  await service.sessions.createSession({ sessionId: empty });
  expect((await service.memory.clearMemory({ sessionId: empty })).session?.messageCount).toBe(0);
  const deleted = await sessionOf("m1");
  await service.sessions.deleteSession({ sessionId: deleted });
  for (const sessionId of [deleted, newId()]) {
    expect(await refusal(service.memory.clearMemory({ sessionId }))).toEqual(sessionNotFound(sessionId));
  }
  expect(await refusal(service.memory.clearMemory({ sessionId: "" }))).toEqual(invalid("session_id"));
});
