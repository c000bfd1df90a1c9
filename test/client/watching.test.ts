import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { createClient, type SessionsClient, type WatchEvent } from "../../src/client/index.js";
import { newId, withIds } from "../support/contract.js";
import { eventually } from "../support/eventually.js";
import { startProxy } from "../support/proxy.js";
import { startService, type TestService } from "../support/service.js";

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.stop());

function clientAt(address: string): SessionsClient {
  const client = createClient({ address });
  onTestFinished(() => client.close());
  return client;
}

/** Collects what a client is told until the test is over. */
function collect(events: AsyncIterable<WatchEvent>): { all: WatchEvent[]; ended: Promise<unknown> } {
  const all: WatchEvent[] = [];
  const ended = (async () => {
    for await (const event of events) all.push(event);
  })().catch((error: unknown) => error);
  return { all, ended };
}

const told = (all: readonly WatchEvent[]) =>
  all.filter(({ type }) => type !== "watching").map(({ type, messageIds }) => [type, ...messageIds].join(" "));

test("events are plain objects, from the first word on, until the signal is aborted", async () => {
  const client = clientAt(service.address);
  const sessionId = newId("s");
  const leave = new AbortController();
  const { all, ended } = collect(client.watchSessions({ sessionId }, { signal: leave.signal }));
  await eventually("it watches", () => all.length > 0);
  expect(all[0]).toEqual({ type: "watching", messages: [], messageIds: [], resumeToken: expect.any(String) });
  await client.addMemory({ sessionId, messages: [{ messageId: "m1", content: "hello", roleType: "user" }] });
  await eventually("all has come", () => all.length >= 3);
  expect(all[1]).toMatchObject({ type: "sessionCreated", sessionId, session: { sessionId, messageCount: 1 } });
  expect(all[2]).toMatchObject({
    type: "messagesAdded",
    sessionId,
    messages: [{ messageId: "m1", content: "hello", roleType: "user" }],
    messageIds: ["m1"],
    eventTime: expect.any(Date),
  });
  leave.abort();
  expect(await ended).toMatchObject({ code: "CANCELLED" });
});

test("it goes on after a broken connection, with nothing lost and nothing twice", async () => {
  const proxy = await startProxy(`mongodb://${service.address}/`);
  onTestFinished(() => proxy.stop());
  const client = clientAt(new URL(proxy.uri).host);
  const sessionId = newId("s");
  const { all, ended } = collect(client.watchSessions({ sessionId }));
  await eventually("it watches", () => all.length > 0);
  const ids = Array.from({ length: 30 }, (_, n) => `m${n}`);
  for (const [n, id] of ids.entries()) {
    await service.memory.addMemory({ sessionId, messages: withIds(id) });
    if (n % 10 === 9) proxy.breakConnections();
  }
  await eventually("all has come", () => told(all).includes("messagesAdded m29"));
  expect(told(all)).toEqual(["sessionCreated", ...ids.map((id) => `messagesAdded ${id}`)]);
  client.close();
  await ended;
});

test("it goes on at another process when the one it was told by stops", async () => {
  const databaseName = newId("watch");
  const proxied = await startService({ databaseName });
  const sessionId = newId("s");
  const proxy = await startProxy(`mongodb://${proxied.address}/`);
  onTestFinished(() => proxy.stop());
  const client = clientAt(new URL(proxy.uri).host);
  const { all, ended } = collect(client.watchSessions({ sessionId }));
  await eventually("it watches", () => all.length > 0);
  await proxied.memory.addMemory({ sessionId, messages: withIds("m1") });
  await eventually("the first has come", () => told(all).length === 2);
  const next = await startService({ databaseName });
  onTestFinished(() => next.stop());
  await proxied.server.stop();
  await next.memory.addMemory({ sessionId, messages: withIds("m2") });
  const resumed = clientAt(next.address);
  const rest = collect(resumed.watchSessions({ sessionId, resumeToken: all.at(-1)?.resumeToken }));
  await eventually("the second has come", () => told(rest.all).includes("messagesAdded m2"));
  expect(told(rest.all)).toEqual(["messagesAdded m2"]);
  client.close();
  resumed.close();
  await Promise.all([ended, rest.ended]);
});

test("what cannot succeed later is thrown", async () => {
  const client = clientAt(service.address);
  const { ended } = collect(client.watchSessions({ resumeToken: "invented" }));
  expect(await ended).toMatchObject({ code: "INVALID_ARGUMENT", reason: "INVALID_CURSOR" });
  expect(await collect(client.watchSessions({ sessionId: " " })).ended).toMatchObject({ reason: "INVALID_FIELD" });
  const nowhere = createClient({ address: "127.0.0.1:1", retries: { maxRetries: 1, initialDelayMs: 1 } });
  onTestFinished(() => nowhere.close());
  expect(await collect(nowhere.watchSessions()).ended).toMatchObject({ code: "UNAVAILABLE" });
});
