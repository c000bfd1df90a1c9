import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { describe, expect, inject, it } from "vitest";
import {
  ListMessagesRequest,
  type ListMessagesResponse,
  MemoryServiceService,
} from "../../gen/sessions/v1/memory_service.js";
import { processesNaming } from "../local/support.js";
import { type Api, connect, type Failure, failure } from "../support/api.js";
import { eventually, timed } from "../support/eventually.js";
import { type ProxyOptions, startProxy, type TcpProxy } from "../support/proxy.js";
import { runService, type ServiceProcess } from "../support/service-process.js";
import { healthClient, reflectionClient } from "../support/standard-clients.js";
import { temporaryFolder } from "../support/temporary-folder.js";

/** For a busy machine. What would be wrong without it are answers, codes, or minutes. */
const LEEWAY_MS = 30_000;
const SHUTTING_DOWN = {
  code: "UNAVAILABLE",
  reason: "SHUTTING_DOWN",
  domain: "sessions.v1",
  retryDelayMs: expect.any(Number),
};

interface Running {
  readonly service: ServiceProcess;
  readonly api: Api;
  readonly address: string;
  readonly proxy: TcpProxy;
}

/** A process that reaches its database through a proxy. */
async function start(env: Record<string, string> = {}, options: ProxyOptions = {}): Promise<Running> {
  const proxy = await startProxy(inject("mongodbUri"), options);
  const service = runService({ MONGODB_URI: proxy.uri, MONGODB_DATABASE: `test-${randomUUID()}`, ...env });
  const { grpc } = await service.ready();
  return { service, proxy, address: grpc, api: connect(grpc) };
}

async function close({ api, proxy }: Running): Promise<void> {
  api.close();
  await proxy.stop();
}

/** Calls are under way once a later one on the same connection, which needs no database, is answered. */
const underWay = ({ api }: Running) => failure(api.sessions.batchGetSessions({}));

/** A listing that cannot end, as nobody reads it. */
async function pausedListing({ api }: Running): Promise<{ ended: Promise<Failure> }> {
  for (let n = 0; n < 3; n++) {
    const messages = Array.from({ length: 1000 }, () => ({ content: "x".repeat(4_000) }));
    await api.memory.addMemory({ sessionId: "long", messages });
  }
  const { path, requestSerialize, responseDeserialize } = MemoryServiceService.listMessages;
  const request = ListMessagesRequest.fromPartial({ sessionId: "long" });
  const stream = api.client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request);
  const ended = failure(new Promise((resolve, reject) => stream.on("end", resolve).on("error", reject)));
  ended.catch(() => {});
  (await once(stream, "data")) as [ListMessagesResponse];
  return { ended };
}

describe.each(["SIGTERM", "SIGINT"] as const)("%s", (signal) => {
  it("lets what is under way be answered, ends streams so that clients try elsewhere, and exits with 0", async () => {
    const running = await start({ SESSIONS_SHUTDOWN_GRACE: "60s" }, { delayMs: 100 });
    const { service, api, address } = running;
    await api.memory.addMemory({ sessionId: "s", messages: [{ content: "before" }] });
    const health = healthClient(address);
    const watch = health.watch("");
    await eventually("the watch is open", () => watch.received.length === 1);
    const listing = failure(listAllSlowly(api));
    const write = api.memory.addMemory({ sessionId: "s", messages: [{ content: "under way" }] });
    const read = api.memory.getMemory({ sessionId: "s" });
    await underWay(running);

    service.kill(signal);
    expect((await write).messages).toHaveLength(1);
    expect((await read).session?.sessionId).toBe("s");
    expect(await listing).toMatchObject(SHUTTING_DOWN);
    expect(await watch.ended).toMatchObject(SHUTTING_DOWN);
    expect(watch.received).toEqual(["SERVING", "NOT_SERVING"]);
    const { result, ms } = await timed(service.exited);
    expect(result).toEqual({ code: 0, signal: null });
    expect(ms).toBeLessThan(LEEWAY_MS);
    expect(service.output().stderr).toBe("");
    health.close();
    await close(running);
  });

  it("is quick when only watchers are there", async () => {
    const running = await start({ SESSIONS_SHUTDOWN_GRACE: "60s" });
    const health = healthClient(running.address);
    const reflection = reflectionClient(running.address, "v1");
    const open = [health.watch(""), health.watch("sessions.v1.UserService"), reflection.open()];
    await eventually("all are open", () => open.every(({ received }) => received.length === 1));
    running.service.kill(signal);
    const { result, ms } = await timed(running.service.exited);
    expect(result).toEqual({ code: 0, signal: null });
    expect(ms).toBeLessThan(LEEWAY_MS);
    health.close();
    reflection.close();
    await close(running);
  });

  it("ends the local MongoDB too, while the service starts as well as later", async () => {
    const folder = await temporaryFolder();
    for (const moment of [/mongod/, /^using/, /^MongoDB listens/, /^ready$/]) {
      const service = runService({ SESSIONS_DATA_DIR: folder });
      await service.line(moment);
      service.kill(signal);
      const { result, ms } = await timed(service.exited);
      expect(result, String(moment)).toEqual({ code: 0, signal: null });
      expect(ms).toBeLessThan(2 * LEEWAY_MS);
      expect(service.output().stderr).toBe("");
      await eventually("no database is left", async () => (await processesNaming(folder)).length === 0);
    }
  });
});

