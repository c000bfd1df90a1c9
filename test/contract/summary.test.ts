import { afterAll, beforeAll, expect, test } from "vitest";
import {
  invalid,
  messageNotFound,
  messageNotUsable,
  millis,
  newId,
  refusal,
  sessionNotFound,
  summarySuperseded,
  withIds,
} from "../support/contract.js";
import { startService, type TestService } from "../support/service.js";

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.stop());

async function sessionOf(...ids: string[]): Promise<string> {
  const sessionId = newId();
  await service.memory.addMemory({ sessionId, messages: withIds(...ids) });
  return sessionId;
}

const summaryOf = async (sessionId: string) => (await service.memory.getMemory({ sessionId })).summary;

test("a summary is answered and read as it was set", async () => {
  const sessionId = await sessionOf("m1", "m2");
  const before = Date.now();
  const { summary } = await service.memory.setSummary({
    sessionId,
    content: "short",
    recentMessageId: "m2",
    metadata: { model: null, "a.b": 1 },
    tokenCount: 5,
  });
  expect(summary).toMatchObject({
    content: "short",
    recentMessageId: "m2",
    metadata: { model: null, "a.b": 1 },
    tokenCount: 5,
  });
  expect(millis(summary?.createTime)).toBeGreaterThan(before - 1000);
  expect(await summaryOf(sessionId)).toEqual(summary);
});

test("the latest summary counts, of those that reach as far or further", async () => {
  const sessionId = await sessionOf("m1", "m2", "m3");
  await service.memory.setSummary({ sessionId, content: "first", recentMessageId: "m1", metadata: { a: 1 } });
  for (const [recentMessageId, left] of [
    ["m1", ["m2", "m3"]],
    ["m2", ["m3"]],
    ["m3", []],
  ] as const) {
    const { summary } = await service.memory.setSummary({
      sessionId,
      content: `to ${recentMessageId}`,
      recentMessageId,
    });
    expect(summary).toMatchObject({ content: `to ${recentMessageId}`, metadata: {}, tokenCount: 0 });
    const memory = await service.memory.getMemory({ sessionId });
    expect(memory.summary).toEqual(summary);
    expect(memory.messages.map(({ messageId }) => messageId)).toEqual(left);
  }
});

test("a summary that reaches less far than the one that is there comes too late, and changes nothing", async () => {
  const sessionId = await sessionOf("m1", "m2", "m3");
  const { summary } = await service.memory.setSummary({ sessionId, content: "all", recentMessageId: "m3" });
  const late = { sessionId, content: "late", recentMessageId: "m2" };
  expect(await refusal(service.memory.setSummary(late))).toEqual(summarySuperseded(sessionId, "m2", "m3"));
  expect(await summaryOf(sessionId)).toEqual(summary);
  // Also when what the stored one reaches to has been deleted since.
  await service.memory.deleteMessage({ sessionId, messageId: "m3" });
  expect(await refusal(service.memory.setSummary(late))).toEqual(summarySuperseded(sessionId, "m2", "m3"));
  // After the memory was cleared there is none that it could reach less far than.
  await service.memory.clearMemory({ sessionId });
  await service.memory.addMemory({ sessionId, messages: withIds("m2") });
  expect((await service.memory.setSummary(late)).summary?.content).toBe("late");
});

test("of summaries that are set at once the one that reaches furthest stays", async () => {
  const ids = Array.from({ length: 12 }, (_, n) => `m${n}`);
  const sessionId = await sessionOf(...ids);
  const mixed = ids.map((_, n) => ids[(n * 7) % ids.length] as string);
  const outcomes = await Promise.allSettled(
    mixed.map((recentMessageId) => service.memory.setSummary({ sessionId, content: recentMessageId, recentMessageId })),
  );
  expect((await summaryOf(sessionId))?.content).toBe("m11");
  expect(outcomes[mixed.indexOf("m11")]?.status).toBe("fulfilled");
});

test("a summary does not touch the session", async () => {
  const sessionId = await sessionOf("m1");
  const before = await service.sessions.getSession({ sessionId });
  await service.memory.setSummary({ sessionId, content: "s", recentMessageId: "m1" });
  expect(await service.sessions.getSession({ sessionId })).toEqual(before);
});

test("a summary of an unknown, deleted or cleared message is refused, and the one before stays", async () => {
  const sessionId = await sessionOf("cleared");
  await service.memory.clearMemory({ sessionId });
  await service.memory.addMemory({ sessionId, messages: withIds("m1", "deleted") });
  await service.memory.deleteMessage({ sessionId, messageId: "deleted" });
  const { summary } = await service.memory.setSummary({ sessionId, content: "good", recentMessageId: "m1" });
  for (const recentMessageId of ["unknown", "deleted", "cleared"]) {
    const call = service.memory.setSummary({ sessionId, content: "bad", recentMessageId });
    expect(await refusal(call)).toEqual(messageNotUsable(sessionId, recentMessageId));
  }
  expect(await summaryOf(sessionId)).toEqual(summary);
});

test("a summary cannot reach to a message of another session", async () => {
  const [one, other] = [await sessionOf("m1"), await sessionOf("m2")];
  const call = service.memory.setSummary({ sessionId: one, content: "s", recentMessageId: "m2" });
  expect(await refusal(call)).toEqual(messageNotUsable(one, "m2"));
  expect(await summaryOf(other)).toBeUndefined();
});

test("a summary of a missing or deleted session is not found", async () => {
  const deleted = await sessionOf("m1");
  await service.sessions.deleteSession({ sessionId: deleted });
  for (const sessionId of [deleted, newId()]) {
    const call = service.memory.setSummary({ sessionId, content: "s", recentMessageId: "m1" });
    expect(await refusal(call)).toEqual(sessionNotFound(sessionId));
  }
});

test("a summary is not a message", async () => {
  const sessionId = await sessionOf("m1");
  await service.memory.setSummary({ sessionId, content: "s", recentMessageId: "m1" });
  expect((await service.sessions.getSession({ sessionId })).session?.messageCount).toBe(1);
  expect(await refusal(service.memory.getMessage({ sessionId, messageId: "s" }))).toEqual(
    messageNotFound(sessionId, "s"),
  );
});

test("all that is wrong with a summary is named at once", async () => {
  const call = service.memory.setSummary({
    sessionId: "",
    content: "x".repeat(1024 * 1024 + 1),
    recentMessageId: "",
    metadata: { a: Number.NaN },
    tokenCount: -1,
  });
  expect(await refusal(call)).toEqual(invalid("session_id", "content", "recent_message_id", "metadata", "token_count"));
});
