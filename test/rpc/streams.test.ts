import { once } from "node:events";
import type { ClientReadableStream } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import {
  ListMessagesRequest,
  ListMessagesResponse,
  MemoryServiceService,
} from "../../gen/sessions/v1/memory_service.js";
import { ListSessionsRequest, SessionServiceService } from "../../gen/sessions/v1/session_service.js";
import { CHUNK_BYTES } from "../../src/domain/limits.js";
import { forEach } from "../races/support.js";
import { type Api, connect, failure } from "../support/api.js";
import { eventually, timed } from "../support/eventually.js";
import { type ObservedService, startObservedService } from "../support/observed-service.js";
import { startProxy } from "../support/proxy.js";
import { startService } from "../support/service.js";
import { startHandMade } from "./hand-made-service.js";

/** So large that what lies between the database and a reader who pauses cannot hold it. */
const MESSAGES = 9_000;
const CONTENT = "x".repeat(4_000);

let service: ObservedService;
beforeAll(async () => {
  service = await startObservedService();
  for (let from = 0; from < MESSAGES; from += 1000) {
    await service.memory.addMemory({
      sessionId: "long",
      messages: Array.from({ length: 1000 }, (_, index) => ({ messageId: `${from + index}`, content: CONTENT })),
    });
  }
});
afterAll(() => service.stop());

type Messages = ClientReadableStream<ListMessagesResponse>;

function listMessages({ client }: Api, chunkSize = 100): Messages {
  const { path, requestSerialize, responseDeserialize } = MemoryServiceService.listMessages;
  const request = ListMessagesRequest.fromPartial({ sessionId: "long", chunkSize });
  return client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request).on("error", () => {});
}

describe("a reader who pauses", () => {
  it("pauses the query, and gets everything when it goes on", async () => {
    const before = await service.documentsReadAtRest();
    const stream = listMessages(service);
    const [first] = (await once(stream, "data")) as [ListMessagesResponse];
    stream.pause();
    const readWhilePaused = (await service.documentsReadAtRest()) - before;
    expect(readWhilePaused).toBeGreaterThan(0);
    expect(readWhilePaused).toBeLessThan(MESSAGES / 2);

    const ids = first.messages.map(({ messageId }) => messageId);
    stream.on("data", ({ messages }: ListMessagesResponse) => ids.push(...messages.map(({ messageId }) => messageId)));
    stream.resume();
    await once(stream, "end");
    expect(ids).toEqual(Array.from({ length: MESSAGES }, (_, index) => `${index}`));
  });

  it("does not hold up others", async () => {
    const paused = Array.from({ length: 20 }, () => listMessages(service));
    for (const stream of paused) {
      await once(stream, "data");
      stream.pause();
    }
    expect((await service.memory.getMemory({ sessionId: "long", lastN: 1 })).messages).toHaveLength(1);
    for (const stream of paused) stream.cancel();
  });
});

describe("a reader who goes away", () => {
  const cancelled = (since: number) => () =>
    service.lines.slice(since).some(({ method, code }) => method?.endsWith("ListMessages") && code === "CANCELLED");

  it("ends the query in the midst of a listing", async () => {
    const before = await service.documentsReadAtRest();
    const lines = service.lines.length;
    const stream = listMessages(service);
    await once(stream, "data");
    stream.cancel();
    await eventually("the call has ended", cancelled(lines));
    expect((await service.documentsReadAtRest()) - before).toBeLessThan(MESSAGES / 2);
  });

  it("ends the query also when the connection breaks", async () => {
    const before = await service.documentsReadAtRest();
    const lines = service.lines.length;
    const proxy = await startProxy(`tcp://${service.address}`);
    const far = connect(`127.0.0.1:${proxy.port}`);
    const stream = listMessages(far);
    await once(stream, "data");
    stream.pause();
    await proxy.become("refuse");
    await eventually("the call has ended", cancelled(lines));
    expect((await service.documentsReadAtRest()) - before).toBeLessThan(MESSAGES / 2);
    far.close();
    await proxy.stop();
  });

  it("ends a search for metadata that finds nothing to send", async () => {
    const databaseName = `test-search-${process.pid}`;
    const plain = await startService({ databaseName });
    // Found by their terms and then refused: the two halves are in different elements of the array.
    const metadata = { tags: [{ a: 1 }, { b: 1 }] };
    await forEach(2_000, 100, async (index) => {
      await plain.sessions.createSession({ sessionId: `${index}`, metadata });
    });
    const proxy = await startProxy(inject("mongodbUri"), { delayMs: 50 });
    const slow = await startObservedService({ mongodbUri: proxy.uri, databaseName });
    const { path, requestSerialize, responseDeserialize } = SessionServiceService.listSessions;
    const request = ListSessionsRequest.fromPartial({ metadata: { tags: [{ a: 1, b: 1 }] } });
    const search = () =>
      slow.client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request).on("error", () => {});

    const whole = search();
    await once(whole.resume(), "end");
    const needed = slow.reads.length;
    expect(needed).toBeGreaterThan(3);

    // Slow enough to be stopped on a busy machine before it is over.
    proxy.delayMs = 1_000;
    const stream = search();
    await eventually("the search has begun", () => slow.reads.length >= needed + 2);
    stream.cancel();
    await eventually("the service has noticed", () => slow.lines.some(({ code }) => code === "CANCELLED"));
    const readUntilThen = slow.reads.length;
    proxy.delayMs = 0;
    for (let n = 0; n < 3; n++) await slow.users.listUsers({});
    expect(slow.reads.length).toBe(readUntilThen);
    expect(readUntilThen).toBeLessThan(2 * needed);

    await slow.stop();
    await proxy.stop();
    await plain.stop();
  });

  it("leaves nothing behind, two hundred times over", async () => {
    const lines = service.lines.length;
    const streams = Array.from({ length: 200 }, () => listMessages(service, 1));
    await Promise.all(streams.map((stream) => once(stream, "data")));
    for (const stream of streams) stream.cancel();
    const ended = () => service.lines.slice(lines).filter(({ method }) => method?.endsWith("ListMessages"));
    await eventually("all of them have ended", () => ended().length === 200);
    expect(new Set(ended().map(({ code }) => code))).toEqual(new Set(["CANCELLED"]));

    // Reads that went on would never let it come to rest.
    await service.documentsReadAtRest();
  });
});

