import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import type { Message } from "../../gen/sessions/v1/resources.js";
import { failure } from "../support/api.js";
import {
  aMoment,
  invalid,
  messageNotFound,
  millis,
  newId,
  refusal,
  sessionExists,
  sessionNotFound,
  sessionSoftDeleted,
  texts,
  userNotUsable,
  withIds,
} from "../support/contract.js";
import { startService, type TestService } from "../support/service.js";

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.stop());

const fork = async (request: Parameters<TestService["sessions"]["forkSession"]>[0]) =>
  (await service.sessions.forkSession(request)).session;

const messagesOf = async (sessionId: string): Promise<Message[]> =>
  (await service.memory.listMessages({ sessionId })).flatMap(({ messages }) => messages);

const idsOf = async (sessionId: string) => (await messagesOf(sessionId)).map(({ messageId }) => messageId);

const sessionOf = async (sessionId: string) => (await service.sessions.getSession({ sessionId })).session;

/** A session with these messages. */
async function sessionWith(...ids: string[]): Promise<string> {
  const sessionId = newId("source");
  await service.memory.addMemory({ sessionId, messages: withIds(...ids) });
  return sessionId;
}

const NEW_MESSAGE = {
  role: "Ann",
  roleType: 5,
  content: "höre 🎧",
  payload: Buffer.from([0, 255, 1]),
  payloadType: "application/x",
  metadata: { "a.b": [1, null, { $set: "x" }] },
  tokenCount: 7,
  createTime: { seconds: 1_000_000_000, nanos: 5_000_000 },
};