/** A listing of many chunks over a slow database. */
async function listAllSlowly(api: Api): Promise<void> {
  for (;;) await api.memory.listMessages({ sessionId: "s", chunkSize: 1 });
}

describe("when the grace is over", () => {
  it("what is still under way is answered UNAVAILABLE, and the process exits all the same", async () => {
    const running = await start({ SESSIONS_SHUTDOWN_GRACE: "500ms" });
    const { service, api, proxy } = running;
    await proxy.become("black-hole");
    const calls = [
      failure(api.sessions.getSession({ sessionId: "s" })),
      failure(api.memory.addMemory({ sessionId: "s", messages: [{}] })),
    ];
    await underWay(running);
    service.kill("SIGTERM");
    const [outcomes, { result, ms }] = await Promise.all([Promise.all(calls), timed(service.exited)]);
    for (const outcome of outcomes) expect(outcome).toMatchObject(SHUTTING_DOWN);
    expect(result).toEqual({ code: 0, signal: null });
    expect(ms).toBeLessThan(500 + LEEWAY_MS);
    await close(running);
  });

  it("a reader who does not read does not keep the process", async () => {
    const running = await start({ SESSIONS_SHUTDOWN_GRACE: "500ms" });
    await pausedListing(running);
    running.service.kill("SIGTERM");
    const { result, ms } = await timed(running.service.exited);
    expect(result).toEqual({ code: 0, signal: null });
    expect(ms).toBeLessThan(500 + LEEWAY_MS);
    await close(running);
  });
});

describe("a second signal", () => {
  it.each([
    ["SIGTERM", "SIGTERM"],
    ["SIGINT", "SIGINT"],
    ["SIGINT", "SIGTERM"],
  ] as const)("(%s, then %s) ends a stop that takes too long", async (first, second) => {
    const running = await start({ SESSIONS_SHUTDOWN_GRACE: "60s" });
    const { service, api, proxy } = running;
    await proxy.become("black-hole");
    const call = failure(api.sessions.getSession({ sessionId: "s" }, { deadlineMs: 60_000 }));
    await underWay(running);
    service.kill(first);
    await service.line("stopping");
    // Within the first second it counts as the same one: Ctrl-C under npm comes twice.
    const ended = service.exited;
    const again = setInterval(() => service.kill(second), 200);
    const { result, ms } = await timed(ended);
    clearInterval(again);
    expect(result.code).not.toBe(0);
    expect(ms).toBeLessThan(1_000 + LEEWAY_MS);
    await call;
    await close(running);
  });

  it("right after the first is the same one, and everything ends in order", async () => {
    const running = await start({}, { delayMs: 50 });
    const write = running.api.memory.addMemory({ sessionId: "s", messages: [{}] });
    await underWay(running);
    running.service.kill("SIGINT");
    running.service.kill("SIGINT");
    expect((await write).messages).toHaveLength(1);
    expect(await running.service.exited).toEqual({ code: 0, signal: null });
    await close(running);
  });
});
