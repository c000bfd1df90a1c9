import { afterAll, beforeAll, expect, test } from "vitest";
import {
  aMoment,
  invalid,
  messageConflict,
  messageNotFound,
  millis,
  newId,
  refusal,
  sequenceMismatch,
  sessionNotFound,
  texts,
  timestamp,
  userNotUsable,
  withIds,
} from "../support/contract.js";
import { startService, type TestService } from "../support/service.js";

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.stop());

const messagesOf = async (sessionId: string) => (await service.memory.getMemory({ sessionId, lastN: 1000 })).messages;
const contents = async (sessionId: string) => (await messagesOf(sessionId)).map(({ content }) => content);
const stored = async (sessionId: string) => (await service.sessions.getSession({ sessionId })).session;

async function newUser(): Promise<string> {
  const userId = newId("user");
  await service.users.createUser({ userId });
  return userId;
}

test("everything of a message comes back as it went in", async () => {
  const sessionId = newId();
  const createTime = timestamp(Date.now() - 60_000);
  const message = {
    messageId: newId("m"),
    role: "a wise old owl",
    roleType: 2 as const,
    content: "Hoo? \u0000 🦉",
    payload: Buffer.from([0, 255, 1, 128]),
    payloadType: "application/x-owl; v=1",
    metadata: { mood: null, wings: 2 },
    tokenCount: 7,
    createTime,
    groupId: "call 1",
  };
  const before = Date.now();
  const added = await service.memory.addMemory({ sessionId, messages: [message] });
  const [found] = await messagesOf(sessionId);
  expect(found).toEqual({
    ...message,
    etag: found?.etag,
    sessionId,
    sequence: found?.sequence,
    updateTime: found?.updateTime,
  });
  expect(millis(found?.updateTime)).toBeGreaterThan(before - 1000);
  expect(added.messages).toEqual([{ messageId: message.messageId, sequence: found?.sequence, createTime }]);
});

test("an empty message is a message, with an id of the service's own and the time of its adding", async () => {
  const sessionId = newId();
  const before = Date.now();
  const { messages } = await service.memory.addMemory({ sessionId, messages: [{}] });
  expect(messages).toHaveLength(1);
  expect(messages[0]?.messageId).toMatch(/^[0-9a-f-]{36}$/);
  expect(millis(messages[0]?.createTime)).toBeGreaterThan(before - 1000);
  const [found] = await messagesOf(sessionId);
  expect(found).toEqual({
    ...messages[0],
    etag: found?.etag,
    sessionId,
    role: "",
    roleType: 0,
    content: "",
    payload: new Uint8Array(),
    payloadType: "",
    metadata: {},
    tokenCount: 0,
    updateTime: messages[0]?.createTime,
  });
});

test("a call creates a missing session with its user and metadata", async () => {
  const [sessionId, userId] = [newId(), await newUser()];
  const added = await service.memory.addMemory({
    sessionId,
    userId,
    sessionMetadata: { a: 1 },
    messages: texts("hello"),
  });
  expect(added).toMatchObject({ sessionCreated: true, sessionUndeleted: false });
  expect(await stored(sessionId)).toMatchObject({ userId, metadata: { a: 1 }, messageCount: 1 });
  expect((await service.users.getUser({ userId })).user?.sessionCount).toBe(1);
});

test("user and metadata of a call are ignored when the session is there, even an unknown user", async () => {
  const sessionId = newId();
  await service.sessions.createSession({ sessionId, metadata: { a: 1 } });
  const before = await stored(sessionId);
  const added = await service.memory.addMemory({
    sessionId,
    userId: newId("unknown"),
    sessionMetadata: { b: 2 },
    messages: texts("hello"),
  });
  expect(added).toMatchObject({ sessionCreated: false, sessionUndeleted: false });
  expect(await stored(sessionId)).toEqual({
    ...before,
    messageCount: 1,
    lastMessageTime: added.messages[0]?.createTime,
  });
});

