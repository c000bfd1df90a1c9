import { afterAll, beforeAll, expect, test } from "vitest";
import { MemoryServiceService, SearchMemoryRequest } from "../../gen/sessions/v1/memory_service.js";
import { newId, refusal } from "../support/contract.js";
import { eventually } from "../support/eventually.js";
import { type ObservedService, startObservedService } from "../support/observed-service.js";

/** What searches cost the database: an index is built once for all who wait for it, kept, and brought up to date by what is new. */
let service: ObservedService;
beforeAll(async () => {
  service = await startObservedService();
});
afterAll(() => service.stop());

const MESSAGES = 5_000;

async function longSession(messages = MESSAGES): Promise<string> {
  const sessionId = newId();
  for (let from = 0; from < messages; from += 1_000) {
    await service.memory.addMemory({
      sessionId,
      messages: Array.from({ length: 1_000 }, (_, n) => ({ messageId: `${from + n}`, content: `boat ${from + n}` })),
    });
  }
  return sessionId;
}

async function documentsReadBy(act: () => Promise<unknown>): Promise<number> {
  const before = await service.documentsReadAtRest();
  await act();
  return (await service.documentsReadAtRest()) - before;
}

const firstOf = async (sessionId: string, text: string) =>
  (await service.memory.searchMemory({ sessionId, text, limit: 1 })).results[0]?.message?.messageId;

test("many who search in one scope at once have it read once", async () => {
  const sessionId = await longSession();
  const wanted = Array.from({ length: 40 }, (_, n) => n * 100);
  let found: (string | undefined)[] = [];
  const read = await documentsReadBy(async () => {
    found = await Promise.all(wanted.map((n) => firstOf(sessionId, `${n}`)));
  });
  expect(found).toEqual(wanted.map(String));
  expect(read).toBeLessThan(MESSAGES + 4 * wanted.length);
});

test("the next search reads the session's state, what is new, and what it answers", async () => {
  const sessionId = await longSession();
  await firstOf(sessionId, "boat");
  await service.memory.addMemory({ sessionId, messages: [{ messageId: "new", content: "a canoe" }] });
  expect(await documentsReadBy(async () => expect(await firstOf(sessionId, "canoe")).toBe("new"))).toBe(3);
  // Of those that may have changed only the states are read, and what did.
  await service.memory.deleteMessage({ sessionId, messageId: "17" });
  const read = await documentsReadBy(async () => expect(await firstOf(sessionId, "18")).toBe("18"));
  expect(read).toBeLessThan(MESSAGES + 10);
});

test("a search that nobody waits for any more stops reading, and the next one goes on from there", async () => {
  const sessionId = await longSession(30_000);
  const before = await service.documentsReadAtRest();
  const { path, requestSerialize, responseDeserialize } = MemoryServiceService.searchMemory;
  const request = SearchMemoryRequest.fromPartial({ sessionId, text: "boat" });
  const call = service.client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, () => {});
  const readSoFar = () => service.reads.reduce((sum, { documents = 0 }) => sum + documents, 0) - before;
  await eventually("it has begun to read", () => readSoFar() > 1_000);
  call.cancel();
  const read = (await service.documentsReadAtRest()) - before;
  expect(read).toBeLessThan(25_000);
  const rest = await documentsReadBy(async () => expect(await firstOf(sessionId, "29999")).toBe("29999"));
  expect(read + rest).toBeLessThan(33_000);
});

test("a scope that is refused for its size leaves others what is kept of theirs", async () => {
  const small = await startObservedService({ searchCacheBytes: 300 * 1024 });
  const [known, large] = [newId(), newId()];
  const words = Array.from({ length: 100 }, (_, n) => n);
  const messages = words.map((n) => ({ content: words.map((m) => `boat${n}x${m}`).join(" ") }));
  await small.memory.addMemory({ sessionId: large, messages });
  await small.memory.addMemory({ sessionId: known, messages: words.map((n) => ({ content: `boat ${n}` })) });
  const search = () => small.memory.searchMemory({ sessionId: known, text: "boat", limit: 1 });
  await search();
  expect(await refusal(small.memory.searchMemory({ sessionId: large, text: "boat" }))).toMatchObject({
    reason: "SCOPE_TOO_LARGE",
  });
  const before = await small.documentsReadAtRest();
  await search();
  // The session and the hit.
  expect((await small.documentsReadAtRest()) - before).toBe(2);
  await small.stop();
});

test("messages with much metadata take no more room than others, and are found by it", async () => {
  const small = await startObservedService({ searchCacheBytes: 300 * 1024 });
  const sessionId = newId();
  const messages = Array.from({ length: 50 }, (_, n) => ({
    messageId: `${n}`,
    content: "boat",
    metadata: Object.fromEntries(Array.from({ length: 1_000 }, (_, m) => [`${n}x${m}`, m])),
  }));
  await small.memory.addMemory({ sessionId, messages });
  const { results } = await small.memory.searchMemory({ sessionId, text: "boat", metadata: { "7x700": 700 } });
  expect(results.map(({ message }) => message?.messageId)).toEqual(["7"]);
  await small.stop();
});