describe("a fork of a whole memory", () => {
  it("has all live messages with their ids, sequences, payloads and times as they are", async () => {
    const sessionId = newId();
    await service.memory.addMemory({
      sessionId,
      messages: [{ ...NEW_MESSAGE, messageId: "m1" }, ...withIds("m2", "gone", "m3"), {}],
    });
    await service.memory.deleteMessage({ sessionId, messageId: "gone" });
    await service.memory.updateMessage({ sessionId, messageId: "m2", metadata: { later: true }, tokenCount: 3 });
    const source = await messagesOf(sessionId);
    const made = await fork({ sessionId });

    const copies = await messagesOf(made?.sessionId ?? "");
    // An etag is no other message's.
    const asCopies = source.map((message, index) => ({
      ...message,
      sessionId: made?.sessionId,
      etag: copies[index]?.etag,
    }));
    expect(copies).toEqual(asCopies);
    expect(copies.filter(({ etag }, index) => etag === source[index]?.etag)).toEqual([]);
    expect(copies.map(({ sequence }) => sequence)).toEqual([1, 2, 4, 5]);
    expect(made?.messageCount).toBe(4);
    expect(made?.lastMessageTime).toEqual(source.at(-1)?.createTime);
    for (const { messageId } of source) {
      const at = { sessionId: made?.sessionId ?? "", messageId };
      expect((await service.memory.getMessage(at)).message).toEqual({
        ...copies.find((copy) => copy.messageId === messageId),
      });
    }
  });

  it("is a session of its own, under an id that the service makes, and says where it comes from", async () => {
    const sessionId = await sessionWith("m1", "m2");
    const before = await sessionOf(sessionId);
    await aMoment();
    const made = await fork({ sessionId });
    expect(made?.sessionId).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    expect(made?.uid).not.toBe(before?.uid);
    expect(made?.etag).not.toBe(before?.etag);
    expect(millis(made?.createTime)).toBeGreaterThan(millis(before?.updateTime));
    expect(made?.updateTime).toEqual(made?.createTime);
    expect(made?.forkedFrom).toEqual({ sessionId, sequence: 2 });
    for (const seen of [
      await sessionOf(made?.sessionId ?? ""),
      (await service.memory.getMemory({ sessionId: made?.sessionId ?? "" })).session,
      (await service.sessions.batchGetSessions({ sessionIds: [made?.sessionId ?? ""] })).sessions[0],
    ]) {
      expect(seen).toEqual(made);
    }
    // The source is as it was, and says nothing of it.
    expect(await sessionOf(sessionId)).toEqual(before);
    expect(before?.forkedFrom).toBeUndefined();
  });

  it("goes on behind the sequence that it was made at, as does its source", async () => {
    const sessionId = await sessionWith("m1", "m2", "m3");
    await service.memory.deleteMessage({ sessionId, messageId: "m3" });
    const made = (await fork({ sessionId }))?.sessionId ?? "";
    const add = { messages: withIds("next"), expectedLastSequence: 3 };
    for (const one of [made, sessionId]) {
      const { messages } = await service.memory.addMemory({ sessionId: one, ...add });
      expect(messages[0]?.sequence).toBe(4);
    }
  });

  it("of an empty memory, of a cleared one and of a session that never had one is empty", async () => {
    const [empty, cleared] = [newId(), await sessionWith("m1", "m2")];
    await service.sessions.createSession({ sessionId: empty });
    await service.memory.clearMemory({ sessionId: cleared });
    for (const [sessionId, sequence] of [
      [empty, 0],
      [cleared, 2],
    ] as const) {
      const made = await fork({ sessionId });
      expect(made).toMatchObject({ messageCount: 0, forkedFrom: { sessionId, sequence } });
      expect(made?.lastMessageTime).toBeUndefined();
      expect(await idsOf(made?.sessionId ?? "")).toEqual([]);
    }
  });

  it("can be forked again", async () => {
    const sessionId = await sessionWith("m1", "m2");
    const first = (await fork({ sessionId }))?.sessionId ?? "";
    await service.memory.addMemory({ sessionId: first, messages: withIds("m3") });
    const second = await fork({ sessionId: first, upToMessageId: "m3" });
    expect(second?.forkedFrom).toEqual({ sessionId: first, sequence: 3 });
    expect(await idsOf(second?.sessionId ?? "")).toEqual(["m1", "m2", "m3"]);
  });

  it("has more messages than are copied at a time, and large ones", async () => {
    const sessionId = newId();
    for (let from = 0; from < 1_500; from += 500) {
      const ids = Array.from({ length: 500 }, (_, index) => `m${from + index}`);
      await service.memory.addMemory({ sessionId, messages: withIds(...ids) });
    }
    for (let large = 0; large < 4; large++) {
      const content = String.fromCharCode(97 + large).repeat(1024 * 1024);
      await service.memory.addMemory({ sessionId, messages: [{ content, payload: Buffer.alloc(1024 * 1024, large) }] });
    }
    await service.memory.addMemory({ sessionId, messages: withIds("last") });
    const made = await fork({ sessionId });
    expect(made?.messageCount).toBe(1_505);
    const copies = await messagesOf(made?.sessionId ?? "");
    const source = await messagesOf(sessionId);
    expect(copies.length).toBe(source.length);
    expect(copies.every((copy, index) => same(copy, source[index]))).toBe(true);
  });
});

const same = (copy: Message, source: Message | undefined): boolean =>
  copy.messageId === source?.messageId &&
  copy.sequence === source.sequence &&
  copy.content === source.content &&
  Buffer.compare(copy.payload, source.payload) === 0;

