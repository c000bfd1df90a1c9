import { array, assert, asyncProperty, double, nat, record } from "fast-check";
import { Histogram, Registry } from "prom-client";
import { expect, test } from "vitest";
import { QuickHistogram } from "../../src/observability/histogram.js";
import { remainder, textOfAll } from "../../src/observability/merge.js";
import { createMetrics, type Metrics } from "../../src/observability/metrics.js";
import { scrapeOf } from "../support/prometheus.js";

const GET = "/sessions.v1.SessionService/GetSession";
const LIST = "/sessions.v1.SessionService/ListSessions";
const GET_METHOD = { method: GET.slice(1) };

const NO_FIGURES = {
  requestBytes: 0,
  searchIndexBytes: 0,
  cache: { sessions: 0, bytes: 0 },
  watchers: { atHead: 0, catchingUp: 0 },
};

function someMetrics(some: Partial<typeof NO_FIGURES> = {}): Metrics {
  const figures = { ...NO_FIGURES, ...some };
  const methods = [
    { path: GET, streams: false },
    { path: LIST, streams: true },
  ];
  const metrics = createMetrics({ version: "1.2.3", figures: () => figures });
  metrics.knows(methods);
  return metrics;
}

function call({ calls }: Metrics, path: string, code = "OK", seconds = 0.02): void {
  calls.began(path);
  calls.ended(path, code, seconds);
}

test("a histogram that is counted in arrays reads like prom-client's own", async () => {
  const buckets = [0.001, 0.01, 0.1, 1];
  const observation = record({ series: nat(2), value: double({ min: 0, max: 2, noNaN: true }) });
  await assert(
    asyncProperty(array(observation), async (observations) => {
      const registries = { quick: new Registry(), own: new Registry() };
      const settings = { name: "h", help: "What it is." };
      const quick = new QuickHistogram({ ...settings, label: "of", buckets, registry: registries.quick });
      const own = new Histogram({ ...settings, labelNames: ["of"], buckets, registers: [registries.own] });
      const series = ["a", "b", "c"].map((of) => {
        own.zero({ of });
        return { of, quick: quick.series({ of }) };
      });
      for (const { series: index, value } of observations) {
        series[index]?.quick.observe(value);
        own.observe({ of: series[index]?.of ?? "" }, value);
      }
      const samples = async (registry: Registry) => scrapeOf(await registry.metrics()).samples;
      expect(await samples(registries.quick)).toEqual(await samples(registries.own));
      const reported = async (registry: Registry) =>
        scrapeOf(await textOfAll([await registry.getMetricsAsJSON()])).samples;
      expect(await reported(registries.quick)).toEqual(await reported(registries.own));
    }),
  );
});

test("a bound belongs to its bucket", async () => {
  const metrics = someMetrics();
  call(metrics, GET, "OK", 0.01);
  const scrape = scrapeOf(await metrics.text());
  const bucket = (le: string) => scrape.value("sessions_call_duration_seconds_bucket", { ...GET_METHOD, le });
  expect([bucket("0.005"), bucket("0.01"), bucket("+Inf")]).toEqual([0, 1, 1]);
});

test("however many paths are made up, they are one series, and nothing of them is told", async () => {
  const metrics = someMetrics();
  const before = scrapeOf(await metrics.text()).samples.length;
  for (let n = 0; n < 1_000; n++) {
    call(metrics, `/sessions.v1.SessionService/Made-up-${n}`, "UNIMPLEMENTED");
    metrics.calls.refused(`/made.up/${n}`, { code: "PERMISSION_DENIED", reason: "PERMISSION_DENIED", metadata: {} });
  }
  const text = await metrics.text();
  const scrape = scrapeOf(text);
  expect(text).not.toMatch(/made.up/i);
  expect(scrape.value("sessions_calls_total", { method: "unknown" })).toBe(2_000);
  expect(scrape.samples.length - before).toBe(2);
});

test("with several processes counts and sizes are summed, the database is as its worst sees it, and lag is that of the last", async () => {
  const processes = [
    someMetrics({ requestBytes: 5, searchIndexBytes: 0, cache: { sessions: 1, bytes: 100 } }),
    someMetrics({ requestBytes: 7, searchIndexBytes: 0, cache: { sessions: 2, bytes: 10 } }),
  ];
  const [first, second] = processes as [Metrics, Metrics];
  for (let n = 0; n < 3; n++) call(first, GET);
  call(second, GET, "NOT_FOUND");
  first.calls.began(LIST);
  first.databaseIs("reachable");
  second.databaseIs("unreachable");
  first.lagIs({ purge: 90_000, expiry: 0 });
  second.lagIs({ purge: 30_000, expiry: 40_000 });
  const scrape = scrapeOf(await textOfAll(await Promise.all(processes.map((one) => one.report()))));
  expect(scrape.value("sessions_calls_total", { ...GET_METHOD, code: "OK" })).toBe(3);
  expect(scrape.value("sessions_calls_total", GET_METHOD)).toBe(4);
  expect(scrape.value("sessions_call_duration_seconds_count", GET_METHOD)).toBe(4);
  expect(scrape.value("sessions_call_duration_seconds_bucket", { ...GET_METHOD, le: "0.025" })).toBe(4);
  expect(scrape.value("sessions_calls_in_flight", { kind: "streams" })).toBe(1);
  expect(scrape.value("sessions_request_in_flight_bytes")).toBe(12);
  expect(scrape.value("sessions_cache_bytes")).toBe(110);
  expect(scrape.value("sessions_database_reachable")).toBe(0);
  expect(scrape.value("sessions_purge_lag_seconds")).toBe(90);
  expect(scrape.value("sessions_expiry_lag_seconds")).toBe(40);
  expect(scrape.value("sessions_build_info", { version: "1.2.3" })).toBe(1);
});

test("what a process has counted stays in the sum when it has gone, and what it held does not", async () => {
  const processes = [someMetrics(), someMetrics(), someMetrics()];
  for (const one of processes) {
    call(one, GET);
    one.calls.began(GET);
    one.databaseIs("unreachable");
  }
  const [first, second, third] = (await Promise.all(processes.map((one) => one.report()))) as [never, never, never];
  const gone = await remainder([await remainder([[], first]), second]);
  const scrape = scrapeOf(await textOfAll([gone, third]));
  expect(scrape.value("sessions_calls_total", GET_METHOD)).toBe(3);
  expect(scrape.value("sessions_call_duration_seconds_count", GET_METHOD)).toBe(3);
  expect(scrape.value("sessions_calls_in_flight", { kind: "calls" })).toBe(1);
  const alone = scrapeOf(await textOfAll([gone]));
  expect(alone.names).not.toContain("sessions_database_reachable");
});
