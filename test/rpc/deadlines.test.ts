import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from "vitest";
import { GetMemoryRequest, MemoryServiceService } from "../../gen/sessions/v1/memory_service.js";
import { ListSessionsRequest, SessionServiceService } from "../../gen/sessions/v1/session_service.js";
import { eventually, timed } from "../support/eventually.js";
import { type ObservedService, startObservedService } from "../support/observed-service.js";
import { startProxy, type TcpProxy } from "../support/proxy.js";
import { frame, type RawAnswer, type RawClient, rawClient } from "../support/raw-grpc.js";

/** The database takes so long that every deadline below passes before its answer is there, on a busy machine, too. */
const DELAY_MS = 2_000;

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

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

const message = GetMemoryRequest.encode(GetMemoryRequest.fromPartial({ sessionId: "s" })).finish();

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
    // The first one holds the session, so that the second one, which comes when it is under way, waits for longer than it may.
    const before = service.reads.length;
    const first = service.memory.addMemory({ sessionId, messages: [{ content: "first" }] });
    await eventually("the first one has begun", () => service.reads.length > before);
    await expect(
      service.memory.addMemory({ sessionId, messages: [{ content: "late" }] }, { deadlineMs: 100 }),
    ).rejects.toMatchObject({ code: 4 });
    await first;
    const { messages } = await service.memory.getMemory({ sessionId });
    expect(messages.map(({ content }) => content)).toEqual(["first"]);
  });
});

describe("a deadline that is far away is as good as none", () => {
  beforeEach(() => {
    // Longer than it takes a timer that has wrapped around to end the call.
    proxy.delayMs = 100;
  });
  afterEach(() => {
    proxy.delayMs = 0;
  });

  const listSessions = (timeout: string): Promise<RawAnswer> =>
    raw.call(SessionServiceService.listSessions.path, {
      message: ListSessionsRequest.encode(ListSessionsRequest.fromPartial({})).finish(),
      headers: { "grpc-timeout": timeout },
    });

  it.each([
    ["25 days", ["2160000S", "36000M", "600H"]],
    ["30 days", ["2592000S", "43200M", "720H"]],
    ["90 days", ["7776000S", "129600M", "2160H"]],
    ["180 days", ["15552000S", "259200M", "4320H"]],
    ["the largest of each unit", ["99999999u", "99999999m", "99999999S", "99999999M", "99999999H"]],
    ["just below and above 2^31 ms", ["2147483S", "2147484S", "35791M", "35792M", "596H", "597H"]],
    ["just below and above 2^32 ms", ["4294967S", "4294968S", "71582M", "71583M", "1193H", "1194H"]],
    ["not written as short as it could be", ["00000720H", "02592000S"]],
  ])("%s", async (_, timeouts) => {
    for (const call of [getMemory, listSessions]) {
      const answers = await Promise.all(timeouts.map((timeout) => call(timeout)));
      expect(answers.map(({ code }, index) => [timeouts[index], code])).toEqual(timeouts.map((each) => [each, 0]));
    }
  });

  it.each([2 ** 31 - 1, 2 ** 31, ...[25, 30, 90, 180].map((days) => days * DAY_MS), 99_999_999 * HOUR_MS])(
    "%i ms, as a stock client sends them",
    async (deadlineMs) => {
      await service.memory.getMemory({ sessionId: "s" }, { deadlineMs });
      await service.sessions.listSessions({}, { deadlineMs });
    },
  );

  it("for the standard services, too", async () => {
    const stream = raw.open("/grpc.health.v1.Health/Watch", { "grpc-timeout": "720H" });
    const [headers] = await Promise.all([once(stream, "response"), stream.end(frame(new Uint8Array()))]);
    expect(headers[0]["grpc-status"]).toBeUndefined();
    await once(stream, "data");
    stream.close();
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
