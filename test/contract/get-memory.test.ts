import { afterAll, beforeAll, expect, test } from "vitest";
import { invalid, newId, refusal, texts, withIds } from "../support/contract.js";
import { startService, type TestService } from "../support/service.js";

const WINDOW = 4;

let service: TestService;
beforeAll(async () => {
  service = await startService({ memoryWindow: WINDOW });
});
afterAll(() => service.stop());

const NOTHING = { messages: [], summary: undefined, session: undefined, truncated: false, tokenCount: 0 };

async function sessionOf(...ids: string[]): Promise<string> {
  const sessionId = newId();
  await service.memory.addMemory({ sessionId, messages: withIds(...ids) });
  return sessionId;
}

const ids = async (sessionId: string, lastN = 0) =>
  (await service.memory.getMemory({ sessionId, lastN })).messages.map(({ messageId }) => messageId);

test("last_n returns the newest n, oldest first, with the session", async () => {
  const sessionId = await sessionOf("m1", "m2", "m3", "m4", "m5", "m6");
  expect(await ids(sessionId, 1)).toEqual(["m6"]);
  expect(await ids(sessionId, 3)).toEqual(["m4", "m5", "m6"]);
  expect(await ids(sessionId, 6)).toEqual(["m1", "m2", "m3", "m4", "m5", "m6"]);
  expect(await ids(sessionId, 7)).toEqual(["m1", "m2", "m3", "m4", "m5", "m6"]);
  const { session, summary } = await service.memory.getMemory({ sessionId, lastN: 1 });
  expect(session).toEqual((await service.sessions.getSession({ sessionId })).session);
  expect(summary).toBeUndefined();
});

test("without last_n the newest messages of the window come", async () => {
  const sessionId = await sessionOf("m1", "m2");
  expect(await ids(sessionId)).toEqual(["m1", "m2"]);
  await service.memory.addMemory({ sessionId, messages: withIds("m3", "m4", "m5") });
  expect(await ids(sessionId)).toEqual(["m2", "m3", "m4", "m5"]);
});

test("without last_n only what follows the summary comes, of that at most the window, the newest", async () => {
  const sessionId = await sessionOf("m1", "m2", "m3");
  const { summary } = await service.memory.setSummary({ sessionId, content: "so far", recentMessageId: "m2" });
  expect(await ids(sessionId)).toEqual(["m3"]);
  expect((await service.memory.getMemory({ sessionId })).summary).toEqual(summary);
  await service.memory.addMemory({ sessionId, messages: withIds("m4", "m5", "m6", "m7") });
  expect(await ids(sessionId)).toEqual(["m4", "m5", "m6", "m7"]);
});

test("a summary of all messages leaves none to return", async () => {
  const sessionId = await sessionOf("m1", "m2");
  const { summary } = await service.memory.setSummary({ sessionId, content: "all", recentMessageId: "m2" });
  const memory = await service.memory.getMemory({ sessionId });
  expect(memory).toMatchObject({ messages: [], summary, session: { messageCount: 2 } });
});

test("last_n does not stop at the summary, which comes too", async () => {
  const sessionId = await sessionOf("m1", "m2", "m3");
  const { summary } = await service.memory.setSummary({ sessionId, content: "so far", recentMessageId: "m2" });
  expect(await ids(sessionId, 3)).toEqual(["m1", "m2", "m3"]);
  expect((await service.memory.getMemory({ sessionId, lastN: 3 })).summary).toEqual(summary);
});

test("a deleted message is in no window, and the next older one takes its place", async () => {
  const sessionId = await sessionOf("m1", "m2", "m3", "m4", "m5");
  await service.memory.deleteMessage({ sessionId, messageId: "m4" });
  expect(await ids(sessionId)).toEqual(["m1", "m2", "m3", "m5"]);
  expect(await ids(sessionId, 2)).toEqual(["m3", "m5"]);
});

test("what follows the summary stays the same when the message that it reaches to is deleted", async () => {
  const sessionId = await sessionOf("m1", "m2", "m3");
  await service.memory.setSummary({ sessionId, content: "so far", recentMessageId: "m2" });
  await service.memory.deleteMessage({ sessionId, messageId: "m2" });
  expect(await ids(sessionId)).toEqual(["m3"]);
});

test("a session without memory has its session and nothing else", async () => {
  const sessionId = newId();
  const { session } = await service.sessions.createSession({ sessionId });
  for (const lastN of [0, 5]) {
    expect(await service.memory.getMemory({ sessionId, lastN })).toEqual({ ...NOTHING, session });
  }
});

test("a missing or deleted session has an empty memory, and nothing is set", async () => {
  const deleted = await sessionOf("m1");
  await service.sessions.deleteSession({ sessionId: deleted });
  for (const sessionId of [newId(), deleted]) {
    for (const lastN of [0, 5]) expect(await service.memory.getMemory({ sessionId, lastN })).toEqual(NOTHING);
  }
});

test("a cleared session has neither messages nor summary", async () => {
  const sessionId = await sessionOf("m1", "m2");
  await service.memory.setSummary({ sessionId, content: "s", recentMessageId: "m1" });
  const { session } = await service.memory.clearMemory({ sessionId });
  expect(await service.memory.getMemory({ sessionId })).toEqual({ ...NOTHING, session });
});

test("more than 1000 counts as 1000", async () => {
  const sessionId = newId();
  await service.memory.addMemory({ sessionId, messages: texts("oldest") });
  await service.memory.addMemory({ sessionId, messages: Array.from({ length: 1000 }, () => ({ content: "x" })) });
  for (const lastN of [1000, 1001, 2_147_483_647]) {
    const { messages } = await service.memory.getMemory({ sessionId, lastN });
    expect(messages).toHaveLength(1000);
    expect(messages[0]?.content).toBe("x");
  }
});

test("a negative last_n and a blank id are refused, both at once", async () => {
  expect(await refusal(service.memory.getMemory({ sessionId: newId(), lastN: -1 }))).toEqual(invalid("last_n"));
  expect(await refusal(service.memory.getMemory({ sessionId: " ", lastN: -5 }))).toEqual(
    invalid("session_id", "last_n"),
  );
});
