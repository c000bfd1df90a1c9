import { afterAll, beforeAll, expect, test } from "vitest";
import { ListMessagesResponse } from "../../gen/sessions/v1/memory_service.js";
import { invalid, newId, refusal, texts, withIds } from "../support/contract.js";
import { startService, type TestService } from "../support/service.js";

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.stop());

const idsOf = (chunks: ListMessagesResponse[]) =>
  chunks.flatMap(({ messages }) => messages.map(({ messageId }) => messageId));

async function sessionOf(...ids: string[]): Promise<string> {
  const sessionId = newId();
  await service.memory.addMemory({ sessionId, messages: withIds(...ids) });
  return sessionId;
}

const FIVE = ["m1", "m2", "m3", "m4", "m5"];

test("all messages come in order, or in the reverse", async () => {
  const sessionId = await sessionOf("m1", "m2");
  await service.memory.addMemory({ sessionId, messages: withIds("m3", "m4", "m5") });
  const chunks = await service.memory.listMessages({ sessionId });
  expect(idsOf(chunks)).toEqual(FIVE);
  expect(chunks).toHaveLength(1);
  expect(chunks[0]?.nextCursor).toBe("");
  expect(idsOf(await service.memory.listMessages({ sessionId, descending: true }))).toEqual([...FIVE].reverse());
});

test("a missing, deleted, empty or cleared session has no chunk", async () => {
  const [empty, deleted, cleared] = [newId(), await sessionOf("m1"), await sessionOf("m1")];
  await service.sessions.createSession({ sessionId: empty });
  await service.sessions.deleteSession({ sessionId: deleted });
  await service.memory.clearMemory({ sessionId: cleared });
  for (const sessionId of [newId(), empty, deleted, cleared]) {
    expect(await service.memory.listMessages({ sessionId })).toEqual([]);
  }
});

test("a listing goes past the summary and the window", async () => {
  const sessionId = newId();
  await service.memory.addMemory({
    sessionId,
    messages: Array.from({ length: 101 }, (_, n) => ({ messageId: `${n}` })),
  });
  await service.memory.setSummary({ sessionId, content: "s", recentMessageId: "90" });
  const chunks = await service.memory.listMessages({ sessionId });
  expect(chunks.map(({ messages }) => messages.length)).toEqual([100, 1]);
});

test("chunks hold chunk_size messages, and only the last one of a complete listing has no cursor", async () => {
  const sessionId = await sessionOf(...FIVE);
  for (const descending of [false, true]) {
    for (const [chunkSize, sizes] of [
      [1, [1, 1, 1, 1, 1]],
      [2, [2, 2, 1]],
      [5, [5]],
      [1_000_000, [5]],
    ] as const) {
      const chunks = await service.memory.listMessages({ sessionId, chunkSize, descending });
      expect(idsOf(chunks)).toEqual(descending ? [...FIVE].reverse() : FIVE);
      expect(chunks.map(({ messages }) => messages.length)).toEqual(sizes);
      expect(chunks.map(({ nextCursor }) => nextCursor === "")).toEqual(sizes.map((_, n) => n === sizes.length - 1));
    }
  }
});

test("a chunk_size above 1000 counts as 1000", async () => {
  const sessionId = newId();
  const thousand = Array.from({ length: 1000 }, () => ({ content: "x" }));
  await service.memory.addMemory({ sessionId, messages: thousand });
  await service.memory.addMemory({ sessionId, messages: texts("x") });
  const chunks = await service.memory.listMessages({ sessionId, chunkSize: 1001 });
  expect(chunks.map(({ messages }) => messages.length)).toEqual([1000, 1]);
});

test("a limit ends the listing, with a cursor unless nothing is left", async () => {
  const sessionId = await sessionOf(...FIVE);
  for (const limit of [1, 4]) {
    const chunks = await service.memory.listMessages({ sessionId, limit, chunkSize: 2 });
    expect(idsOf(chunks)).toEqual(FIVE.slice(0, limit));
    expect(chunks.at(-1)?.nextCursor).not.toBe("");
  }
  for (const limit of [5, 6, 2_147_483_647]) {
    const chunks = await service.memory.listMessages({ sessionId, limit, chunkSize: 2 });
    expect(idsOf(chunks)).toEqual(FIVE);
    expect(chunks.at(-1)?.nextCursor).toBe("");
  }
});

