import { afterAll, beforeAll, expect, test } from "vitest";
import { AddMemoryRequest } from "../../gen/sessions/v1/memory_service.js";
import { invalid, newId, refusal, sessionNotFound, timestamp } from "../support/contract.js";
import { startService, type TestService } from "../support/service.js";

const MIB = 1024 * 1024;

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.stop());

const countOf = async (sessionId: string) => (await service.sessions.getSession({ sessionId })).session?.messageCount;

test("content and payload of 1 MiB each are kept, counted in bytes", async () => {
  const sessionId = newId();
  const content = `${"é".repeat(MIB / 2 - 1)}ab`;
  const payload = Buffer.alloc(MIB, 7);
  await service.memory.addMemory({ sessionId, messages: [{ messageId: "m", content, payload }] });
  const { message } = await service.memory.getMessage({ sessionId, messageId: "m" });
  expect(message?.content === content).toBe(true);
  expect(Buffer.compare(message?.payload ?? Buffer.alloc(0), payload)).toBe(0);
});

test("a byte more of content or payload is refused, each named, and nothing is added", async () => {
  const sessionId = newId();
  const messages = [
    { content: "fine" },
    { content: `${"é".repeat(MIB / 2)}x` },
    { payload: Buffer.alloc(MIB + 1) },
    { content: "x".repeat(MIB + 1), payload: Buffer.alloc(MIB + 1) },
  ];
  expect(await refusal(service.memory.addMemory({ sessionId, messages }))).toEqual(
    invalid("messages[1].content", "messages[2].payload", "messages[3].content", "messages[3].payload"),
  );
  expect(await refusal(service.sessions.getSession({ sessionId }))).toEqual(sessionNotFound(sessionId));
});

test("a summary of 1 MiB is kept", async () => {
  const sessionId = newId();
  const content = "s".repeat(MIB);
  await service.memory.addMemory({ sessionId, messages: [{ messageId: "m" }] });
  await service.memory.setSummary({ sessionId, content, recentMessageId: "m" });
  const { summary } = await service.memory.getMemory({ sessionId });
  expect(summary?.content === content).toBe(true);
});

/** A request of exactly this many bytes on the wire. */
function requestOf(bytes: number, sessionId: string): AddMemoryRequest {
  const messages = Array.from({ length: 8 }, () => ({ content: "x".repeat(MIB - 20) }));
  const request = AddMemoryRequest.fromPartial({ sessionId, messages, sessionMetadata: { pad: "" } });
  const missing = bytes - AddMemoryRequest.encode(request).finish().length;
  // So little that no length around it takes a byte more.
  request.sessionMetadata = { pad: "x".repeat(missing) };
  return request;
}

test("a request of 8 MiB is taken, one of more is refused and adds nothing", async () => {
  const [fits, exceeds] = [newId(), newId()];
  const request = requestOf(8 * MIB, fits);
  expect(AddMemoryRequest.encode(request).finish()).toHaveLength(8 * MIB);
  await service.memory.addMemory(request);
  expect(await countOf(fits)).toBe(8);

  const tooLarge = requestOf(8 * MIB + 1, exceeds);
  expect(AddMemoryRequest.encode(tooLarge).finish()).toHaveLength(8 * MIB + 1);
  expect(await refusal(service.memory.addMemory(tooLarge))).toEqual(invalid("request"));
  expect(await refusal(service.sessions.getSession({ sessionId: exceeds }))).toEqual(sessionNotFound(exceeds));
});

test("from 0 to 1000 messages are taken in a call, 1001 are refused", async () => {
  const sessionId = newId();
  const messages = (length: number) => Array.from({ length }, (_, n) => ({ content: `${n}` }));
  expect((await service.memory.addMemory({ sessionId, messages: messages(0) })).messages).toHaveLength(0);
  expect((await service.memory.addMemory({ sessionId, messages: messages(1000) })).messages).toHaveLength(1000);
  expect(await refusal(service.memory.addMemory({ sessionId, messages: messages(1001) }))).toEqual(invalid("messages"));
  expect(await countOf(sessionId)).toBe(1000);
});

test("from 1 to 100 ids are taken in a batch", async () => {
  const ids = (length: number) => Array.from({ length }, () => newId());
  expect(await refusal(service.sessions.batchGetSessions({ sessionIds: [] }))).toEqual(invalid("session_ids"));
  expect((await service.sessions.batchGetSessions({ sessionIds: ids(1) })).missingSessionIds).toHaveLength(1);
  expect((await service.sessions.batchGetSessions({ sessionIds: ids(100) })).missingSessionIds).toHaveLength(100);
  expect(await refusal(service.sessions.batchGetSessions({ sessionIds: ids(101) }))).toEqual(invalid("session_ids"));
});

test("role, payload_type and a user's names take 256 code points, and any characters", async () => {
  const text = `${"🦉".repeat(254)}\n\u0000`;
  const sessionId = newId();
  await service.memory.addMemory({ sessionId, messages: [{ messageId: "m", role: text, payloadType: text }] });
  const { message } = await service.memory.getMessage({ sessionId, messageId: "m" });
  expect(message).toMatchObject({ role: text, payloadType: text });
  const { user } = await service.users.createUser({
    userId: newId("user"),
    email: text,
    firstName: text,
    lastName: text,
  });
  expect(user).toMatchObject({ email: text, firstName: text, lastName: text });

  const long = "🦉".repeat(257);
  const call = service.memory.addMemory({ sessionId, messages: [{ role: long, payloadType: long }] });
  expect(await refusal(call)).toEqual(invalid("messages[0].role", "messages[0].payload_type"));
});

