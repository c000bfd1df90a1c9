import { Client, credentials } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { GetMemoryRequest, GetMemoryResponse, MemoryServiceService } from "../../gen/sessions/v1/memory_service.js";
import { BatchGetSessionsResponse } from "../../gen/sessions/v1/session_service.js";
import { invalid, newId, refusal } from "../support/contract.js";
import { CACHE_BYTES, startService, type TestService } from "../support/service.js";

/** Answers that would be larger than a client takes. */

const KIB = 1024;
const MIB = 1024 * KIB;
const USUAL_BYTES = 4 * MIB;

const bytesOf = (answer: GetMemoryResponse): number => GetMemoryResponse.encode(answer).finish().length;

/** What GetMemory has to answer, of all that was asked for: the newest that fit, with the mark that some do not. */
function expected(whole: GetMemoryResponse, maxBytes: number): GetMemoryResponse {
  for (let first = 0; ; first++) {
    const answer = newestOf(whole, first);
    if (bytesOf(answer) <= maxBytes || first === whole.messages.length) return { ...answer, truncated: first > 0 };
  }
}

/** The answer without so many of the oldest messages. */
function newestOf(whole: GetMemoryResponse, first: number): GetMemoryResponse {
  const messages = whole.messages.slice(first);
  const texts = [...messages, ...(whole.summary ? [whole.summary] : [])];
  const tokenCount = texts.reduce((sum, { content }) => sum + Math.ceil(content.length / 4), 0);
  return { ...whole, messages, truncated: true, tokenCount };
}

describe.each([
  ["with what it keeps in its memory", CACHE_BYTES],
  ["with nothing kept", 0],
])("GetMemory, %s", (_what, cacheBytes) => {
  let service: TestService;
  let elsewhere: TestService;
  beforeAll(async () => {
    service = await startService({ cacheBytes });
    elsewhere = await startService({ cacheBytes, databaseName: service.database.db.databaseName });
  });
  afterAll(async () => {
    await elsewhere.stop();
    await service.stop();
  });

  const add = (sessionId: string, sizes: readonly number[], at = service) =>
    at.memory.addMemory({ sessionId, messages: sizes.map((size) => ({ content: "x".repeat(size) })) });
  const get = (sessionId: string, maxBytes: number, lastN = 1000) =>
    service.memory.getMemory({ sessionId, lastN, maxBytes });

  test("the newest messages come that fit into max_bytes, no more and no fewer, whatever else is in the answer", async () => {
    const sessionId = newId();
    await service.sessions.createSession({ sessionId, metadata: { pad: "m".repeat(3_000) } });
    const { messages } = await add(sessionId, [500, 9_000, 10, 0, 4_000, 300, 300, 300, 20_000, 100]);
    const check = async (): Promise<void> => {
      const whole = await get(sessionId, MIB);
      expect(whole.truncated).toBe(false);
      const sizes = [
        3_100,
        4_000,
        5_000,
        24_000,
        25_000,
        26_000,
        30_000,
        39_000,
        bytesOf(whole) - 1,
        bytesOf(whole) + 2,
        ...whole.messages.flatMap((_, first) => [0, -1].map((more) => bytesOf(newestOf(whole, first)) + more)),
      ];
      for (const maxBytes of sizes)
        expect(await get(sessionId, maxBytes), `${maxBytes}`).toEqual(expected(whole, maxBytes));
    };
    await check();
    await service.memory.setSummary({
      sessionId,
      content: "s".repeat(2_000),
      recentMessageId: messages[1]?.messageId as string,
    });
    await check();
    await service.memory.deleteMessage({ sessionId, messageId: messages[4]?.messageId as string });
    await check();
    await add(sessionId, [1_000, 2_000], elsewhere);
    await check();
  });

  test("only what was asked for counts as left out", async () => {
    const sessionId = newId();
    await add(sessionId, [10_000, 10, 10]);
    expect(await get(sessionId, 2_000, 2)).toMatchObject({ messages: [{}, {}], truncated: false });
    expect(await get(sessionId, 2_000, 3)).toMatchObject({ messages: [{}, {}], truncated: true });
  });

  test("where not even the newest message fits, none comes, and the session all the same", async () => {
    const sessionId = newId();
    await add(sessionId, [10, 5_000]);
    for (const maxBytes of [1, 3_000]) {
      expect(await get(sessionId, maxBytes)).toMatchObject({ messages: [], session: { sessionId }, truncated: true });
    }
    expect(await get(newId(), 1)).toEqual({
      messages: [],
      session: undefined,
      summary: undefined,
      truncated: false,
      tokenCount: 0,
    });
  });

  test("without max_bytes a client takes the answer that has been told nothing of sizes", async () => {
    const sessionId = newId();
    await add(
      sessionId,
      Array.from({ length: 7 }, () => MIB),
    );
    const client = new Client(service.address, credentials.createInsecure());
    const { path, requestSerialize, responseDeserialize } = MemoryServiceService.getMemory;
    const request = GetMemoryRequest.fromPartial({ sessionId });
    const answer = await new Promise<GetMemoryResponse>((resolve, reject) => {
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, (error, response) =>
        error ? reject(error) : resolve(response as GetMemoryResponse),
      );
    }).finally(() => client.close());
    expect(answer).toMatchObject({ session: { messageCount: 7 }, truncated: true });
    expect(answer.messages.map(({ sequence }) => sequence)).toEqual([5, 6, 7]);
  });

  test("what comes out of the database in many pieces is whole, up to 64 MiB however much is asked for", async () => {
    const sessionId = newId();
    for (let n = 0; n < 10; n++)
      await add(
        sessionId,
        Array.from({ length: 7 }, () => MIB),
      );
    const sequences = Array.from({ length: 70 }, (_, index) => index + 1);
    const read = async (maxBytes: number) => {
      const answer = await get(sessionId, maxBytes);
      return { truncated: answer.truncated, sequences: answer.messages.map(({ sequence }) => sequence) };
    };
    expect(await read(0)).toEqual({ truncated: true, sequences: sequences.slice(-3) });
    expect(await read(40 * MIB)).toEqual({ truncated: true, sequences: sequences.slice(-39) });
    expect(await read(2 ** 31 - 1)).toEqual({ truncated: true, sequences: sequences.slice(-63) });
    expect((await get(sessionId, 2 ** 31 - 1, 30)).messages).toHaveLength(30);
  });

  test("a negative max_bytes is refused", async () => {
    expect(await refusal(get(newId(), -1))).toEqual(invalid("max_bytes"));
  });
});