test("every chunk's cursor resumes after its last message, both ways, with any limit and chunk size", async () => {
  const sessionId = await sessionOf(...FIVE);
  for (const descending of [false, true]) {
    const all = idsOf(await service.memory.listMessages({ sessionId, descending }));
    const chunks = await service.memory.listMessages({ sessionId, descending, chunkSize: 1 });
    for (const [index, { nextCursor: cursor }] of chunks.entries()) {
      if (cursor === "") continue;
      const rest = await service.memory.listMessages({ sessionId, descending, cursor, chunkSize: 3 });
      expect(idsOf(rest)).toEqual(all.slice(index + 1));
      const one = await service.memory.listMessages({ sessionId, descending, cursor, limit: 1 });
      expect(idsOf(one)).toEqual(all.slice(index + 1, index + 2));
    }
  }
});

test("a cursor goes on over what was deleted and finds what was added since", async () => {
  const sessionId = await sessionOf(...FIVE);
  const [page] = await service.memory.listMessages({ sessionId, limit: 2 });
  for (const messageId of ["m2", "m3"]) await service.memory.deleteMessage({ sessionId, messageId });
  await service.memory.addMemory({ sessionId, messages: withIds("m6") });
  expect(idsOf(await service.memory.listMessages({ sessionId, cursor: page?.nextCursor }))).toEqual(["m4", "m5", "m6"]);
});

test("a cursor shows nothing of a memory that was cleared since", async () => {
  const sessionId = await sessionOf(...FIVE);
  const [page] = await service.memory.listMessages({ sessionId, limit: 2 });
  await service.memory.clearMemory({ sessionId });
  expect(await service.memory.listMessages({ sessionId, cursor: page?.nextCursor })).toEqual([]);
  await service.memory.addMemory({ sessionId, messages: withIds("new") });
  expect(idsOf(await service.memory.listMessages({ sessionId, cursor: page?.nextCursor }))).toEqual(["new"]);
});

const KIB = 1024;
const bytesOf = (chunks: ListMessagesResponse[]) =>
  chunks.map((chunk) => ListMessagesResponse.encode(chunk).finish().length);

test("chunks are about 256 KiB at most, unless one message alone is larger", async () => {
  const sessionId = newId();
  const sizes = [100, 100, 100, 600, 100, 100];
  await service.memory.addMemory({ sessionId, messages: sizes.map((size) => ({ content: "x".repeat(size * KIB) })) });
  const chunks = await service.memory.listMessages({ sessionId, chunkSize: 1000 });
  expect(chunks.map(({ messages }) => messages.length)).toEqual([2, 1, 1, 2]);
  expect(chunks.map(({ nextCursor }) => nextCursor === "")).toEqual([false, false, false, true]);
});

test("chunks are counted in bytes, not in characters", async () => {
  const sessionId = newId();
  await service.memory.addMemory({
    sessionId,
    messages: Array.from({ length: 8 }, () => ({ content: "漢".repeat(20 * KIB) })),
  });
  const chunks = await service.memory.listMessages({ sessionId, chunkSize: 1000 });
  expect(Math.max(...bytesOf(chunks))).toBeLessThan(300 * KIB);
});

test("payload, metadata, ids and roles count towards a chunk's bytes as content does", async () => {
  const long = "x".repeat(250);
  const thousand = (message: object) =>
    Array.from({ length: 1000 }, (_, n) => ({ ...message, messageId: `${n}-${newId()}`.padEnd(250, "x") }));
  for (const message of [
    { role: long, payloadType: long },
    { metadata: { a: long } },
    { payload: Buffer.alloc(400) },
  ]) {
    const sessionId = newId().padEnd(250, "x");
    await service.memory.addMemory({ sessionId, messages: thousand(message) });
    const chunks = await service.memory.listMessages({ sessionId, chunkSize: 1000 });
    expect(Math.max(...bytesOf(chunks))).toBeLessThan(300 * KIB);
  }
});

test("all that is wrong with a listing is named at once", async () => {
  const call = service.memory.listMessages({ sessionId: "", limit: -1, chunkSize: -1 });
  expect(await refusal(call)).toEqual(invalid("session_id", "limit", "chunk_size"));
});
