import { afterAll, beforeAll, expect, test } from "vitest";
import { CreateKeyRequest, RevokeKeyRequest } from "../../gen/sessions/v1/key_service.js";
import { AddMemoryRequest } from "../../gen/sessions/v1/memory_service.js";
import { MetadataMode } from "../../gen/sessions/v1/resources.js";
import { DeleteSessionRequest, UpdateSessionRequest } from "../../gen/sessions/v1/session_service.js";
import { POLICIES } from "../../src/client/policies.js";
import { delayMs } from "../../src/client/retries.js";
import { eventually } from "../support/eventually.js";
import { startService, type TestService } from "../support/service.js";
import { clientTo, collect, failure, proxyTo } from "./support.js";

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.stop());

test("an addMemory whose answer was lost is tried again and adds once", async () => {
  const proxy = await proxyTo(service.address);
  const client = clientTo(proxy.address);
  await client.getMemory({ sessionId: "lost" });
  await proxy.become("lose-answers");
  const adding = client.addMemory({ sessionId: "lost", messages: [{ content: "a" }, { content: "b" }] });
  const stored = async () => (await service.memory.getMemory({ sessionId: "lost" })).messages;
  await eventually("the messages are stored", async () => (await stored()).length === 2);
  await proxy.become("forward");
  proxy.breakConnections();
  const added = await adding;
  expect(added.sessionCreated).toBe(true);
  expect(added.messages.map(({ messageId }) => messageId)).toEqual((await stored()).map(({ messageId }) => messageId));
  expect(proxy.connections).toBe(2);
});

test("a createSession whose answer was lost is not tried again", async () => {
  const proxy = await proxyTo(service.address);
  const client = clientTo(proxy.address);
  await client.getMemory({ sessionId: "once" });
  await proxy.become("lose-answers");
  const outcome = failure(client.createSession({ sessionId: "once" }));
  await eventually("the session is there", async () => {
    const { sessions } = await service.sessions.batchGetSessions({ sessionIds: ["once"] });
    return sessions.length === 1;
  });
  await proxy.become("forward");
  proxy.breakConnections();
  expect(await outcome).toMatchObject({ code: "UNAVAILABLE", reason: undefined });
  expect(proxy.connections).toBe(1);
});

test("tries are bounded", async () => {
  const proxy = await proxyTo(service.address);
  proxy.cutAfterBytes = 1;
  const client = clientTo(proxy.address, { retries: { maxRetries: 2 }, deadlineMs: 30_000 });
  expect((await failure(client.getSession({ sessionId: "s" }))).code).toBe("UNAVAILABLE");
  const never = clientTo(proxy.address, { retries: { maxRetries: 0 } });
  expect((await failure(never.getSession({ sessionId: "s" }))).code).toBe("UNAVAILABLE");
});

test("no retry goes beyond the deadline", async () => {
  const proxy = await proxyTo(service.address);
  proxy.cutAfterBytes = 1;
  const client = clientTo(proxy.address, { retries: { maxRetries: 1000, maxDelayMs: 50 } });
  const started = performance.now();
  const error = await failure(client.getSession({ sessionId: "s" }, { deadlineMs: 300 }));
  expect(["UNAVAILABLE", "DEADLINE_EXCEEDED"]).toContain(error.code);
  expect(performance.now() - started).toBeLessThan(10_000);
});

test("a call ends with its deadline, its signal and its client", async () => {
  const proxy = await proxyTo(service.address);
  await proxy.become("lose-answers");
  const client = clientTo(proxy.address);
  expect(await failure(client.getSession({ sessionId: "s" }, { deadlineMs: 100 }))).toMatchObject({
    code: "DEADLINE_EXCEEDED",
    reason: "DEADLINE_EXCEEDED",
  });

  const aborter = new AbortController();
  const outcomes = [1, 2].map(() => failure(client.getSession({ sessionId: "s" }, { signal: aborter.signal })));
  aborter.abort("enough");
  for (const error of await Promise.all(outcomes)) expect(error).toMatchObject({ code: "CANCELLED", cause: "enough" });
  expect(await failure(client.getSession({ sessionId: "s" }, { signal: aborter.signal }))).toMatchObject({
    code: "CANCELLED",
  });

  const underWay = failure(client.getSession({ sessionId: "s" }));
  client.close();
  client.close();
  expect(await underWay).toMatchObject({ code: "FAILED_PRECONDITION", reason: "CLIENT_CLOSED" });
  expect(await failure(client.getSession({ sessionId: "s" }))).toMatchObject({ reason: "CLIENT_CLOSED" });
  expect(await failure(client.listSessions().page())).toMatchObject({ reason: "CLIENT_CLOSED" });
});

test("a deadline that is further away than a timer reaches is as good as none, however far", async () => {
  const client = clientTo(service.address);
  const days = [25, 30, 90, 180].map((count) => count * 86_400_000);
  for (const deadlineMs of [2 ** 31 - 1, 2 ** 31, ...days, 99_999_999 * 3_600_000, Number.MAX_SAFE_INTEGER, 1e300]) {
    expect(await client.getMemory({ sessionId: "far" }, { deadlineMs })).toMatchObject({ messages: [] });
    expect(await collect(client.listMessages({ sessionId: "far" }, { deadlineMs }))).toEqual([]);
  }
});

test("a pause between tries ends with the signal", async () => {
  const aborter = new AbortController();
  const client = clientTo("127.0.0.1:1", {
    retries: { initialDelayMs: 600_000, maxDelayMs: 600_000 },
    deadlineMs: 3_600_000,
  });
  const outcome = failure(client.getSession({ sessionId: "s" }, { signal: aborter.signal }));
  setTimeout(() => aborter.abort(), 50);
  expect((await outcome).code).toBe("CANCELLED");
});

test("pauses grow, have chance in them, and are never shorter than the service asks for", () => {
  const options = { maxRetries: 8, initialDelayMs: 100, maxDelayMs: 1_000 };
  expect([0, 1, 2, 3, 4, 5].map((failures) => delayMs(failures, options, 0, 1))).toEqual([
    100, 200, 400, 800, 1_000, 1_000,
  ]);
  expect(delayMs(0, options, 0, 0)).toBe(50);
  expect(delayMs(0, options, 5_000, 0)).toBe(5_050);
});

test("only what can be repeated is repeated", () => {
  const { addMemory, updateSession, deleteSession, createKey, revokeKey } = POLICIES;
  const add = AddMemoryRequest.fromPartial;
  expect(addMemory.retries(add({ messages: [{ messageId: "m" }] }))).toBe(true);
  expect(addMemory.retries(add({ messages: [{ messageId: "m" }, {}] }))).toBe(false);
  expect(addMemory.retries(add({}))).toBe(false);
  const update = UpdateSessionRequest.fromPartial;
  expect(updateSession.retries(update({}))).toBe(true);
  expect(updateSession.retries(update({ etag: "e" }))).toBe(false);
  expect(updateSession.retries(update({ metadataMode: MetadataMode.METADATA_MODE_REPLACE }))).toBe(false);
  expect(deleteSession.retries(DeleteSessionRequest.fromPartial({ allowMissing: true }))).toBe(true);
  expect(deleteSession.retries(DeleteSessionRequest.fromPartial({}))).toBe(false);
  // A repetition would be a second key, of which nobody knows.
  expect(createKey.retries(CreateKeyRequest.fromPartial({}))).toBe(false);
  expect(revokeKey.retries(RevokeKeyRequest.fromPartial({}))).toBe(true);
});
