import { randomUUID } from "node:crypto";
import { afterAll, describe, expect, inject, it } from "vitest";
import {
  ListMessagesRequest,
  type ListMessagesResponse,
  MemoryServiceService,
} from "../../gen/sessions/v1/memory_service.js";
import { type Api, type Failure, failure } from "../support/api.js";
import { eventually, timed } from "../support/eventually.js";
import { callAny, EVERY_METHOD } from "../support/every-method.js";
import { startProxy, type TcpProxy, type Weather } from "../support/proxy.js";
import { startService, type TestService } from "../support/service.js";
import { healthClient, type Serving } from "../support/standard-clients.js";

/**
 * What every call is bounded by when its caller sets no deadline, and some leeway for a busy machine: by itself the driver would look
 * for its database for half a minute.
 */
const LIMIT_MS = 10_000;
const LEEWAY_MS = 15_000;
/** Within how long the service notices that the database is away, or works again when it is back. */
const NOTICE_MS = 5_000;
const SHUTDOWN_GRACE_MS = 1_000;
/** How long after its grace a server that cannot reach its database waits for it to take leave, and for its own answers. */
const LEAVE_MS = 1_500;

interface Setting {
  readonly proxy: TcpProxy;
  readonly service: TestService;
}

const settings: Setting[] = [];
afterAll(() =>
  Promise.all(
    settings.map(async ({ service, proxy }) => {
      await proxy.become("forward");
      await service.stop();
      await proxy.stop();
    }),
  ),
);

/** A service that reaches its database through a proxy. */
async function start(weather: Weather = "forward"): Promise<Setting> {
  const proxy = await startProxy(inject("mongodbUri"));
  await proxy.become(weather);
  const service = await startService({ mongodbUri: proxy.uri, shutdownGraceMs: SHUTDOWN_GRACE_MS });
  settings.push({ proxy, service });
  return { proxy, service };
}

interface Outcome {
  readonly path: string;
  readonly ms: number;
  readonly result: Failure;
}

/** Calls every method at once, each on a session or user of its own, and tells how and when each of them failed. */
function callAll({ client }: Api): Promise<Outcome[]> {
  return Promise.all(
    EVERY_METHOD.map(async (method) => ({
      path: method.path,
      ...(await timed(failure(callAny(client, method)))),
    })),
  );
}

const UNAVAILABLE = {
  code: "UNAVAILABLE",
  reason: "STORAGE_UNAVAILABLE",
  domain: "sessions.v1",
  retryDelayMs: expect.any(Number),
};

function expectUnavailable(outcomes: readonly Outcome[], withinMs: number): void {
  expect(outcomes).not.toEqual([]);
  for (const { path, result, ms } of outcomes) {
    expect({ path, ...result }).toMatchObject({ path, ...UNAVAILABLE });
    expect(result.message).not.toMatch(/mongo|ECONN|socket|127\.0\.0\.1/i);
    expect({ path, inTime: ms < withinMs, ms }).toMatchObject({ path, inTime: true });
  }
}

/**
 * The driver looks for a database that it has never reached for ten seconds, gives it up, and looks again a second later. Those
 * who ask at first wait until then; when they have been told, nothing looks for it just then.
 */
async function expectUnavailableBeforeContact(api: Api): Promise<void> {
  for (const _ of ["while it is looked for", "when it has been given up"]) {
    expectUnavailable(await callAll(api), LIMIT_MS + LEEWAY_MS);
  }
}

/** Everything works again, writes included, without anybody doing anything. */
async function expectRecovery({ service, proxy }: Setting): Promise<void> {
  const health = healthClient(service.address);
  const returned = performance.now();
  await proxy.become("forward");
  await eventually("health is back", async () => (await health.check("")) === "SERVING");
  expect(performance.now() - returned).toBeLessThan(NOTICE_MS + LEEWAY_MS);
  const sessionId = randomUUID();
  await service.memory.addMemory({ sessionId, messages: [{ content: "back" }] });
  const { messages } = await service.memory.getMemory({ sessionId });
  expect(messages.map(({ content }) => content)).toEqual(["back"]);
  const listed = (await service.sessions.listSessions({})).flatMap(({ sessions }) => sessions);
  expect(listed.map((session) => session.sessionId)).toContain(sessionId);
  health.close();
}

