import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, inject, onTestFinished, test } from "vitest";
import { ListMessagesRequest, MemoryServiceService } from "../../gen/sessions/v1/memory_service.js";
import { Role, startKeyed } from "../auth/support.js";
import { failure } from "../support/api.js";
import { eventually } from "../support/eventually.js";
import { callAny, EVERY_METHOD } from "../support/every-method.js";
import { idleTtl } from "../support/expiry.js";
import { hold } from "../support/hold.js";
import { type Labels, type Scrape, scrapeOf } from "../support/prometheus.js";
import { startProxy } from "../support/proxy.js";
import { rawClient } from "../support/raw-grpc.js";
import { LIMITS, startService, type TestService, type TestServiceOptions } from "../support/service.js";

const HTTP = { httpListen: { host: "127.0.0.1", port: 0 } };

const startHttp = (options: TestServiceOptions = {}): Promise<TestService> => startService({ ...HTTP, ...options });

const textOf = async (service: TestService): Promise<string> => {
  const answer = await fetch(`http://${service.server.httpAddress}/metrics`);
  expect(answer.status).toBe(200);
  expect(answer.headers.get("content-type")).toMatch(/^text\/plain; version=0\.0\.4/);
  return answer.text();
};

const scrape = async (service: TestService): Promise<Scrape> => scrapeOf(await textOf(service));

/** Until a figure is this one. */
const becomes = (service: TestService, expected: number, name: string, labels?: Labels): Promise<unknown> =>
  eventually(`${name} ${JSON.stringify(labels ?? {})} is ${expected}`, async () => {
    return (await scrape(service)).value(name, labels) === expected;
  });

const GET_SESSION = { method: "sessions.v1.SessionService/GetSession" };
const ADD_MEMORY = { method: "sessions.v1.MemoryService/AddMemory" };
const LIST_MESSAGES = { method: "sessions.v1.MemoryService/ListMessages" };

const HOUR_MS = 3_600_000;