test("an etag of 64 characters is compared, a longer one is none", async () => {
  const [sessionId, userId] = [newId(), newId("user")];
  await service.sessions.createSession({ sessionId });
  await service.users.createUser({ userId });
  const calls = [
    (etag: string) => service.sessions.updateSession({ sessionId, etag }),
    (etag: string) => service.sessions.deleteSession({ sessionId, etag }),
    (etag: string) => service.users.updateUser({ userId, etag }),
  ];
  for (const call of calls) {
    expect(await refusal(call("e".repeat(64)))).toMatchObject({ code: "ABORTED", reason: "ETAG_MISMATCH" });
    expect(await refusal(call("e".repeat(65)))).toEqual(invalid("etag"));
  }
});

test("every role type of the contract is kept, another is refused", async () => {
  const sessionId = newId();
  const types = [0, 1, 2, 3, 4, 5] as const;
  await service.memory.addMemory({ sessionId, messages: types.map((roleType) => ({ roleType })) });
  const { messages } = await service.memory.getMemory({ sessionId });
  expect(messages.map(({ roleType }) => roleType)).toEqual(types);
  for (const roleType of [6, -1, 2_147_483_647] as never[]) {
    expect(await refusal(service.memory.addMemory({ sessionId, messages: [{ roleType }] }))).toEqual(
      invalid("messages[0].role_type"),
    );
  }
});

test("token counts go from 0 to the largest int32", async () => {
  const sessionId = newId();
  const tokenCount = 2_147_483_647;
  await service.memory.addMemory({ sessionId, messages: [{ messageId: "m", tokenCount }] });
  expect((await service.memory.getMessage({ sessionId, messageId: "m" })).message?.tokenCount).toBe(tokenCount);
  expect(await refusal(service.memory.updateMessage({ sessionId, messageId: "m", tokenCount: -1 }))).toEqual(
    invalid("token_count"),
  );
});

const YEAR_1 = -62_135_596_800;
const YEAR_10000 = 253_402_300_800;

test("a create_time from year 1 until now is kept to the millisecond", async () => {
  const sessionId = newId();
  const times = [
    { seconds: YEAR_1, nanos: 0 },
    { seconds: -1, nanos: 999_000_000 },
    { seconds: 0, nanos: 0 },
    timestamp(Date.now() - 1000),
  ];
  await service.memory.addMemory({ sessionId, messages: times.map((createTime) => ({ createTime })) });
  const { messages } = await service.memory.getMemory({ sessionId });
  expect(messages.map(({ createTime }) => createTime)).toEqual(times);
  await service.memory.addMemory({
    sessionId,
    messages: [{ messageId: "fine", createTime: { seconds: 5, nanos: 1_999_999 } }],
  });
  const { message } = await service.memory.getMessage({ sessionId, messageId: "fine" });
  expect(message?.createTime).toEqual({ seconds: 5, nanos: 1_000_000 });
});

test("a session whose only message is of year 1 still has a last_message_time", async () => {
  const sessionId = newId();
  const createTime = { seconds: YEAR_1, nanos: 0 };
  await service.memory.addMemory({ sessionId, messages: [{ createTime }] });
  expect((await service.sessions.getSession({ sessionId })).session?.lastMessageTime).toEqual(createTime);
});

test("a create_time is taken from a clock that is a little ahead, and stays as it is", async () => {
  const sessionId = newId();
  const createTime = timestamp(Date.now() + 8_000);
  await service.memory.addMemory({ sessionId, messages: [{ createTime }] });
  const { messages, session } = await service.memory.getMemory({ sessionId });
  expect(messages[0]?.createTime).toEqual(createTime);
  expect(session?.lastMessageTime).toEqual(createTime);
});

test("a create_time in the future, or that is no Timestamp, is refused", async () => {
  const sessionId = newId();
  const bad = [
    timestamp(Date.now() + 60_000),
    { seconds: YEAR_1 - 1, nanos: 0 },
    { seconds: YEAR_10000, nanos: 0 },
    { seconds: 0, nanos: -1 },
    { seconds: 0, nanos: 1_000_000_000 },
    { seconds: Number.MAX_SAFE_INTEGER, nanos: 0 },
    { seconds: Number.MIN_SAFE_INTEGER, nanos: 0 },
  ];
  const call = service.memory.addMemory({ sessionId, messages: bad.map((createTime) => ({ createTime })) });
  expect(await refusal(call)).toEqual(invalid(...bad.map((_, index) => `messages[${index}].create_time`)));
  expect(await refusal(service.sessions.getSession({ sessionId }))).toEqual(sessionNotFound(sessionId));
});

test("a listing takes any valid time, and refuses others", async () => {
  const all = {
    createdAfter: { seconds: YEAR_1, nanos: 0 },
    createdBefore: { seconds: YEAR_10000 - 1, nanos: 999_999_999 },
  };
  const sessionId = newId();
  const metadata = { tag: sessionId };
  await service.sessions.createSession({ sessionId, metadata });
  const [chunk] = await service.sessions.listSessions({ ...all, metadata });
  expect(chunk?.sessions).toHaveLength(1);
  for (const time of [
    { seconds: YEAR_1 - 1, nanos: 0 },
    { seconds: YEAR_10000, nanos: 0 },
    { seconds: 0, nanos: -1 },
  ]) {
    const times = { createdAfter: time, createdBefore: time, lastMessageAfter: time, lastMessageBefore: time };
    const fields = ["created_after", "created_before", "last_message_after", "last_message_before"];
    expect(await refusal(service.sessions.listSessions(times))).toEqual(invalid(...fields));
  }
});
