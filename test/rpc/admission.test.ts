import { setTimeout as sleep } from "node:timers/promises";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  AddMemoryRequest,
  GetMemoryRequest,
  ListMessagesRequest,
  MemoryServiceService,
} from "../../gen/sessions/v1/memory_service.js";
import { createClient } from "../../src/client/index.js";
import { failure } from "../support/api.js";
import { eventually } from "../support/eventually.js";
import { hold } from "../support/hold.js";
import { scrapeOf } from "../support/prometheus.js";
import { frame, rawClient } from "../support/raw-grpc.js";
import { LIMITS, startService, type TestService } from "../support/service.js";
import { healthClient } from "../support/standard-clients.js";

const MAX_CALLS = 4;
const MIB = 1024 * 1024;
/** One message less than fits into a request. */
const SEVEN_MIB = Array.from({ length: 7 }, () => ({ content: "x".repeat(MIB) }));

let service: TestService;
beforeAll(async () => {
  service = await startService({
    httpListen: { host: "127.0.0.1", port: 0 },
    limits: { ...LIMITS, maxCalls: MAX_CALLS, maxStreams: 2, maxRequestBytes: 16 * MIB },
  });
});
afterAll(() => service.stop());

/** What the service tells of what it has taken on. No call that would take something itself. */
async function taken(name: string, labels = {}): Promise<number> {
  const metrics = await fetch(`http://${service.server.httpAddress}/metrics`);
  return scrapeOf(await metrics.text()).value(name, labels) ?? 0;
}

const REFUSED = { code: "RESOURCE_EXHAUSTED", reason: "OVERLOADED", retryDelayMs: expect.any(Number) };

describe("more than a process takes on", () => {
  it("is refused at once, what was taken is finished, and then there is room again", async () => {
    const ids = Array.from({ length: MAX_CALLS }, (_, index) => `held-${index}`);
    for (const sessionId of ids) await service.sessions.createSession({ sessionId });
    const releases = await Promise.all(ids.map((id) => hold(service.database, id)));
    const held = ids.map((sessionId) => service.memory.addMemory({ sessionId, messages: [{}] }));
    // Not before all are in, for one more beside them could take the place of the last.
    const inFlight = () => taken("sessions_calls_in_flight", { kind: "calls" });
    await eventually("all places are taken", async () => (await inFlight()) === MAX_CALLS);
    const refused = await failure(service.sessions.getSession({ sessionId: "nobody" }));
    expect(refused).toMatchObject({ ...REFUSED, metadata: { limited: "calls", max: String(MAX_CALLS) } });

    const health = healthClient(service.address);
    expect(await health.check("")).toBe("SERVING");
    health.close();

    for (const release of releases) await release();
    for (const { messages } of await Promise.all(held)) expect(messages).toHaveLength(1);
    expect((await service.sessions.getSession({ sessionId: "held-0" })).session?.messageCount).toBe(1);
  });

  it("is tried again by the TypeScript client, whatever the call", async () => {
    // Patient enough for forty who take turns at four places on a slow machine.
    const client = createClient({ address: service.address, deadlineMs: 120_000, retries: { maxRetries: 100 } });
    const created = Array.from({ length: 40 }, (_, index) => client.createSession({ sessionId: `many-${index}` }));
    expect(await Promise.all(created)).toHaveLength(40);
    client.close();
  });

  it("counts listings by themselves, until their readers leave", async () => {
    // More than what lies between a service and a reader who takes nothing can hold.
    for (let n = 0; n < 6; n++) await service.memory.addMemory({ sessionId: "long", messages: SEVEN_MIB });
    const open = [openListing("long"), openListing("long")];
    await Promise.all(open.map(({ answered }) => answered));
    expect(await failure(service.sessions.listSessions({ limit: 1 }))).toMatchObject({
      ...REFUSED,
      metadata: { limited: "streams", max: "2" },
    });
    await service.sessions.getSession({ sessionId: "held-0" });
    for (const { leave } of open) leave();
    await eventually("there is room again", () =>
      service.sessions.listSessions({ limit: 1 }).then(
        () => true,
        () => false,
      ),
    );
  });

  it("is not taken up by calls that are none, for longer than they last", async () => {
    const raw = rawClient(service.address);
    const message = frame(GetMemoryRequest.encode(GetMemoryRequest.fromPartial({ sessionId: "nobody" })).finish());
    const wires = [Buffer.concat([message, message]), Buffer.alloc(0), message.subarray(0, 4)];
    for (let n = 0; n < 3 * MAX_CALLS; n++) {
      const wire = wires[n % wires.length] as Buffer;
      const { failure: refused } = await raw.call(MemoryServiceService.getMemory.path, { wire });
      expect(refused?.code).not.toBe("RESOURCE_EXHAUSTED");
    }
    raw.close();
    // All places are free: as many as there are can be taken at once.
    await Promise.all(Array.from({ length: MAX_CALLS }, () => service.memory.getMemory({ sessionId: "nobody" })));
  });

  it("counts the bytes of requests", async () => {
    await service.sessions.createSession({ sessionId: "large" });
    const release = await hold(service.database, "large");
    const add = () => service.memory.addMemory({ sessionId: "large", messages: SEVEN_MIB });
    const held = [add(), add()];
    // Not before all of both is in: of three that come together one may be refused for what another leaves unused.
    const bytes = () => taken("sessions_request_in_flight_bytes");
    await eventually("both have arrived", async () => (await bytes()) >= 14 * MIB);
    const refused = await failure(add());
    expect(refused).toMatchObject({ ...REFUSED, metadata: { limited: "request bytes", max: String(16 * MIB) } });
    await release();
    expect(await Promise.all(held)).toHaveLength(2);
  });
});

