import { afterAll, beforeAll, expect, test } from "vitest";
import {
  messageConflict,
  newId,
  refusal,
  sequenceMismatch,
  texts,
  userNotUsable,
  withIds,
} from "../support/contract.js";
import { startService, type TestService } from "../support/service.js";

/** AddMemory of a whole transcript: what is there already, and then what is new. */

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.stop());

const contents = async (sessionId: string) =>
  (await service.memory.getMemory({ sessionId, lastN: 1000 })).messages.map(({ content }) => content);
const stored = async (sessionId: string) => (await service.sessions.getSession({ sessionId })).session;
const add = (sessionId: string, ...ids: string[]) => service.memory.addMemory({ sessionId, messages: withIds(...ids) });

test("a transcript that grows adds what is new each time, and answers for all", async () => {
  const sessionId = newId();
  const first = await add(sessionId, "m1", "m2");
  const second = await add(sessionId, "m1", "m2", "m3");
  expect(second.messages.slice(0, 2)).toEqual(first.messages);
  expect(second.messages).toHaveLength(3);
  const third = await add(sessionId, "m1", "m2", "m3", "m4", "m5");
  expect(third.messages.slice(0, 3)).toEqual(second.messages);
  const sequences = third.messages.map(({ sequence }) => sequence);
  expect(sequences).toEqual(sequences.toSorted((a, b) => a - b));
  expect(await contents(sessionId)).toEqual(["m1", "m2", "m3", "m4", "m5"]);
  expect(await stored(sessionId)).toMatchObject({
    messageCount: 5,
    lastMessageTime: third.messages.at(-1)?.createTime,
  });
});

test("each call answers the same again, whatever others have added since", async () => {
  const sessionId = newId();
  const ids = ["m1", "m2", "m3"];
  const answers = [];
  for (const count of [1, 2, 3]) answers.push(await add(sessionId, ...ids.slice(0, count)));
  expect(answers.map(({ sessionCreated }) => sessionCreated)).toEqual([true, false, false]);
  await service.memory.addMemory({ sessionId, messages: texts("later") });
  for (const count of [3, 1, 2]) expect(await add(sessionId, ...ids.slice(0, count))).toEqual(answers[count - 1]);
  expect(await contents(sessionId)).toEqual(["m1", "m2", "m3", "later"]);
});

test("what the caller does not know of may lie between, and what is deleted stays deleted", async () => {
  const sessionId = newId();
  await add(sessionId, "m1", "m2");
  await service.memory.addMemory({ sessionId, messages: texts("of another") });
  await service.memory.deleteMessage({ sessionId, messageId: "m1" });
  const grown = await add(sessionId, "m1", "m2", "m3");
  expect(grown.messages.map(({ sequence }) => sequence)).toEqual([1, 2, 4]);
  expect(await add(sessionId, "m1", "m2", "m3")).toEqual(grown);
  expect(await contents(sessionId)).toEqual(["m2", "of another", "m3"]);
  expect(await stored(sessionId)).toMatchObject({ messageCount: 3 });
  // It need not begin with the first, nor name all of its own.
  expect((await add(sessionId, "m2", "m4")).messages.map(({ sequence }) => sequence)).toEqual([2, 5]);
  expect((await add(sessionId, "m1", "m4")).messages.map(({ sequence }) => sequence)).toEqual([1, 5]);
});

test.each<[what: string, ids: string[], conflict: string]>([
  ["another order", ["m2", "m1"], "m1"],
  ["another order, and a new one", ["m2", "m1", "m4"], "m1"],
  ["a new one before", ["m0", "m1", "m2", "m3"], "m1"],
  ["a new one between", ["m1", "m0", "m2"], "m2"],
  ["a new one between, and one behind", ["m1", "m0", "m2", "m3", "m4"], "m2"],
])("%s is a conflict, and nothing is added", async (_what, ids, conflict) => {
  const sessionId = newId();
  await add(sessionId, "m1", "m2", "m3");
  const before = await stored(sessionId);
  const call = service.memory.addMemory({ sessionId, messages: withIds(...ids), mergeSessionMetadata: { a: 1 } });
  expect(await refusal(call)).toEqual(messageConflict(sessionId, conflict));
  expect(await stored(sessionId)).toEqual(before);
  expect(await contents(sessionId)).toEqual(["m1", "m2", "m3"]);
});

