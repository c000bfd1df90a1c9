import { pino } from "pino";
import { afterAll, beforeAll, expect, inject, onTestFinished, test } from "vitest";
import { createClient } from "../../src/client/index.js";
import { startServer } from "../../src/server.js";
import { openDatabase } from "../../src/store/database.js";
import { eventually } from "../support/eventually.js";
import { CACHE_BYTES, LIMITS, startService, type TestService } from "../support/service.js";
import { addMessages, clientTo, collect, failure, proxyTo } from "./support.js";

let service: TestService;
const databaseName = `test-client-listings-${process.pid}`;
const COUNT = 3000;
const numbers = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

beforeAll(async () => {
  service = await startService({ databaseName });
  const client = createClient({ address: service.address });
  await addMessages(client, "long", COUNT);
  client.close();
});
afterAll(() => service.stop());

test("a listing goes on where its connection was cut, again and again", async () => {
  const proxy = await proxyTo(service.address);
  proxy.cutAfterBytes = 100_000;
  const client = clientTo(proxy.address, { retries: { maxRetries: 3 } });
  const messages = await collect(client.listMessages({ sessionId: "long", chunkSize: 20 }));
  expect(messages.map(({ sequence }) => sequence)).toEqual(numbers(COUNT));
  expect(proxy.connections).toBeGreaterThan(5);
});

test("the limit holds across connections", async () => {
  const proxy = await proxyTo(service.address);
  proxy.cutAfterBytes = 100_000;
  const client = clientTo(proxy.address);
  const { items, nextCursor } = await client.listMessages({ sessionId: "long", limit: 2001, chunkSize: 50 }).page();
  expect(items.map(({ sequence }) => sequence)).toEqual(numbers(2001));
  expect(proxy.connections).toBeGreaterThan(3);
  const rest = await collect(client.listMessages({ sessionId: "long", cursor: nextCursor }));
  expect(rest.map(({ sequence }) => sequence)).toEqual(numbers(COUNT).slice(2001));
});

test("a listing that makes no progress gives up", async () => {
  const proxy = await proxyTo(service.address);
  proxy.cutAfterBytes = 200;
  const client = clientTo(proxy.address, { retries: { maxRetries: 2 } });
  expect((await failure(collect(client.listMessages({ sessionId: "long" })))).code).toBe("UNAVAILABLE");
});

test("a listing goes on at another process when the service shuts down", async () => {
  const name = `${databaseName}-two`;
  const [first, second] = [await startService({ databaseName: name }), await startService({ databaseName: name })];
  onTestFinished(() => second.stop());
  const proxy = await proxyTo(first.address);
  const client = clientTo(proxy.address);
  const metadata = { fill: "x".repeat(20_000) };
  await Promise.all(numbers(300).map((n) => client.createSession({ sessionId: `s${n}`, metadata })));
  const ids = (await collect(client.listSessions())).map(({ sessionId }) => sessionId);
  expect(ids).toHaveLength(300);

  const seen: string[] = [];
  for await (const { sessionId } of client.listSessions({ chunkSize: 5 })) {
    seen.push(sessionId);
    if (seen.length !== 7) continue;
    proxy.target = `tcp://${second.address}`;
    // Not first.stop(): it drops the database, which both share.
    await first.server.stop();
  }
  expect(seen).toEqual(ids);
  expect(proxy.connections).toBeGreaterThan(1);
  first.close();
});

test("a slow consumer pauses the stream, and leaving the loop cancels the call", async () => {
  const lines: { method?: string; code?: string }[] = [];
  const server = await startServer(
    {
      database: openDatabase({ uri: inject("mongodbUri"), database: databaseName }),
      log: pino({}, { write: (line) => void lines.push(JSON.parse(line)) }),
      retentionMs: 1_000_000,
      purgeIntervalMs: 60_000,
      memoryWindow: 50,
      cacheBytes: CACHE_BYTES,
      searchCacheBytes: 128 * 1024 * 1024,
      shutdownGraceMs: 1_000,
      limits: LIMITS,
    },
    { host: "127.0.0.1", port: 0 },
  );
  onTestFinished(() => server.stop());
  const proxy = await proxyTo(server.address);
  const client = clientTo(proxy.address);
  for (const n of numbers(60)) {
    await client.addMemory({
      sessionId: "large",
      messages: [{ messageId: `m${n}`, payload: new Uint8Array(1_000_000) }],
    });
  }
  const before = proxy.bytesAnswered;
  for await (const _ of client.listMessages({ sessionId: "large" })) {
    let bytes = -1;
    await eventually("the stream stands still", async () => {
      const last = bytes;
      bytes = proxy.bytesAnswered;
      await new Promise((next) => setTimeout(next, 300));
      return last === proxy.bytesAnswered;
    });
    expect(bytes - before).toBeLessThan(40_000_000);
    break;
  }
  const call = () => lines.find(({ method }) => method === "sessions.v1.MemoryService/ListMessages");
  await eventually("the service has seen the call end", () => call() !== undefined);
  expect(call()?.code).toBe("CANCELLED");
  // The client is as good as before.
  expect((await client.getSession({ sessionId: "large" })).messageCount).toBe(60);
});

test("a listing ends with its signal and its deadline", async () => {
  const client = clientTo(service.address);
  const aborter = new AbortController();
  const aborted = (async () => {
    for await (const { sequence } of client.listMessages({ sessionId: "long" }, { signal: aborter.signal })) {
      if (sequence === 150) aborter.abort("enough");
    }
  })();
  expect(await failure(aborted)).toMatchObject({ code: "CANCELLED", cause: "enough" });

  const proxy = await proxyTo(service.address);
  await proxy.become("lose-answers");
  const late = clientTo(proxy.address).listMessages({ sessionId: "long" }, { deadlineMs: 100 });
  expect((await failure(collect(late))).code).toBe("DEADLINE_EXCEEDED");
});

test("a listing ends by itself: empty, at its limit and at its end", async () => {
  const client = clientTo(service.address);
  expect(await collect(client.listMessages({ sessionId: "none" }))).toEqual([]);
  expect(await collect(client.listMessages({ sessionId: "long", limit: COUNT }))).toHaveLength(COUNT);
  expect(await collect(client.listMessages({ sessionId: "long", limit: 1 }))).toHaveLength(1);
});