test("a call that would create the session of an unknown or deleted user is refused and stores nothing", async () => {
  const deleted = await newUser();
  await service.users.deleteUser({ userId: deleted });
  for (const userId of [newId("unknown"), deleted]) {
    const sessionId = newId();
    const call = service.memory.addMemory({ sessionId, userId, messages: texts("hello") });
    expect(await refusal(call)).toEqual(userNotUsable(userId));
    expect(await refusal(service.sessions.getSession({ sessionId, showDeleted: true }))).toEqual(
      sessionNotFound(sessionId),
    );
  }
});

test("a call without messages only creates the session", async () => {
  const sessionId = newId();
  expect(await service.memory.addMemory({ sessionId, sessionMetadata: { a: 1 } })).toEqual({
    messages: [],
    sessionCreated: true,
    sessionUndeleted: false,
  });
  expect(await stored(sessionId)).toMatchObject({ messageCount: 0, metadata: { a: 1 }, lastMessageTime: undefined });
  const before = await stored(sessionId);
  expect(await service.memory.addMemory({ sessionId })).toEqual({
    messages: [],
    sessionCreated: false,
    sessionUndeleted: false,
  });
  expect(await stored(sessionId)).toEqual(before);
});

test("a call undeletes a deleted session: metadata and user stay, its old memory stays deleted", async () => {
  const [sessionId, userId] = [newId(), await newUser()];
  await service.memory.addMemory({ sessionId, userId, sessionMetadata: { a: 1 }, messages: withIds("old") });
  await service.memory.setSummary({ sessionId, content: "s", recentMessageId: "old" });
  const before = await stored(sessionId);
  await service.sessions.deleteSession({ sessionId });
  await aMoment();
  const added = await service.memory.addMemory({
    sessionId,
    userId: newId("other"),
    sessionMetadata: { b: 2 },
    messages: texts("new"),
  });
  expect(added).toMatchObject({ sessionCreated: false, sessionUndeleted: true });
  expect(await contents(sessionId)).toEqual(["new"]);
  expect((await service.memory.getMemory({ sessionId })).summary).toBeUndefined();
  const after = await stored(sessionId);
  expect(after).toMatchObject({ uid: before?.uid, userId, metadata: { a: 1 }, messageCount: 1, deleteTime: undefined });
  expect(millis(after?.updateTime)).toBeGreaterThan(millis(before?.updateTime));
  expect((await service.users.getUser({ userId })).user?.sessionCount).toBe(1);
});

test("a call without messages only undeletes the session", async () => {
  const sessionId = newId();
  await service.memory.addMemory({ sessionId, messages: texts("old") });
  await service.sessions.deleteSession({ sessionId });
  const added = await service.memory.addMemory({ sessionId });
  expect(added).toEqual({ messages: [], sessionCreated: false, sessionUndeleted: true });
  expect(await stored(sessionId)).toMatchObject({ messageCount: 0, deleteTime: undefined });
});

test("a deleted session whose user is deleted stays deleted", async () => {
  const [sessionId, userId] = [newId(), await newUser()];
  await service.memory.addMemory({ sessionId, userId, messages: texts("old") });
  await service.users.deleteUser({ userId });
  expect(await refusal(service.memory.addMemory({ sessionId, messages: texts("new") }))).toEqual(userNotUsable(userId));
  expect(await refusal(service.memory.addMemory({ sessionId }))).toEqual(userNotUsable(userId));
  expect(await refusal(service.sessions.getSession({ sessionId }))).toEqual(sessionNotFound(sessionId));
});