/** A listing whose reader takes nothing. */
function openListing(sessionId: string): { answered: Promise<unknown>; leave(): void } {
  const { path, requestSerialize, responseDeserialize } = MemoryServiceService.listMessages;
  const request = ListMessagesRequest.fromPartial({ sessionId });
  const stream = service.client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request);
  stream.on("error", () => {});
  return { answered: new Promise((resolve) => stream.once("metadata", resolve)), leave: () => stream.cancel() };
}

describe("a request that takes long to arrive", () => {
  /** Sends a request in so many pieces, two a second, until it is answered; the answer is its status. */
  async function sendSlowly(sessionId: string, pieces: number, ...sizes: number[]): Promise<number> {
    const messages = sizes.map((size) => ({ content: "x".repeat(size) }));
    const wire = frame(AddMemoryRequest.encode(AddMemoryRequest.fromPartial({ sessionId, messages })).finish());
    const raw = rawClient(service.address);
    const stream = raw.open(MemoryServiceService.addMemory.path);
    let answer: number | undefined;
    stream.on("response", (headers) => {
      answer = Number(headers["grpc-status"] ?? 0);
    });
    const piece = Math.ceil(wire.length / pieces);
    for (let n = 0; n < pieces && answer === undefined; n++) {
      stream.write(wire.subarray(n * piece, (n + 1) * piece));
      await sleep(500);
    }
    stream.end();
    const answered = await eventually("it is answered", async () => answer);
    raw.close();
    return answered;
  }

  it("is waited for as long as it comes on, and given up after 10 s when it hardly does", async () => {
    const [steady, trickling] = await Promise.all([
      // Each half of a MiB within 2 s, the whole after 12 s.
      sendSlowly("steady", 24, MIB, MIB, MIB),
      // The whole would take minutes.
      sendSlowly("trickling", 500, 1000),
    ]);
    expect({ steady, trickling }).toEqual({ steady: 0, trickling: status.DEADLINE_EXCEEDED });
    expect((await service.sessions.getSession({ sessionId: "steady" })).session?.messageCount).toBe(3);
    await expect(service.sessions.getSession({ sessionId: "trickling" })).rejects.toMatchObject({
      code: status.NOT_FOUND,
    });
  });
});
