import { afterAll, beforeAll, expect, test } from "vitest";
import { newId } from "../support/contract.js";
import { eventually } from "../support/eventually.js";
import { type ObservedService, startObservedService } from "../support/observed-service.js";

/** So many that copying them at once would hold up everything else for long. */
const MESSAGES = 20_000;

let service: ObservedService;
const long = newId("long");
beforeAll(async () => {
  service = await startObservedService();
  for (let from = 0; from < MESSAGES; from += 1_000) {
    const messages = Array.from({ length: 1_000 }, (_, n) => ({ content: `one of many ${from + n}` }));
    await service.memory.addMemory({ sessionId: long, messages });
  }
});
afterAll(async () => {
  await service.database.db.dropDatabase();
  await service.stop();
});

/** Forks the long session, and resolves when some of it is copied. */
async function longForkBegins(ended: string[]) {
  const newSessionId = newId("fork");
  const done = service.sessions.forkSession({ sessionId: long, newSessionId }).then(({ session }) => {
    ended.push("long fork");
    return session;
  });
  await eventually("some of it is copied", async () => {
    const fork = await service.database.forks.findOne({ session: `default/${newSessionId}` });
    return fork !== null && fork.messageCount > 0;
  });
  return { newSessionId, done };
}

test("others are answered while a long memory is forked, one after the other", async () => {
  const ended: string[] = [];
  const { newSessionId, done } = await longForkBegins(ended);
  let calls = 0;
  for (; ended.length === 0; calls++) {
    const sessionId = newId();
    await service.memory.addMemory({ sessionId, messages: [{ content: "short" }] });
    const { messages } = await service.memory.getMemory({ sessionId });
    expect(messages).toHaveLength(1);
  }
  expect(calls).toBeGreaterThan(5);
  expect((await done)?.messageCount).toBe(MESSAGES);
  expect((await service.sessions.getSession({ sessionId: newSessionId })).session?.messageCount).toBe(MESSAGES);
});

test("little is copied at a time, of many messages and of large ones", async () => {
  const large = newId("large");
  for (let n = 0; n < 6; n++) {
    const messages = Array.from({ length: 6 }, () => ({ content: "x".repeat(200_000) }));
    await service.memory.addMemory({ sessionId: large, messages });
  }
  const steps: { messages: number; bytes: number }[] = [];
  service.database.client.on("commandStarted", ({ commandName, command }) => {
    if (commandName !== "insert" || command.insert !== "messages") return;
    const documents = command.documents as { content: string }[];
    steps.push({ messages: documents.length, bytes: documents.reduce((sum, { content }) => sum + content.length, 0) });
  });
  for (const [sessionId, messageCount] of [
    [long, MESSAGES],
    [large, 36],
  ] as const) {
    steps.length = 0;
    expect((await service.sessions.forkSession({ sessionId })).session?.messageCount).toBe(messageCount);
    expect(Math.max(...steps.map(({ messages }) => messages))).toBeLessThanOrEqual(500);
    expect(Math.max(...steps.map(({ bytes }) => bytes))).toBeLessThanOrEqual(512 * 1024);
  }
});

test("a short memory is forked in the midst of a long one, and the long one is added to", async () => {
  const ended: string[] = [];
  const { done } = await longForkBegins(ended);
  const sessionId = newId();
  await service.memory.addMemory({ sessionId, messages: [{ content: "short" }] });
  for (const name of ["short fork", "another"]) {
    expect((await service.sessions.forkSession({ sessionId })).session?.messageCount).toBe(1);
    ended.push(name);
  }
  await service.memory.addMemory({ sessionId: long, messages: [{ content: "more" }] });
  ended.push("added to the source");
  await done;
  expect(ended).toEqual(["short fork", "another", "added to the source", "long fork"]);
});