test("the messages of a call are contiguous and in order; later calls come later", async () => {
  const sessionId = newId();
  const first = await service.memory.addMemory({ sessionId, messages: texts("a", "b", "c") });
  const second = await service.memory.addMemory({ sessionId, messages: texts("d", "e") });
  const sequences = (added: typeof first) => added.messages.map(({ sequence }) => sequence);
  const [one = 0, four = 0] = [sequences(first)[0], sequences(second)[0]];
  expect(one).toBeGreaterThanOrEqual(1);
  expect(sequences(first)).toEqual([one, one + 1, one + 2]);
  expect(four).toBeGreaterThan(one + 2);
  expect(sequences(second)).toEqual([four, four + 1]);
  expect(await contents(sessionId)).toEqual(["a", "b", "c", "d", "e"]);
});

test("a sequence is never used again: not after a delete, a clear, an undelete or a restore", async () => {
  const sessionId = newId();
  let last = 0;
  const addOne = async () => {
    const { messages } = await service.memory.addMemory({ sessionId, messages: texts("x") });
    expect(messages[0]?.sequence).toBeGreaterThan(last);
    last = messages[0]?.sequence ?? 0;
    return messages[0]?.messageId as string;
  };
  await addOne();
  await service.memory.deleteMessage({ sessionId, messageId: await addOne() });
  await addOne();
  await service.memory.clearMemory({ sessionId });
  await addOne();
  await service.sessions.deleteSession({ sessionId });
  await addOne();
  await service.sessions.deleteSession({ sessionId });
  await service.sessions.undeleteSession({ sessionId });
  await addOne();
  await service.sessions.deleteSession({ sessionId });
  await service.sessions.undeleteSession({ sessionId, restoreMemory: true });
  await addOne();
});

test("calls at once to one new session all succeed, one creates it, none is lost or torn", async () => {
  const sessionId = newId();
  const calls = Array.from({ length: 20 }, (_, n) => [`${n}a`, `${n}b`, `${n}c`]);
  const added = await Promise.all(
    calls.map((three) => service.memory.addMemory({ sessionId, messages: texts(...three) })),
  );
  expect(added.filter(({ sessionCreated }) => sessionCreated)).toHaveLength(1);
  const all = await contents(sessionId);
  expect(all).toHaveLength(60);
  for (const three of calls) {
    const start = all.indexOf(three[0] as string);
    expect(all.slice(start, start + 3)).toEqual(three);
  }
  expect((await stored(sessionId))?.messageCount).toBe(60);
});

test("last_message_time is the newest message's create_time, message_count counts the live ones", async () => {
  const sessionId = newId();
  const [old, older] = [timestamp(Date.now() - 60_000), timestamp(Date.now() - 90_000)];
  await service.memory.addMemory({ sessionId, messages: [{ createTime: old }] });
  expect(await stored(sessionId)).toMatchObject({ messageCount: 1, lastMessageTime: old });
  await service.memory.addMemory({ sessionId, messages: [{ createTime: old }, { createTime: older }] });
  expect(await stored(sessionId)).toMatchObject({ messageCount: 3, lastMessageTime: older });
});

test("a retry with the same ids changes nothing and answers the same, session_created included", async () => {
  const [sessionId, userId] = [newId(), await newUser()];
  const call = {
    sessionId,
    userId,
    sessionMetadata: { a: 1 },
    messages: [
      { messageId: "m1", content: "one", metadata: { x: 1, y: [null] }, payload: Buffer.from("p") },
      ...withIds("m2"),
    ],
  };
  const first = await service.memory.addMemory(call);
  expect(first.sessionCreated).toBe(true);
  const before = await service.memory.getMemory({ sessionId });
  expect(await service.memory.addMemory(call)).toEqual(first);
  await service.memory.addMemory({ sessionId, messages: texts("later") });
  expect(await service.memory.addMemory(call)).toEqual(first);
  expect(await contents(sessionId)).toEqual(["one", "m2", "later"]);
  expect((await service.memory.getMemory({ sessionId })).messages.slice(0, 2)).toEqual(before.messages);
});