describe("a service that is alone", () => {
  let service: TestService;
  beforeAll(async () => {
    service = await startHttp({ purgeIntervalMs: 3_600_000 });
  });
  afterAll(() => service.stop());

  test("each method is there from the start, at zero", async () => {
    const figures = await scrape(service);
    for (const { path } of EVERY_METHOD) {
      expect([path, figures.value("sessions_calls_total", { method: path.slice(1), code: "OK" })]).toEqual([path, 0]);
    }
    expect(figures.value("sessions_database_reachable")).toBe(1);
    expect(figures.value("sessions_build_info")).toBe(1);
  });

  test("calls are counted by method and code, and timed", async () => {
    const { sessions } = service;
    await sessions.createSession({ sessionId: "counted" });
    for (let n = 0; n < 3; n++) await sessions.getSession({ sessionId: "counted" });
    await failure(sessions.getSession({ sessionId: "nobody" }));
    await failure(sessions.getSession({ sessionId: "" }));
    await becomes(service, 5, "sessions_calls_total", GET_SESSION);
    const figures = await scrape(service);
    const calls = (code: string) => figures.value("sessions_calls_total", { ...GET_SESSION, code });
    expect([calls("OK"), calls("NOT_FOUND"), calls("INVALID_ARGUMENT")]).toEqual([3, 1, 1]);
    expect(figures.value("sessions_call_duration_seconds_count", GET_SESSION)).toBe(5);
    expect(figures.value("sessions_call_duration_seconds_bucket", { ...GET_SESSION, le: "+Inf" })).toBe(5);
    expect(figures.value("sessions_call_duration_seconds_sum", GET_SESSION)).toBeGreaterThan(0);
  });

  test("a stream is in flight as long as it is read, and then timed", async () => {
    const content = "x".repeat(1024 * 1024);
    const messages = Array.from({ length: 7 }, () => ({ content }));
    for (let n = 0; n < 6; n++) await service.memory.addMemory({ sessionId: "long", messages });
    const { path, requestSerialize, responseDeserialize } = MemoryServiceService.listMessages;
    const request = ListMessagesRequest.fromPartial({ sessionId: "long" });
    const stream = service.client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request);
    stream.on("error", () => {});
    await becomes(service, 1, "sessions_calls_in_flight", { kind: "streams" });
    expect((await scrape(service)).value("sessions_stream_duration_seconds_count", LIST_MESSAGES)).toBe(0);
    stream.cancel();
    await becomes(service, 0, "sessions_calls_in_flight", { kind: "streams" });
    const figures = await scrape(service);
    expect(figures.value("sessions_stream_duration_seconds_count", LIST_MESSAGES)).toBe(1);
    expect(figures.value("sessions_calls_total", { ...LIST_MESSAGES, code: "CANCELLED" })).toBe(1);
    expect(figures.value("sessions_call_duration_seconds_count", LIST_MESSAGES)).toBeUndefined();
  });

  test("calls are counted whichever door they come by", async () => {
    const before = await scrape(service);
    const at = (path: string) => `http://${service.server.httpAddress}${path}`;
    const body = JSON.stringify({ sessionId: "counted" });
    const headers = { "content-type": "application/json" };
    await fetch(at(`/${GET_SESSION.method}`), { method: "POST", headers, body });
    await fetch(at("/api/v1/sessions/counted"));
    await fetch(at("/api/v1/sessions"));
    const counted = async (method: string) => {
      const calls = async (figures: Scrape) => figures.value("sessions_calls_total", { method, code: "OK" });
      return ((await calls(await scrape(service))) ?? 0) - ((await calls(before)) ?? 0);
    };
    for (const method of [GET_SESSION.method, "zep.v1/GetSession", "zep.v1/ListSessions"]) {
      await eventually(`${method} is counted`, async () => (await counted(method)) === 1);
    }
    expect(await counted("unknown")).toBe(0);
  });

  test("groups are told of by how many share one", async () => {
    const before = await scrape(service);
    const ids = Array.from({ length: 64 }, () => randomUUID());
    await Promise.all(ids.map((sessionId) => service.memory.addMemory({ sessionId, messages: [{}] })));
    await Promise.all(ids.map((sessionId) => service.memory.getMemory({ sessionId })));
    await Promise.all(ids.map((sessionId) => service.sessions.getSession({ sessionId })));
    const grown = async (name: string, kind: string) =>
      ((await scrape(service)).value(name, { kind }) ?? 0) - (before.value(name, { kind }) ?? 0);
    for (const kind of ["commit", "memory_read", "session_read"]) {
      await eventually(`${kind}s are counted`, async () => (await grown("sessions_group_calls_sum", kind)) >= 64);
      expect(await grown("sessions_group_calls_sum", kind)).toBe(64);
      expect(await grown("sessions_group_calls_count", kind)).toBeLessThan(64);
      expect(await grown("sessions_group_duration_seconds_count", kind)).toBe(
        await grown("sessions_group_calls_count", kind),
      );
    }
  });

  test("what was made up by a caller is in no label", async () => {
    const secret = `made-up-${randomUUID()}`;
    const raw = rawClient(service.address);
    for (const path of [`/sessions.v1.SessionService/${secret}`, `/${secret}/GetSession`, `/${secret}`]) {
      for (let n = 0; n < 3; n++) await raw.call(path, { headers: { "x-request-id": secret } });
    }
    raw.close();
    await fetch(`http://${service.server.httpAddress}/${secret}`);
    await service.users.createUser({ userId: secret });
    await service.sessions.createSession({ sessionId: secret, userId: secret, metadata: { [secret]: secret } });
    await failure(service.sessions.getSession({ sessionId: `${secret}"}\n` }));
    const text = await textOf(service);
    expect(text).not.toContain("made-up");
    const methods = new Set(EVERY_METHOD.map(({ path }) => path.slice(1)));
    for (const method of scrapeOf(text).labelValues("method")) {
      if (!/^zep\.v1\/[A-Z][A-Za-z]+$/.test(method)) expect([...methods, "unknown"]).toContain(method);
    }
  });

  test("is answered while calls come, and never goes back", async () => {
    let isOver = false;
    const load = Array.from({ length: 32 }, async (_, worker) => {
      for (let n = 0; !isOver; n++) {
        const sessionId = `loaded-${worker}-${n % 4}`;
        await service.memory.addMemory({ sessionId, messages: [{ content: "x" }] });
        await service.memory.getMemory({ sessionId });
      }
    });
    const added: number[] = [];
    // For as long as it takes until some more calls have come, however slow the database is.
    await eventually("twenty looks, and more calls than at first", async () => {
      added.push((await scrape(service)).value("sessions_calls_total", ADD_MEMORY) ?? 0);
      return added.length >= 20 && (added.at(-1) as number) > (added[0] as number);
    }).finally(() => {
      isOver = true;
    });
    await Promise.all(load);
    expect(added).toEqual([...added].sort((a, b) => a - b));
  });
});