describe("a fork up to a message", () => {
  it("has the messages up to and with it", async () => {
    const sessionId = await sessionWith("m1", "m2", "m3", "m4");
    const made = await fork({ sessionId, upToMessageId: "m2" });
    expect(made).toMatchObject({ messageCount: 2, forkedFrom: { sessionId, sequence: 2 } });
    expect(made?.lastMessageTime).toEqual((await messagesOf(sessionId))[1]?.createTime);
    expect(await idsOf(made?.sessionId ?? "")).toEqual(["m1", "m2"]);
    const { messages } = await service.memory.addMemory({
      sessionId: made?.sessionId,
      messages: withIds("other"),
      expectedLastSequence: 2,
    });
    expect(messages[0]?.sequence).toBe(3);
  });

  it("that is unknown, deleted, cleared, or only another session's, is NOT_FOUND", async () => {
    const sessionId = await sessionWith("m1", "m2");
    await service.memory.deleteMessage({ sessionId, messageId: "m2" });
    const cleared = await sessionWith("c1");
    await service.memory.clearMemory({ sessionId: cleared });
    for (const [source, upToMessageId] of [
      [sessionId, "unknown"],
      [sessionId, "m2"],
      [sessionId, "c1"],
      [cleared, "c1"],
    ] as const) {
      const newSessionId = newId();
      const refused = await refusal(service.sessions.forkSession({ sessionId: source, newSessionId, upToMessageId }));
      expect(refused).toEqual(messageNotFound(source, upToMessageId));
      expect(await refusal(service.sessions.getSession({ sessionId: newSessionId }))).toEqual(
        sessionNotFound(newSessionId),
      );
    }
  });
});

describe("the summary", () => {
  it("comes with a fork when what it covers does", async () => {
    const sessionId = await sessionWith("m1", "m2", "m3");
    const summary = { content: "so far", recentMessageId: "m2", metadata: { by: ["x"] }, tokenCount: 9 };
    const { summary: set } = await service.memory.setSummary({ sessionId, ...summary });
    for (const [upToMessageId, expected] of [
      [undefined, set],
      ["m3", set],
      ["m2", set],
      ["m1", undefined],
    ] as const) {
      const made = await fork({ sessionId, upToMessageId });
      expect((await service.memory.getMemory({ sessionId: made?.sessionId ?? "" })).summary).toEqual(expected);
    }
  });

  it("hides nothing that is added to a fork, also where the message that it reaches to is gone", async () => {
    const sessionId = await sessionWith("m1", "m2");
    await service.memory.setSummary({ sessionId, content: "so far", recentMessageId: "m2" });
    await service.memory.deleteMessage({ sessionId, messageId: "m2" });
    const made = (await fork({ sessionId }))?.sessionId ?? "";
    await service.memory.addMemory({ sessionId: made, messages: withIds("next") });
    const { summary, messages } = await service.memory.getMemory({ sessionId: made });
    expect(summary?.content).toBe("so far");
    expect(messages.map(({ messageId }) => messageId)).toEqual(["next"]);
  });
});

describe("metadata", () => {
  it("is merged over the source's, which stays as it is", async () => {
    const sessionId = newId();
    const metadata = { topic: { of: "tea", at: 1 }, tags: ["a", "b"], "a.b": 1 };
    await service.sessions.createSession({ sessionId, metadata });
    expect((await fork({ sessionId }))?.metadata).toEqual(metadata);
    const made = await fork({ sessionId, metadata: { topic: { at: null, more: {} }, tags: ["c"] } });
    expect(made?.metadata).toEqual({ topic: { of: "tea", at: null, more: {} }, tags: ["c"], "a.b": 1 });
    expect((await sessionOf(sessionId))?.metadata).toEqual(metadata);
    const listed = await service.sessions.listSessions({ metadata: { tags: ["c"], "a.b": 1 } });
    expect(listed.flatMap(({ sessions }) => sessions)).toEqual([made]);
  });

  it("has to keep the limits with what the source has already", async () => {
    const [sessionId, newSessionId] = [newId(), newId()];
    await service.sessions.createSession({ sessionId, metadata: { a: "x".repeat(40_000) } });
    const metadata = { b: "x".repeat(40_000) };
    expect(await refusal(service.sessions.forkSession({ sessionId, newSessionId, metadata }))).toEqual(
      invalid("metadata"),
    );
    expect(await refusal(service.sessions.getSession({ sessionId: newSessionId }))).toEqual(
      sessionNotFound(newSessionId),
    );
  });
});