test("a retry of a call that undeleted answers session_undeleted again", async () => {
  const sessionId = newId();
  await service.memory.addMemory({ sessionId, messages: texts("old") });
  await service.sessions.deleteSession({ sessionId });
  const first = await service.memory.addMemory({ sessionId, messages: withIds("m1") });
  expect(first.sessionUndeleted).toBe(true);
  expect(await service.memory.addMemory({ sessionId, messages: withIds("m1") })).toEqual(first);
  const plain = await service.memory.addMemory({ sessionId, messages: withIds("m2") });
  expect(plain).toMatchObject({ sessionCreated: false, sessionUndeleted: false });
  expect(await service.memory.addMemory({ sessionId, messages: withIds("m2") })).toEqual(plain);
});

test("a retry after a purge of the user who is named is still a retry", async () => {
  const [sessionId, userId] = [newId(), await newUser()];
  const call = { sessionId, userId, messages: withIds("m1") };
  const first = await service.memory.addMemory(call);
  await service.sessions.updateSession({ sessionId, userId: "" });
  await service.users.purgeUser({ userId });
  expect(await service.memory.addMemory(call)).toEqual(first);
});

test("retries at once add the messages once and all answer the same", async () => {
  const sessionId = newId();
  const answers = await Promise.all(
    Array.from({ length: 10 }, () => service.memory.addMemory({ sessionId, messages: withIds("m1", "m2") })),
  );
  for (const answer of answers) expect(answer).toEqual(answers[0]);
  expect(await contents(sessionId)).toEqual(["m1", "m2"]);
  expect((await stored(sessionId))?.messageCount).toBe(2);
});

test("a retry after UpdateMessage answers the same and does not undo the update", async () => {
  const sessionId = newId();
  const messages = [{ messageId: "m1", content: "one", metadata: { a: 1 }, tokenCount: 1 }];
  const first = await service.memory.addMemory({ sessionId, messages });
  await service.memory.updateMessage({ sessionId, messageId: "m1", metadata: { b: 2 }, tokenCount: 9 });
  expect(await service.memory.addMemory({ sessionId, messages })).toEqual(first);
  expect((await messagesOf(sessionId))[0]).toMatchObject({ metadata: { a: 1, b: 2 }, tokenCount: 9 });
});

test("a retry after DeleteMessage answers the same and does not bring the message back", async () => {
  const sessionId = newId();
  const first = await service.memory.addMemory({ sessionId, messages: withIds("m1", "m2") });
  await service.memory.deleteMessage({ sessionId, messageId: "m1" });
  expect(await service.memory.addMemory({ sessionId, messages: withIds("m1", "m2") })).toEqual(first);
  expect(await contents(sessionId)).toEqual(["m2"]);
  expect((await stored(sessionId))?.messageCount).toBe(1);
  expect(await refusal(service.memory.getMessage({ sessionId, messageId: "m1" }))).toEqual(
    messageNotFound(sessionId, "m1"),
  );
});

test("an id that is there with anything else in it is a conflict, and nothing is added", async () => {
  const sessionId = newId();
  const createTime = timestamp(Date.now() - 60_000);
  const message = {
    messageId: "m1",
    role: "r",
    roleType: 1 as const,
    content: "c",
    payload: Buffer.from("p"),
    payloadType: "t",
    metadata: { a: 1 },
    tokenCount: 1,
    createTime,
    groupId: "g",
  };
  await service.memory.addMemory({ sessionId, messages: [message] });
  const before = await service.memory.getMemory({ sessionId });
  const others = [
    { role: "other" },
    { roleType: 2 as const },
    { content: "other" },
    { payload: Buffer.from("other") },
    { payloadType: "other" },
    { metadata: { a: 2 } },
    { metadata: undefined },
    { tokenCount: 2 },
    { groupId: "other" },
    { groupId: undefined },
    { createTime: timestamp(Date.now() - 50_000) },
    { createTime: undefined },
  ];
  for (const other of others) {
    const call = service.memory.addMemory({ sessionId, messages: [{ ...message, ...other }] });
    expect(await refusal(call), JSON.stringify(other)).toEqual(messageConflict(sessionId, "m1"));
  }
  expect(await service.memory.getMemory({ sessionId })).toEqual(before);
});