// Mostly waiting, so they wait together.
describe.concurrent("while the database is away", () => {
  it.each<Weather>(["refuse", "black-hole", "cut-answers"])(
    "(%s) each call is UNAVAILABLE in time, and afterwards all work again by themselves",
    async (weather) => {
      const setting = await start();
      await setting.proxy.become(weather);
      expectUnavailable(await callAll(setting.service), LIMIT_MS + LEEWAY_MS);
      await expectRecovery(setting);
    },
  );

  it("a listing that is under way ends as UNAVAILABLE, after what it had", async () => {
    const { service, proxy } = await start();
    for (let n = 0; n < 12; n++) {
      await service.memory.addMemory({
        sessionId: "long",
        messages: Array.from({ length: 1000 }, () => ({ content: "x".repeat(1_000) })),
      });
    }
    const { path, requestSerialize, responseDeserialize } = MemoryServiceService.listMessages;
    const request = ListMessagesRequest.fromPartial({ sessionId: "long" });
    const stream = service.client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request);
    let received = 0;
    stream.on("data", ({ messages }: ListMessagesResponse) => {
      received += messages.length;
      stream.pause();
      // From here on the listing needs more than what was read already.
      void proxy.become("black-hole").then(() => stream.resume());
    });
    const { result, ms } = await timed(
      failure(new Promise((resolve, reject) => stream.on("end", resolve).on("error", reject))),
    );
    expect(result).toMatchObject(UNAVAILABLE);
    expect(ms).toBeLessThan(LIMIT_MS + LEEWAY_MS);
    expect(received).toBeGreaterThan(0);
    expect(received).toBeLessThan(12_000);
  });

  it("health says so within seconds, whichever way it is away, and says when it is back", async () => {
    const { service, proxy } = await start();
    const names = [
      "",
      "sessions.v1.SessionService",
      "sessions.v1.MemoryService",
      "sessions.v1.UserService",
      "sessions.v1.PurgeService",
    ];
    const health = healthClient(service.address);
    const watches = names.map((name) => health.watch(name));
    /** A busy database may have been taken for one that is away for a moment. */
    const expectAll = async (next: Serving): Promise<void> => {
      const isTold = () => watches.every(({ received }) => received.at(-1) === next);
      await eventually(`all are ${next}`, isTold, NOTICE_MS + LEEWAY_MS);
      for (const name of names) {
        await eventually(`${name} is ${next}`, async () => (await health.check(name)) === next, NOTICE_MS + LEEWAY_MS);
      }
    };
    await expectAll("SERVING");
    for (const weather of ["refuse", "black-hole", "cut-answers"] as const) {
      await proxy.become(weather);
      await expectAll("NOT_SERVING");
      await proxy.become("forward");
      await expectAll("SERVING");
    }
    const [told, ...others] = watches.map(({ received }) => received);
    expect(told?.slice(0, 2)).toEqual(["SERVING", "NOT_SERVING"]);
    for (const other of others) expect(other).toEqual(told);
    for (const watch of watches) watch.cancel();
    health.close();
  });

  it.each<Weather>(["refuse", "black-hole"])("(%s) the service starts, answers, and recovers", async (weather) => {
    const setting = await start(weather);
    expect(await setting.service.server.firstContact).toBe("unreachable");
    const health = healthClient(setting.service.address);
    expect(await health.check("")).toBe("NOT_SERVING");
    health.close();
    await expectUnavailableBeforeContact(setting.service);
    await expectRecovery(setting);
    // The indexes, which could not be made at the start, are there.
    const indexes = await setting.service.database.messages.indexes();
    expect(indexes.map(({ name }) => name)).toContain("memory");
  });

  it("calls are UNAVAILABLE too when it is no more than an address that nobody has ever answered at", async ({
    onTestFinished,
  }) => {
    const service = await startService({ mongodbUri: "mongodb://127.0.0.1:1/?replicaSet=x" });
    onTestFinished(() => service.stop());
    await expectUnavailableBeforeContact(service);
  });

  it.each<Weather>(["refuse", "black-hole"])("(%s) the server stops within its grace", async (weather) => {
    const { service, proxy } = await start();
    await proxy.become(weather);
    const read = failure(service.sessions.getSession({ sessionId: "s" }));
    const write = failure(service.memory.addMemory({ sessionId: "s", messages: [{}] }));
    // It needs no database, and comes after those two on the same connection: when it is answered, they are under way.
    await failure(service.sessions.batchGetSessions({}));
    const { ms } = await timed(service.server.stop());
    expect(ms).toBeLessThan(SHUTDOWN_GRACE_MS + LEAVE_MS + LEEWAY_MS);
    for (const outcome of [await read, await write]) expect(outcome.code).toBe("UNAVAILABLE");
  });

  it("a single broken connection is nothing that a reader notices", async () => {
    const { service, proxy } = await start();
    await service.sessions.createSession({ sessionId: "s" });
    for (let n = 0; n < 5; n++) {
      proxy.breakConnections();
      expect((await service.sessions.getSession({ sessionId: "s" })).session?.sessionId).toBe("s");
      await service.memory.addMemory({ sessionId: "s", messages: [{}] });
    }
  });
});
