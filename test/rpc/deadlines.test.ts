import { randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from "vitest";
import { GetMemoryRequest, MemoryServiceService } from "../../gen/sessions/v1/memory_service.js";
import { ListSessionsRequest, SessionServiceService } from "../../gen/sessions/v1/session_service.js";
import { eventually, timed } from "../support/eventually.js";
import { type ObservedService, startObservedService } from "../support/observed-service.js";
import { startProxy, type TcpProxy } from "../support/proxy.js";
import { type RawAnswer, type RawClient, rawClient } from "../support/raw-grpc.js";

/** The database takes so long that every deadline below passes before its answer is there, on a busy machine, too. */
const DELAY_MS = 1_000;

let proxy: TcpProxy;
let service: ObservedService;
let raw: RawClient;
beforeAll(async () => {
  proxy = await startProxy(inject("mongodbUri"));
  service = await startObservedService({ mongodbUri: proxy.uri });
  raw = rawClient(service.address);
});
afterAll(async () => {
  raw.close();
  await service.stop();
  await proxy.stop();
});

const message = GetMemoryRequest.encode({ sessionId: "s", lastN: 0 }).finish();

const getMemory = (timeout: string, id: string = randomUUID()): Promise<RawAnswer> =>
  raw.call(MemoryServiceService.getMemory.path, {
    message,
    headers: { "grpc-timeout": timeout, "x-request-id": id },
  });

describe("a call whose deadline passes", () => {
  beforeEach(() => {
    proxy.delayMs = DELAY_MS;
  });
  afterEach(() => {
    // For what is left over of the last test, such as a connection that is being made.
    proxy.delayMs = 0;
  });

  const EXCEEDED = { code: "DEADLINE_EXCEEDED", reason: "DEADLINE_EXCEEDED", domain: "sessions.v1" };

  it.each(["150m", "150000u", "1n"])("(%s) is answered by the server itself, with details", async (timeout) => {
    const { result, ms } = await timed(getMemory(timeout));
    expect(result.failure).toMatchObject(EXCEEDED);
    expect(ms).toBeLessThan(DELAY_MS);
  });

  it("ends a stream too", async () => {
    const { failure } = await raw.call(SessionServiceService.listSessions.path, {
      message: ListSessionsRequest.encode(ListSessionsRequest.fromPartial({})).finish(),
      headers: { "grpc-timeout": "150m" },
    });
    expect(failure).toMatchObject(EXCEEDED);
  });

  it("is logged as what the client was told", async () => {
    const ids = Array.from({ length: 5 }, () => randomUUID());
    await Promise.all(ids.map((id) => getMemory("150m", id)));
    for (const id of ids) {
      const line = await eventually("it is logged", () => service.lines.find(({ request_id }) => request_id === id));
      expect(line).toMatchObject({ code: "DEADLINE_EXCEEDED", method: "sessions.v1.MemoryService/GetMemory" });
    }
  });

  it("does not do what it has no time left for", async () => {
    const sessionId = randomUUID();
    // An add takes several round trips, and the first one is to be done in its time.
    proxy.delayMs = 300;
    // The first one holds the session, so that the second one waits for longer than it may.
    const first = service.memory.addMemory({ sessionId, messages: [{ content: "first" }] });
    await expect(
      service.memory.addMemory({ sessionId, messages: [{ content: "late" }] }, { deadlineMs: 100 }),
    ).rejects.toMatchObject({ code: 4 });
    await first;
    const { messages } = await service.memory.getMemory({ sessionId });
    expect(messages.map(({ content }) => content)).toEqual(["first"]);
  });
});

describe("a deadline that is far away", () => {
  // Longer ones overflow in grpc-js, which counts milliseconds in 32 bits.
  it.each(["30M", "590H", "2100000S"])("(%s) is as good as none", async (timeout) => {
    expect(await getMemory(timeout)).toMatchObject({ code: 0 });
  });
});

describe("a grpc-timeout that is none", () => {
  it.each(["soon", "10", "S", "5x", ""])("(%j) is INVALID_ARGUMENT", async (timeout) => {
    expect((await getMemory(timeout)).failure).toMatchObject({
      code: "INVALID_ARGUMENT",
      reason: "INVALID_FIELD",
      violations: [{ field: "request", description: expect.stringContaining("grpc-timeout") }],
    });
  });
});