test("a call with a new message before one that is there is a conflict, and nothing is added", async () => {
  const sessionId = newId();
  await service.memory.addMemory({ sessionId, messages: withIds("m1") });
  for (const messages of [withIds("m0", "m1"), withIds("m0", "m1", "m2"), [...texts("no id"), ...withIds("m1")]]) {
    expect(await refusal(service.memory.addMemory({ sessionId, messages }))).toEqual(messageConflict(sessionId, "m1"));
  }
  expect(await contents(sessionId)).toEqual(["m1"]);
});

test("metadata with its keys in another order is no other content", async () => {
  const sessionId = newId();
  const first = await service.memory.addMemory({
    sessionId,
    messages: [{ messageId: "m1", metadata: { a: 1, b: { c: 1, d: 2 } } }],
  });
  const again = { messageId: "m1", metadata: { b: { d: 2, c: 1 }, a: 1 } };
  expect(await service.memory.addMemory({ sessionId, messages: [again] })).toEqual(first);
});

test("a message id is unique within a session only", async () => {
  const [a, b] = [newId(), newId()];
  await service.memory.addMemory({ sessionId: a, messages: [{ messageId: "m1", content: "of a" }] });
  await service.memory.addMemory({ sessionId: b, messages: [{ messageId: "m1", content: "of b" }] });
  expect(await contents(a)).toEqual(["of a"]);
  expect(await contents(b)).toEqual(["of b"]);
});

test("calls without ids add their messages each time", async () => {
  const sessionId = newId();
  for (let n = 0; n < 2; n++) await service.memory.addMemory({ sessionId, messages: texts("same") });
  expect(await contents(sessionId)).toEqual(["same", "same"]);
});

test("an id that comes twice in one call is refused", async () => {
  const sessionId = newId();
  const call = service.memory.addMemory({ sessionId, messages: withIds("m1", "m2", "m1") });
  expect(await refusal(call)).toEqual(invalid("messages[2].message_id"));
  expect(await refusal(service.sessions.getSession({ sessionId }))).toEqual(sessionNotFound(sessionId));
});

test("expected_last_sequence lets a call pass that knows the last one, and aborts one that does not", async () => {
  const sessionId = newId();
  const first = await service.memory.addMemory({ sessionId, messages: texts("a", "b"), expectedLastSequence: 0 });
  const last = first.messages[1]?.sequence as number;
  for (const expectedLastSequence of [0, last - 1, last + 1]) {
    const call = service.memory.addMemory({ sessionId, messages: texts("no"), expectedLastSequence });
    expect(await refusal(call)).toEqual(sequenceMismatch(sessionId, expectedLastSequence, last));
  }
  await service.memory.addMemory({ sessionId, messages: texts("c"), expectedLastSequence: last });
  expect(await contents(sessionId)).toEqual(["a", "b", "c"]);
});

test("an expectation that fails creates no session and undeletes none", async () => {
  const missing = newId();
  const create = service.memory.addMemory({ sessionId: missing, messages: texts("a"), expectedLastSequence: 1 });
  expect(await refusal(create)).toEqual(sequenceMismatch(missing, 1, 0));
  expect(await refusal(service.sessions.getSession({ sessionId: missing }))).toEqual(sessionNotFound(missing));

  const deleted = newId();
  const { messages } = await service.memory.addMemory({ sessionId: deleted, messages: texts("a") });
  await service.sessions.deleteSession({ sessionId: deleted });
  const last = messages[0]?.sequence as number;
  const undelete = service.memory.addMemory({ sessionId: deleted, messages: texts("b"), expectedLastSequence: 0 });
  expect(await refusal(undelete)).toEqual(sequenceMismatch(deleted, 0, last));
  expect(await refusal(service.sessions.getSession({ sessionId: deleted }))).toEqual(sessionNotFound(deleted));
});