describe("the user", () => {
  const userOf = async (userId: string) => (await service.users.getUser({ userId })).user;

  async function ofUser() {
    const [sessionId, userId] = [newId(), newId("user")];
    await service.users.createUser({ userId });
    await service.memory.addMemory({ sessionId, userId, messages: withIds("m1") });
    return { sessionId, userId };
  }

  it("is the source's, another one, or nobody, and each counts exactly", async () => {
    const { sessionId, userId } = await ofUser();
    const other = newId("other");
    await service.users.createUser({ userId: other });
    const theirs = await fork({ sessionId });
    const others = await fork({ sessionId, userId: other });
    const nobodys = await fork({ sessionId, userId: "" });
    expect([theirs?.userId, others?.userId, nobodys?.userId]).toEqual([userId, other, undefined]);
    expect((await userOf(userId))?.sessionCount).toBe(2);
    expect((await userOf(other))?.sessionCount).toBe(1);
    const listed = await service.sessions.listSessions({ userId });
    expect(listed.flatMap(({ sessions }) => sessions.map((one) => one.sessionId))).toEqual([
      sessionId,
      theirs?.sessionId,
    ]);
    const ofNobodys = await fork({ sessionId: nobodys?.sessionId ?? "", userId: other });
    expect(ofNobodys?.userId).toBe(other);
    expect((await fork({ sessionId: nobodys?.sessionId ?? "" }))?.userId).toBeUndefined();
  });

  it("that is unknown or deleted is FAILED_PRECONDITION", async () => {
    const { sessionId } = await ofUser();
    const { userId } = await ofUser();
    await service.users.deleteUser({ userId });
    for (const unusable of [userId, "nobody"]) {
      const newSessionId = newId();
      expect(await refusal(service.sessions.forkSession({ sessionId, newSessionId, userId: unusable }))).toEqual(
        userNotUsable(unusable),
      );
      expect((await failure(service.sessions.getSession({ sessionId: newSessionId }))).code).toBe("NOT_FOUND");
    }
  });
});

describe("the new id", () => {
  it("that is there, live or soft-deleted, is ALREADY_EXISTS and changes nothing", async () => {
    const [sessionId, live, deleted] = [await sessionWith("m1"), await sessionWith("x"), await sessionWith("y")];
    await service.sessions.deleteSession({ sessionId: deleted });
    const before = await sessionOf(live);
    expect(await refusal(service.sessions.forkSession({ sessionId, newSessionId: live }))).toEqual(sessionExists(live));
    expect(await refusal(service.sessions.forkSession({ sessionId, newSessionId: sessionId }))).toEqual(
      sessionExists(sessionId),
    );
    expect(await refusal(service.sessions.forkSession({ sessionId, newSessionId: deleted }))).toEqual(
      sessionSoftDeleted(deleted),
    );
    expect(await sessionOf(live)).toEqual(before);
    expect(await idsOf(live)).toEqual(["x"]);
    await service.sessions.undeleteSession({ sessionId: deleted, restoreMemory: true });
    expect(await idsOf(deleted)).toEqual(["y"]);
  });

  it("is the one that was asked for, free again after a purge", async () => {
    const [sessionId, newSessionId] = [await sessionWith("m1"), newId("own")];
    expect((await fork({ sessionId, newSessionId }))?.sessionId).toBe(newSessionId);
    expect(await refusal(service.sessions.forkSession({ sessionId, newSessionId }))).toEqual(
      sessionExists(newSessionId),
    );
    expect(await service.sessions.purgeSession({ sessionId: newSessionId })).toEqual({ purgedMessages: 1 });
    expect((await fork({ sessionId, newSessionId }))?.messageCount).toBe(1);
  });
});

