import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RewindMemoryResponse } from "../../gen/sessions/v1/memory_service.js";
import {
  invalid,
  messageConflict,
  messageNotFound,
  newId,
  refusal,
  sequenceMismatch,
  sessionNotFound,
  timestamp,
  tooManyMessages,
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
const rewind = (request: Parameters<TestService["memory"]["rewindMemory"]>[0]) => service.memory.rewindMemory(request);

/** With messages m1, m2, …, so that an id has the number of its sequence. */
async function sessionOf(count: number): Promise<string> {
  const sessionId = newId();
  const messages = withIds(...Array.from({ length: count }, (_, n) => `m${n + 1}`));
  await service.memory.addMemory({ sessionId, messages });
  return sessionId;
}

describe("what is later than a message", () => {
  test.each([
    ["by the message's id", { afterMessageId: "m2" }],
    ["by its sequence", { afterSequence: 2 }],
    ["with the right last sequence", { afterMessageId: "m2", expectedLastSequence: 5 }],
  ])("goes, and is answered as it was, oldest first: %s", async (_, target) => {
    const sessionId = await sessionOf(5);
    const all = (await service.memory.getMemory({ sessionId })).messages;
    const { messages, session, rewoundMessages, truncated } = await rewind({ sessionId, ...target });
    expect(messages).toEqual(all.slice(2));
    expect([rewoundMessages, truncated]).toEqual([3, false]);
    expect(session).toEqual(await stored(sessionId));
    expect(session?.messageCount).toBe(2);
    expect(await ids(sessionId)).toEqual(["m1", "m2"]);
  });

  test("is gone to every reader at once", async () => {
    const sessionId = await sessionOf(4);
    // So that it is known, and in an index.
    await ids(sessionId);
    await service.memory.searchMemory({ sessionId, text: "m3" });
    await rewind({ sessionId, afterMessageId: "m2" });
    const listed = await service.memory.listMessages({ sessionId });
    expect(listed.flatMap(({ messages }) => messages).map(({ messageId }) => messageId)).toEqual(["m1", "m2"]);
    const { results } = await service.memory.searchMemory({ sessionId, text: "m2 m3 m4", neighbors: 5 });
    const found = results.flatMap(({ message, before, after }) => [message, ...before, ...after]);
    expect([...new Set(found.map((message) => message?.messageId))].sort()).toEqual(["m1", "m2"]);
    for (const call of [service.memory.getMessage, service.memory.updateMessage, service.memory.deleteMessage]) {
      expect(await refusal(call({ sessionId, messageId: "m3" }))).toEqual(messageNotFound(sessionId, "m3"));
    }
  });

  test("is all there is behind sequence 0, and nothing behind the last one or one that was not given yet", async () => {
    const sessionId = await sessionOf(3);
    const before = await stored(sessionId);
    for (const afterSequence of [3, 4, Number.MAX_SAFE_INTEGER]) {
      expect(await rewind({ sessionId, afterSequence })).toEqual({
        messages: [],
        session: before,
        rewoundMessages: 0,
        truncated: false,
      });
    }
    expect((await rewind({ sessionId, afterMessageId: "m3" })).messages).toEqual([]);
    expect((await rewind({ sessionId, afterSequence: 0 })).messages).toHaveLength(3);
    expect(await stored(sessionId)).toMatchObject({ messageCount: 0, lastMessageTime: undefined });
    expect((await rewind({ sessionId, afterSequence: 0 })).messages).toEqual([]);
  });

  test("does not include what was deleted before, and a sequence need not be a message's", async () => {
    const sessionId = await sessionOf(6);
    for (const messageId of ["m3", "m5"]) await service.memory.deleteMessage({ sessionId, messageId });
    const { messages, session } = await rewind({ sessionId, afterSequence: 3 });
    expect(messages.map(({ messageId }) => messageId)).toEqual(["m4", "m6"]);
    expect(session?.messageCount).toBe(2);
    expect(await ids(sessionId)).toEqual(["m1", "m2"]);
  });

  test("leaves the count exact and last_message_time that of the newest message that stays", async () => {
    const sessionId = newId();
    const times = [5, 4, 3, 2].map((minutes) => timestamp(Date.now() - minutes * 60_000));
    await service.memory.addMemory({
      sessionId,
      messages: times.map((createTime, n) => ({ messageId: `m${n + 1}`, createTime })),
    });
    await rewind({ sessionId, afterSequence: 3 });
    expect(await stored(sessionId)).toMatchObject({ messageCount: 3, lastMessageTime: times[2] });
    await service.memory.deleteMessage({ sessionId, messageId: "m2" });
    await rewind({ sessionId, afterSequence: 2 });
    expect(await stored(sessionId)).toMatchObject({ messageCount: 1, lastMessageTime: times[0] });
  });

  test("is purged like the rest, and cannot be restored", async () => {
    const sessionId = await sessionOf(4);
    await rewind({ sessionId, afterSequence: 1 });
    const key = `default/${sessionId}`;
    const rewound = await service.database.messages.find({ session: key, deleted: true }).toArray();
    expect(rewound).toHaveLength(3);
    const kept = rewound.map(({ deleteTime, expireAt }) => Number(expireAt) - Number(deleteTime));
    expect(kept).toEqual([1, 2, 3].map(() => 30 * 86_400_000));
    await service.sessions.deleteSession({ sessionId });
    await service.sessions.undeleteSession({ sessionId, restoreMemory: true });
    expect(await ids(sessionId)).toEqual(["m1"]);
    await service.purge.purgeDeleted({ olderThan: { seconds: 0, nanos: 0 } });
    expect(await service.database.messages.countDocuments({ session: key })).toBe(1);
  });

  test("makes room for something else: sequences go on, and its ids stay taken", async () => {
    const sessionId = await sessionOf(3);
    await rewind({ sessionId, afterMessageId: "m1" });
    const { messages } = await service.memory.addMemory({ sessionId, messages: withIds("other") });
    expect(messages[0]?.sequence).toBe(4);
    expect(await ids(sessionId)).toEqual(["m1", "other"]);
    const edited = { messageId: "m2", content: "said anew" };
    expect(await refusal(service.memory.addMemory({ sessionId, messages: [edited] }))).toEqual(
      messageConflict(sessionId, "m2"),
    );
    // A late repetition of the call that brought it does not bring it back.
    await service.memory.addMemory({ sessionId, messages: withIds("m2", "m3") });
    expect(await ids(sessionId)).toEqual(["m1", "other"]);
  });
});

describe("a summary", () => {
  const withSummary = async (recentMessageId: string): Promise<string> => {
    const sessionId = await sessionOf(5);
    await service.memory.setSummary({ sessionId, content: "so far", recentMessageId });
    return sessionId;
  };
  const summaryOf = async (sessionId: string) => (await service.memory.getMemory({ sessionId })).summary?.content;

  test("that covers some of what is taken away goes too", async () => {
    const sessionId = await withSummary("m3");
    await rewind({ sessionId, afterMessageId: "m2" });
    expect(await summaryOf(sessionId)).toBeUndefined();
    // And there is none any more that a new one could come too late for.
    await service.memory.setSummary({ sessionId, content: "anew", recentMessageId: "m1" });
    expect(await summaryOf(sessionId)).toBe("anew");
  });

  test("that covers only what stays stays", async () => {
    const sessionId = await withSummary("m3");
    await rewind({ sessionId, afterMessageId: "m3" });
    expect(await summaryOf(sessionId)).toBe("so far");
    await rewind({ sessionId, afterSequence: 3 });
    expect(await summaryOf(sessionId)).toBe("so far");
    expect(await ids(sessionId)).toEqual(["m1", "m2", "m3"]);
  });
});

describe("a rewind is refused, and takes away nothing", () => {
  test.each([5, 7, 0])("when the last sequence is not the expected one: %i", async (expectedLastSequence) => {
    const sessionId = await sessionOf(6);
    await service.memory.deleteMessage({ sessionId, messageId: "m6" });
    const call = rewind({ sessionId, afterMessageId: "m1", expectedLastSequence });
    expect(await refusal(call)).toEqual(sequenceMismatch(sessionId, expectedLastSequence, 6));
    expect(await ids(sessionId)).toHaveLength(5);
    expect((await rewind({ sessionId, afterMessageId: "m1", expectedLastSequence: 6 })).messages).toHaveLength(4);
  });

  test("when the message is missing, deleted, or another session's", async () => {
    const [sessionId, other] = [await sessionOf(3), await sessionOf(5)];
    await service.memory.deleteMessage({ sessionId, messageId: "m2" });
    for (const afterMessageId of ["none", "m2", "m5"]) {
      expect(await refusal(rewind({ sessionId, afterMessageId }))).toEqual(messageNotFound(sessionId, afterMessageId));
    }
    expect(await ids(sessionId)).toEqual(["m1", "m3"]);
    expect(await ids(other)).toHaveLength(5);
  });

  test("when the session is missing or deleted", async () => {
    const deleted = await sessionOf(2);
    await service.sessions.deleteSession({ sessionId: deleted });
    for (const sessionId of [deleted, newId()]) {
      for (const target of [{ afterMessageId: "m1" }, { afterSequence: 0 }]) {
        expect(await refusal(rewind({ sessionId, ...target }))).toEqual(sessionNotFound(sessionId));
      }
    }
    await service.sessions.undeleteSession({ sessionId: deleted, restoreMemory: true });
    expect(await ids(deleted)).toHaveLength(2);
  });

  test("when it does not say after what, or says it twice; all that is wrong is named at once", async () => {
    const sessionId = await sessionOf(2);
    expect(await refusal(rewind({ sessionId }))).toEqual(invalid("after_message_id"));
    expect(await refusal(rewind({ sessionId, afterMessageId: "m1", afterSequence: 1 }))).toEqual(
      invalid("after_sequence"),
    );
    expect(await refusal(rewind({ sessionId, afterMessageId: "" }))).toEqual(invalid("after_message_id"));
    expect(await refusal(rewind({ sessionId: " ", afterSequence: -1, expectedLastSequence: -1 }))).toEqual(
      invalid("session_id", "after_sequence", "expected_last_sequence"),
    );
    expect(await ids(sessionId)).toHaveLength(2);
  });

  test("when there are more than a thousand messages", async () => {
    const sessionId = newId();
    const messages = Array.from({ length: 1000 }, (_, n) => ({ messageId: `m${n + 1}` }));
    await service.memory.addMemory({ sessionId, messages });
    await service.memory.setSummary({ sessionId, content: "all", recentMessageId: "m1000" });
    await service.memory.addMemory({ sessionId, messages: [{ messageId: "m1001" }] });
    const before = await stored(sessionId);
    for (const target of [{ afterSequence: 0 }, { afterSequence: 0, expectedLastSequence: 1001 }]) {
      expect(await refusal(rewind({ sessionId, ...target }))).toEqual(tooManyMessages(sessionId));
    }
    expect(await stored(sessionId)).toEqual(before);
    const { rewoundMessages, messages: rewound, session } = await rewind({ sessionId, afterMessageId: "m1" });
    expect([rewoundMessages, rewound.length, session?.messageCount]).toEqual([1000, 1000, 1]);
    expect(rewound.map(({ sequence }) => sequence)).toEqual(messages.map((_, n) => n + 2));
    expect((await service.memory.getMemory({ sessionId })).summary).toBeUndefined();
  });
});

test("a rewind that is made again takes away nothing more, and with the last sequence nothing that was added since", async () => {
  const sessionId = await sessionOf(4);
  const call = { sessionId, afterMessageId: "m2", expectedLastSequence: 4 };
  expect((await rewind(call)).rewoundMessages).toBe(2);
  expect(await rewind(call)).toMatchObject({ messages: [], rewoundMessages: 0, session: { messageCount: 2 } });
  await service.memory.addMemory({ sessionId, messages: withIds("new") });
  expect(await refusal(rewind(call))).toEqual(sequenceMismatch(sessionId, 4, 5));
  expect(await ids(sessionId)).toEqual(["m1", "m2", "new"]);
  expect((await rewind({ sessionId, afterMessageId: "m2" })).messages).toMatchObject([{ messageId: "new" }]);
});

test("of what is too large for an answer of 4 MiB the oldest messages come, and all of it is gone", async () => {
  const sessionId = newId();
  const metadata = { pad: Array.from({ length: 32_000 }, () => 1) };
  await service.sessions.createSession({ sessionId, metadata });
  const content = "x".repeat(1024 * 1024);
  const payload = Buffer.alloc(1024 * 1024, 7);
  for (let n = 0; n < 12; n += 3) {
    const messages = [n, n + 1, n + 2].map((n) => ({ messageId: `m${n}`, content, ...(n === 0 && { payload }) }));
    await service.memory.addMemory({ sessionId, messages });
  }
  const answer = await rewind({ sessionId, afterSequence: 0 });
  expect(answer.messages.map(({ messageId }) => messageId)).toEqual(["m0", "m1"]);
  expect(answer).toMatchObject({ rewoundMessages: 12, truncated: true, session: { messageCount: 0 } });
  expect(RewindMemoryResponse.encode(answer).finish().length).toBeLessThanOrEqual(4 * 1024 * 1024);
  expect(await ids(sessionId)).toEqual([]);
});