describe("BatchGetSessions", () => {
  let service: TestService;
  beforeAll(async () => {
    service = await startService();
  });
  afterAll(() => service.stop());

  test("answers the first that fit into 4 MiB, and names the others, until all have been read", async () => {
    const ids = Array.from({ length: 96 }, (_, index) => `large-${index}`);
    const missing = ["none-1", "none-2"];
    for (const sessionId of ids) {
      await service.sessions.createSession({ sessionId, metadata: { pad: "m".repeat(60 * KIB) } });
    }
    // One that is small has no place before those that were asked for earlier.
    await service.sessions.createSession({ sessionId: "small" });
    const all = ["none-1", ...ids, "none-2", "small"];
    const first = await service.sessions.batchGetSessions({ sessionIds: all });
    const count = first.sessions.length;
    expect(first.sessions.map(({ sessionId }) => sessionId)).toEqual(ids.slice(0, count));
    expect(first.unreadSessionIds).toEqual([...ids.slice(count), "small"]);
    expect(first.missingSessionIds).toEqual(missing);
    const size = BatchGetSessionsResponse.encode(first).finish().length;
    expect(size).toBeLessThanOrEqual(USUAL_BYTES);
    expect(size).toBeGreaterThan(USUAL_BYTES - 62 * KIB);

    const second = await service.sessions.batchGetSessions({ sessionIds: first.unreadSessionIds });
    expect([...first.sessions, ...second.sessions].map(({ sessionId }) => sessionId)).toEqual([...ids, "small"]);
    expect(second).toMatchObject({ missingSessionIds: [], unreadSessionIds: [] });
  });
});