test("what is refused is counted by what there was too much of, and everything is still told meanwhile", async () => {
  const service = await startHttp({ limits: { ...LIMITS, maxCalls: 2 } });
  onTestFinished(service.stop);
  const ids = ["a", "b"];
  for (const sessionId of ids) await service.sessions.createSession({ sessionId });
  const releases = await Promise.all(ids.map((id) => hold(service.database, id)));
  const held = ids.map((sessionId) =>
    service.memory.addMemory({ sessionId, messages: [{ content: "x".repeat(50_000) }] }),
  );
  await becomes(service, 2, "sessions_calls_in_flight", { kind: "calls" });
  expect((await scrape(service)).value("sessions_request_in_flight_bytes")).toBeGreaterThan(100_000);
  for (let n = 0; n < 3; n++) await failure(service.sessions.getSession({ sessionId: "a" }));
  expect((await fetch(`http://${service.server.httpAddress}/healthz`)).status).toBe(200);
  expect((await fetch(`http://${service.server.httpAddress}/readyz`)).status).toBe(200);
  await becomes(service, 3, "sessions_calls_refused_total", { reason: "OVERLOADED", limited: "calls" });
  expect((await scrape(service)).value("sessions_calls_total", { ...GET_SESSION, code: "RESOURCE_EXHAUSTED" })).toBe(3);
  for (const release of releases) await release();
  await Promise.all(held);
  await becomes(service, 0, "sessions_calls_in_flight", { kind: "calls" });
  await becomes(service, 0, "sessions_request_in_flight_bytes");
});

test("what is kept of sessions is told, and whether it was of use", async () => {
  const service = await startHttp();
  onTestFinished(service.stop);
  const other = await startHttp({ databaseName: service.database.db.databaseName });
  onTestFinished(other.stop);
  const asked = (cache: string, outcome: string, expected: number) =>
    becomes(service, expected, "sessions_cache_requests_total", { cache, outcome });

  await other.memory.addMemory({ sessionId: "s", messages: [{ content: "1" }] });
  await service.memory.getMemory({ sessionId: "s" });
  await asked("memory", "miss", 1);
  await service.memory.getMemory({ sessionId: "s" });
  await asked("memory", "hit", 1);
  await other.memory.addMemory({ sessionId: "s", messages: [{ content: "2" }] });
  await service.memory.getMemory({ sessionId: "s" });
  await asked("memory", "partial", 1);
  await other.memory.clearMemory({ sessionId: "s" });
  await service.memory.getMemory({ sessionId: "s" });
  await asked("memory", "stale", 1);

  for (let n = 0; n < 3; n++) await service.memory.addMemory({ sessionId: "t", messages: [{ content: "3" }] });
  await asked("state", "miss", 1);
  await asked("state", "hit", 2);
  await other.memory.addMemory({ sessionId: "t", messages: [{ content: "4" }] });
  await service.memory.addMemory({ sessionId: "t", messages: [{ content: "5" }] });
  await asked("state", "stale", 1);
  const figures = await scrape(service);
  expect(figures.value("sessions_cache_sessions")).toBe(2);
  expect(figures.value("sessions_cache_bytes")).toBeGreaterThan(0);
});