test("a source that is missing or soft-deleted is NOT_FOUND", async () => {
  const deleted = await sessionWith("m1");
  await service.sessions.deleteSession({ sessionId: deleted });
  for (const sessionId of [deleted, "unknown"]) {
    expect(await refusal(service.sessions.forkSession({ sessionId }))).toEqual(sessionNotFound(sessionId));
  }
});

test("what is wrong with a request is named at once", async () => {
  const request = {
    sessionId: " ",
    newSessionId: "\u0007",
    upToMessageId: "x".repeat(257),
    userId: "\n",
    metadata: { a: Number.NaN },
  };
  expect(await refusal(service.sessions.forkSession(request))).toEqual(
    invalid("session_id", "new_session_id", "up_to_message_id", "user_id", "metadata"),
  );
  expect(await refusal(service.sessions.forkSession({ sessionId: "s", upToMessageId: "" }))).toEqual(
    invalid("up_to_message_id"),
  );
});

test("later changes of either leave the other alone", async () => {
  const sessionId = await sessionWith("m1", "m2", "m3");
  const made = (await fork({ sessionId }))?.sessionId ?? "";
  const contents = async (id: string) =>
    (await messagesOf(id)).map(({ messageId, tokenCount }) => [messageId, tokenCount]);
  const all = [
    ["m1", 0],
    ["m2", 0],
    ["m3", 0],
  ];
  await service.memory.updateMessage({ sessionId, messageId: "m1", tokenCount: 5 });
  await service.memory.deleteMessage({ sessionId, messageId: "m2" });
  expect(await contents(made)).toEqual(all);
  await service.memory.updateMessage({ sessionId: made, messageId: "m3", tokenCount: 6 });
  await service.memory.addMemory({ sessionId: made, messages: withIds("m4") });
  expect(await contents(sessionId)).toEqual([
    ["m1", 5],
    ["m3", 0],
  ]);
  await service.sessions.purgeSession({ sessionId });
  expect(await contents(made)).toEqual([
    ["m1", 0],
    ["m2", 0],
    ["m3", 6],
    ["m4", 0],
  ]);
  expect((await sessionOf(made))?.forkedFrom).toEqual({ sessionId, sequence: 3 });
  await service.sessions.deleteSession({ sessionId: made });
  await service.sessions.undeleteSession({ sessionId: made, restoreMemory: true });
  expect((await sessionOf(made))?.messageCount).toBe(4);
});

test("a repeated AddMemory is known in a fork, which it did not create", async () => {
  const sessionId = newId();
  const add = { messages: withIds("m1", "m2") };
  expect((await service.memory.addMemory({ sessionId, ...add })).sessionCreated).toBe(true);
  const made = (await fork({ sessionId }))?.sessionId ?? "";
  const again = await service.memory.addMemory({ sessionId: made, ...add });
  expect(again.sessionCreated).toBe(false);
  expect(again.messages.map(({ sequence }) => sequence)).toEqual([1, 2]);
  expect((await sessionOf(made))?.messageCount).toBe(2);
});

test("what a fork has is found in it at once, and in its user's sessions", async () => {
  const [sessionId, userId] = [newId(), newId("user")];
  await service.users.createUser({ userId });
  await service.memory.addMemory({ sessionId, userId, messages: texts("a zeppelin") });
  const hits = async (scope: { sessionId: string } | { userId: string }) =>
    (await service.memory.searchMemory({ ...scope, text: "zeppelin" })).results.map(
      ({ message }) => message?.sessionId,
    );
  expect(await hits({ userId })).toEqual([sessionId]);
  const made = (await fork({ sessionId }))?.sessionId ?? "";
  expect(await hits({ sessionId: made })).toEqual([made]);
  expect((await hits({ userId })).sort()).toEqual([sessionId, made].sort());
});

test("nothing is left of what a fork was made by", async () => {
  const { forks, sessions } = service.database;
  expect(await forks.countDocuments()).toBe(0);
  expect(await sessions.countDocuments({ forks: { $exists: true } })).toBe(0);
});