test("what is there with other content is a conflict, and nothing of the call is added", async () => {
  const sessionId = newId();
  await add(sessionId, "m1", "m2");
  const messages = [...withIds("m1"), { messageId: "m2", content: "other" }, ...withIds("m3")];
  expect(await refusal(service.memory.addMemory({ sessionId, messages }))).toEqual(messageConflict(sessionId, "m2"));
  expect(await contents(sessionId)).toEqual(["m1", "m2"]);
});

test("the expectation counts for what is new, and not for a repetition", async () => {
  const sessionId = newId();
  await add(sessionId, "m1", "m2");
  const grow = (expectedLastSequence: number) =>
    service.memory.addMemory({ sessionId, messages: withIds("m1", "m2", "m3"), expectedLastSequence });
  for (const wrong of [0, 1, 3]) expect(await refusal(grow(wrong))).toEqual(sequenceMismatch(sessionId, wrong, 2));
  const grown = await grow(2);
  for (const any of [2, 3, 9]) expect(await grow(any)).toEqual(grown);
  expect(await contents(sessionId)).toEqual(["m1", "m2", "m3"]);
});

test("of a deleted session nothing is there: all of the transcript is new", async () => {
  const sessionId = newId();
  await add(sessionId, "m1", "m2");
  await service.sessions.deleteSession({ sessionId });
  const revived = await add(sessionId, "m1", "m2", "m3");
  expect(revived).toMatchObject({ sessionCreated: false, sessionUndeleted: true });
  expect(await add(sessionId, "m1", "m2", "m3")).toEqual(revived);
  const grown = await add(sessionId, "m1", "m2", "m3", "m4");
  expect(grown).toMatchObject({ sessionUndeleted: false });
  expect(await add(sessionId, "m1", "m2", "m3", "m4")).toEqual(grown);
  expect(await contents(sessionId)).toEqual(["m1", "m2", "m3", "m4"]);

  await service.memory.clearMemory({ sessionId });
  expect((await add(sessionId, "m1", "m2")).messages.map(({ sequence }) => sequence)).toEqual([7, 8]);
  const userId = newId("user");
  await service.users.createUser({ userId });
  await service.sessions.updateSession({ sessionId, userId });
  await service.users.deleteUser({ userId });
  expect(await refusal(add(sessionId, "m1", "m2", "m3"))).toEqual(userNotUsable(userId));
});

test("messages without an id are known by the first id of their call and their place in it", async () => {
  const sessionId = newId();
  const messages = [...withIds("m1"), ...texts("a", "b")];
  const first = await service.memory.addMemory({ sessionId, messages });
  const grown = await service.memory.addMemory({ sessionId, messages: [...messages, ...texts("c"), ...withIds("m2")] });
  expect(grown.messages.slice(0, 3)).toEqual(first.messages);
  expect(await contents(sessionId)).toEqual(["m1", "a", "b", "c", "m2"]);
});

test("transcripts that grow at once add each message once, in an order that suits each of them", async () => {
  const sessionId = newId();
  const ids = Array.from({ length: 12 }, (_, index) => `m${index}`);
  const answers = await Promise.all(ids.map((_, index) => add(sessionId, ...ids.slice(0, index + 1))));
  expect(await contents(sessionId)).toEqual(ids);
  for (const [index, { messages }] of answers.entries()) {
    expect(messages.map(({ messageId }) => messageId)).toEqual(ids.slice(0, index + 1));
    expect(messages.map(({ sequence }) => sequence)).toEqual(ids.slice(0, index + 1).map((_, place) => place + 1));
  }
  expect(answers.filter(({ sessionCreated }) => sessionCreated)).toHaveLength(1);
  expect(await stored(sessionId)).toMatchObject({ messageCount: 12 });
});

test("whoever sends what several calls have brought is not told that it created the session", async () => {
  const sessionId = newId();
  const [first, second] = [{ messageId: "m1" }, { messageId: "m2" }];
  await service.memory.addMemory({ sessionId, messages: [first] });
  await service.memory.addMemory({ sessionId, messages: [second] });
  const { messages, sessionCreated } = await service.memory.addMemory({ sessionId, messages: [first, second] });
  expect({ ids: messages.map(({ messageId }) => messageId), sessionCreated }).toEqual({
    ids: ["m1", "m2"],
    sessionCreated: false,
  });
  expect(await service.memory.addMemory({ sessionId, messages: [first] })).toMatchObject({ sessionCreated: true });
});
