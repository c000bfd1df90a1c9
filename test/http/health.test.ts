import { expect, inject, onTestFinished, test } from "vitest";
import { eventually } from "../support/eventually.js";
import { hold } from "../support/hold.js";
import { scrapeOf } from "../support/prometheus.js";
import { startProxy } from "../support/proxy.js";
import { startService, type TestService, type TestServiceOptions } from "../support/service.js";

const startHttp = (options: TestServiceOptions = {}) =>
  startService({ httpListen: { host: "127.0.0.1", port: 0 }, ...options });

const get = (service: TestService, path: string) => fetch(`http://${service.server.httpAddress}${path}`);

test("/healthz answers as the legacy SDKs want it, whatever slash their base URL ends in", async () => {
  const service = await startHttp();
  onTestFinished(service.stop);
  for (const path of ["/healthz", "//healthz"]) {
    const answer = await get(service, path);
    expect(answer.status).toBe(200);
    expect(await answer.text()).toBe(".");
    const [, major, minor] = /^(\d+)\.(\d+)\.\d+-\S+$/.exec(answer.headers.get("x-zep-version") ?? "") ?? [];
    // Below 0.21 the JavaScript SDK warns.
    expect(Number(major) * 1_000 + Number(minor)).toBeGreaterThanOrEqual(21);
  }
});

test("/readyz turns with the database, and /healthz does not", async () => {
  const proxy = await startProxy(inject("mongodbUri"));
  onTestFinished(proxy.stop);
  const service = await startHttp({ mongodbUri: proxy.uri, shutdownGraceMs: 500 });
  onTestFinished(service.stop);
  expect((await get(service, "/readyz")).status).toBe(200);
  await proxy.become("black-hole");
  await eventually("it is not ready", async () => (await get(service, "/readyz")).status === 503);
  expect((await get(service, "/healthz")).status).toBe(200);
  await proxy.become("forward");
  proxy.breakConnections();
  await eventually("it is ready again", async () => (await get(service, "/readyz")).status === 200);
});

test("a process that has never reached its database lives, and is not ready", async () => {
  const service = await startHttp({ mongodbUri: "mongodb://127.0.0.1:1/?replicaSet=x" });
  onTestFinished(service.stop);
  expect((await get(service, "/healthz")).status).toBe(200);
  expect((await get(service, "/readyz")).status).toBe(503);
});

test("from the beginning of a stop it is not ready, while what is under way is finished", async () => {
  const service = await startHttp({ shutdownGraceMs: 60_000 });
  onTestFinished(service.stop);
  await service.sessions.createSession({ sessionId: "s" });
  const release = await hold(service.database, "s");
  const held = service.memory.addMemory({ sessionId: "s", messages: [{}] });
  await eventually("it is under way", async () => {
    const figures = scrapeOf(await (await get(service, "/metrics")).text());
    return figures.value("sessions_calls_in_flight", { kind: "calls" }) === 1;
  });
  const stopped = service.server.stop();
  const ready = await get(service, "/readyz").then(
    ({ status }) => status,
    () => "not to be reached",
  );
  expect([503, "not to be reached"]).toContain(ready);
  await release();
  expect((await held).messages).toHaveLength(1);
  await stopped;
});