test("an expectation is checked without messages too, and 0 fits a session without any yet", async () => {
  const sessionId = newId();
  await service.memory.addMemory({ sessionId, expectedLastSequence: 0 });
  await service.memory.addMemory({ sessionId, expectedLastSequence: 0 });
  expect(await refusal(service.memory.addMemory({ sessionId, expectedLastSequence: 5 }))).toEqual(
    sequenceMismatch(sessionId, 5, 0),
  );
});

test("the last sequence is the one last given, also when that message is deleted or cleared", async () => {
  const sessionId = newId();
  const { messages } = await service.memory.addMemory({ sessionId, messages: withIds("m1") });
  const last = messages[0]?.sequence as number;
  await service.memory.deleteMessage({ sessionId, messageId: "m1" });
  await service.memory.clearMemory({ sessionId });
  expect(await refusal(service.memory.addMemory({ sessionId, expectedLastSequence: 0 }))).toEqual(
    sequenceMismatch(sessionId, 0, last),
  );
  await service.memory.addMemory({ sessionId, messages: texts("x"), expectedLastSequence: last });
});

test("of many calls with the same expectation exactly one passes", async () => {
  const sessionId = newId();
  const outcomes = await Promise.allSettled(
    ["a", "b", "c", "d"].map((content) =>
      service.memory.addMemory({ sessionId, messages: texts(content), expectedLastSequence: 0 }),
    ),
  );
  expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  expect(await contents(sessionId)).toHaveLength(1);
});

test("a retry with ids after success answers the same though the expectation no longer holds", async () => {
  const sessionId = newId();
  const call = { sessionId, messages: withIds("m1", "m2"), expectedLastSequence: 0 };
  const first = await service.memory.addMemory(call);
  expect(await service.memory.addMemory(call)).toEqual(first);
  await service.memory.addMemory({ sessionId, messages: texts("later") });
  expect(await service.memory.addMemory(call)).toEqual(first);
  expect(await contents(sessionId)).toEqual(["m1", "m2", "later"]);
});

test("all that is wrong with a call is named at once, and nothing is stored", async () => {
  const sessionId = newId();
  const call = service.memory.addMemory({
    sessionId,
    userId: "",
    sessionMetadata: { a: Number.POSITIVE_INFINITY },
    mergeSessionMetadata: { a: Number.NaN },
    metadataMode: 9 as never,
    expectedLastSequence: -1,
    messages: [
      { content: "fine" },
      {
        messageId: "",
        role: "r".repeat(257),
        roleType: 6 as never,
        payloadType: "t".repeat(257),
        metadata: { n: Number.NaN },
        tokenCount: -1,
        createTime: timestamp(Date.now() + 3_600_000),
        groupId: " ",
      },
    ],
  });
  expect(await refusal(call)).toEqual(
    invalid(
      "user_id",
      "session_metadata",
      "merge_session_metadata",
      "metadata_mode",
      "expected_last_sequence",
      "messages[1].message_id",
      "messages[1].role",
      "messages[1].role_type",
      "messages[1].payload_type",
      "messages[1].metadata",
      "messages[1].token_count",
      "messages[1].create_time",
      "messages[1].group_id",
    ),
  );
  expect(await refusal(service.sessions.getSession({ sessionId }))).toEqual(sessionNotFound(sessionId));
});

test("a reader never sees a part of a call, while many are made", async () => {
  const sessionId = newId();
  const three = texts("1", "2", "3");
  let writing = true;
  const writers = Promise.all(
    Array.from({ length: 10 }, () => service.memory.addMemory({ sessionId, messages: three })),
  ).finally(() => {
    writing = false;
  });
  while (writing) {
    const { messages, session } = await service.memory.getMemory({ sessionId, lastN: 1000 });
    expect(messages.length % 3).toBe(0);
    expect(messages).toHaveLength(session?.messageCount ?? 0);
  }
  await writers;
  expect(await contents(sessionId)).toHaveLength(30);
});