describe("a server that stops", () => {
  it("is not held up by streams that were dropped", async () => {
    const own = await startObservedService({ shutdownGraceMs: 60_000 });
    await own.memory.addMemory({
      sessionId: "long",
      messages: Array.from({ length: 500 }, () => ({ content: CONTENT })),
    });
    const streams = Array.from({ length: 200 }, () => listMessages(own, 1));
    await Promise.all(streams.map((stream) => once(stream, "data")));
    for (const stream of streams) stream.cancel();
    const { ms } = await timed(own.stop());
    expect(ms).toBeLessThan(30_000);
  });
});

describe("a chunk", () => {
  /** A chunk is closed when it reaches its size; around the texts there are ids, numbers and times. */
  const LIMIT = CHUNK_BYTES * 1.05;
  const sizes = async (sessionId: string): Promise<{ bytes: number; items: number }[]> => {
    const chunks = await service.memory.listMessages({ sessionId, chunkSize: 1000 });
    return chunks.map((chunk) => ({
      bytes: ListMessagesResponse.encode(chunk).finish().length,
      items: chunk.messages.length,
    }));
  };

  it.each([
    ["ascii", "x".repeat(20_000)],
    ["漢字", "漢".repeat(20_000)],
    ["emoji", "\u{1f600}".repeat(10_000)],
    ["nothing", ""],
  ])("of messages is bounded in bytes, whatever they hold (%s)", async (sessionId, content) => {
    const count = content === "" ? 1000 : 100;
    await service.memory.addMemory({ sessionId, messages: Array.from({ length: count }, () => ({ content })) });
    const chunks = await sizes(sessionId);
    expect(chunks.reduce((sum, { items }) => sum + items, 0)).toBe(count);
    expect(Math.max(...chunks.map(({ bytes }) => bytes))).toBeLessThan(LIMIT);
  });

  it("holds what is larger than that alone", async () => {
    const content = "x".repeat(CHUNK_BYTES + 1);
    await service.memory.addMemory({ sessionId: "large", messages: Array.from({ length: 5 }, () => ({ content })) });
    expect((await sizes("large")).map(({ items }) => items)).toEqual([1, 1, 1, 1, 1]);
  });

  it("of sessions is bounded in bytes too", async () => {
    const own = await startService();
    const metadata = { text: "漢".repeat(15_000) };
    for (let n = 0; n < 20; n++) await own.sessions.createSession({ sessionId: `${n}`, metadata });
    const chunks = await own.sessions.listSessions({ chunkSize: 1000 });
    expect(chunks.flatMap(({ sessions }) => sessions)).toHaveLength(20);
    expect(chunks.length).toBeGreaterThan(2);
    await own.stop();
  });
});

it("listings that find nothing in time leave room for others", async () => {
  let pages = 0;
  const service = await startHandMade({
    // It looks and looks, as a search does that matches nothing.
    async *stream(_request, { signal }) {
      while (!signal.aborted) {
        pages += 1;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
  });
  const stuck = Array.from({ length: 8 }, () => failure(service.stream()));
  for (const { code } of await Promise.all(stuck)) expect(code).toBe("UNAVAILABLE");
  const before = pages;
  // A ninth one would wait for a turn if those went on.
  const ninth = failure(service.stream());
  await eventually("the next one has its turn", () => pages > before);
  expect((await ninth).code).toBe("UNAVAILABLE");
});