describe("erasure", () => {
  test("is counted: sessions, messages, users", async () => {
    const service = await startHttp();
    onTestFinished(service.stop);
    await service.users.createUser({ userId: "u" });
    await service.memory.addMemory({ sessionId: "of-u", userId: "u", messages: [{}, {}] });
    await service.memory.addMemory({ sessionId: "s", messages: [{}, {}, {}] });
    await service.sessions.purgeSession({ sessionId: "s" });
    await service.users.purgeUser({ userId: "u" });
    await becomes(service, 2, "sessions_purged_total", { kind: "sessions" });
    await becomes(service, 5, "sessions_purged_total", { kind: "messages" });
    await becomes(service, 1, "sessions_purged_total", { kind: "users" });
  });

  test.each([
    [
      "a session",
      (service: TestService, due: Date) =>
        service.database.sessions.updateOne(
          { _id: "default/s" },
          { $set: { deleted: true, deleteTime: due, purgeTime: due } },
        ),
    ],
    [
      "a user",
      (service: TestService, due: Date) =>
        service.database.users.updateOne(
          { _id: "default/u" },
          { $set: { deleted: true, deleteTime: due, purgeTime: due } },
        ),
    ],
    [
      "messages that have not got their time yet",
      (service: TestService, due: Date) =>
        service.database.sessions.updateOne(
          { _id: "default/s" },
          { $set: { retired: [{ epoch: "e", deleteTime: due, purgeTime: due, doneTo: 0, task: "mark" }] } },
        ),
    ],
  ])("how far it is behind is told by every process, whosever turn it is: %s", async (_, make) => {
    const service = await startHttp({ purgeIntervalMs: HOUR_MS });
    onTestFinished(service.stop);
    await service.users.createUser({ userId: "u" });
    await service.sessions.createSession({ sessionId: "s" });
    await becomes(service, 0, "sessions_purge_lag_seconds");
    await make(service, new Date(Date.now() - HOUR_MS));

    const { databaseName } = service.database.db;
    const watching = await startHttp({ databaseName, purgeIntervalMs: HOUR_MS });
    onTestFinished(watching.stop);
    const lag = async () => (await scrape(watching)).value("sessions_purge_lag_seconds") ?? 0;
    await eventually("it is an hour behind", async () => (await lag()) >= HOUR_MS / 1_000);
    expect(await lag()).toBeLessThan(2 * (HOUR_MS / 1_000));

    const purging = await startHttp({ databaseName, purgeIntervalMs: 100 });
    onTestFinished(purging.stop);
    await becomes(purging, 0, "sessions_purge_lag_seconds");
  });
});

test("how many sessions have expired is counted where they were deleted, and how far that is behind is told by every process", async () => {
  const service = await startHttp({ purgeIntervalMs: HOUR_MS });
  onTestFinished(service.stop);
  await service.sessions.createSession({ sessionId: "s", expiry: idleTtl(HOUR_MS) });
  await service.sessions.createSession({ sessionId: "lives", expiry: idleTtl(HOUR_MS) });
  const { sessions } = service.database;
  await sessions.updateOne({ _id: "default/s" }, { $set: { expiresAt: new Date(Date.now() - HOUR_MS) } });

  const { databaseName } = service.database.db;
  const watching = await startHttp({ databaseName, purgeIntervalMs: HOUR_MS });
  onTestFinished(watching.stop);
  const lag = async () => (await scrape(watching)).value("sessions_expiry_lag_seconds") ?? 0;
  await eventually("it is an hour behind", async () => (await lag()) >= HOUR_MS / 1_000);
  expect((await scrape(watching)).value("sessions_purge_lag_seconds")).toBe(0);

  const expiring = await startHttp({ databaseName, purgeIntervalMs: 100 });
  onTestFinished(expiring.stop);
  await becomes(expiring, 1, "sessions_expired_total");
  await becomes(expiring, 0, "sessions_expiry_lag_seconds");
  expect((await scrape(watching)).value("sessions_expired_total")).toBe(0);
});

test("the database is told to be away, and back", async () => {
  const proxy = await startProxy(inject("mongodbUri"));
  onTestFinished(proxy.stop);
  const service = await startHttp({ mongodbUri: proxy.uri, shutdownGraceMs: 500 });
  onTestFinished(service.stop);
  await becomes(service, 1, "sessions_database_reachable");
  await proxy.become("refuse");
  await becomes(service, 0, "sessions_database_reachable");
  await failure(service.sessions.getSession({ sessionId: "s" }));
  await becomes(service, 1, "sessions_calls_total", { ...GET_SESSION, code: "UNAVAILABLE" });
  await proxy.become("forward");
  await becomes(service, 1, "sessions_database_reachable");
});

test("where callers show keys, it is open to all and tells of none of them", async () => {
  const keyed = await startKeyed(HTTP);
  onTestFinished(keyed.stop);
  const { service } = keyed;
  const reader = await keyed.caller({ role: Role.ROLE_READER, project: "shop", name: "till" });
  await reader.sessions.listSessions({});
  await failure(reader.sessions.createSession({ sessionId: "s" }));
  const nobody = keyed.as(undefined);
  for (const method of EVERY_METHOD) await callAny(nobody.client, method).catch(() => {});
  await becomes(service, EVERY_METHOD.length, "sessions_calls_refused_total", { reason: "UNAUTHENTICATED" });
  await becomes(service, 1, "sessions_calls_refused_total", { reason: "PERMISSION_DENIED" });
  const text = await textOf(service);
  for (const told of ["shop", "till", reader.keyId, reader.secret]) expect(text).not.toContain(told);
  for (const path of ["/healthz", "/readyz"])
    expect((await fetch(`http://${service.server.httpAddress}${path}`)).status).toBe(200);
});
