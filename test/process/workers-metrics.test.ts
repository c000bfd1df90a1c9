import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { request } from "node:http";
import { text } from "node:stream/consumers";
import { expect, inject, onTestFinished, test } from "vitest";
import { connect } from "../support/api.js";
import { eventually } from "../support/eventually.js";
import { type Scrape, scrapeOf } from "../support/prometheus.js";
import { runService } from "../support/service-process.js";

const ADD_MEMORY = { method: "sessions.v1.MemoryService/AddMemory", code: "OK" };
const CALLS = 8;

/** Two workers, which have been called over so many connections that both have been. */
async function start(): Promise<{ http: string; workers: [number, number] }> {
  const service = runService({
    MONGODB_URI: inject("mongodbUri"),
    MONGODB_DATABASE: `test-${randomUUID()}`,
    SESSIONS_HTTP_LISTEN: "127.0.0.1:0",
    SESSIONS_WORKERS: "2",
  });
  const { grpc, http } = await service.ready();
  const apis = Array.from({ length: CALLS }, () => connect(grpc));
  await Promise.all(apis.map((api) => api.memory.addMemory({ sessionId: randomUUID(), messages: [{}] })));
  for (const api of apis) api.close();
  const children = await readFile(`/proc/${service.pid}/task/${service.pid}/children`, "utf8");
  return { http, workers: children.trim().split(/\s+/).map(Number) as [number, number] };
}

/** Over a connection of its own: which worker is asked changes from one to the next. It rejects when that one does not answer. */
const scrape = (http: string, timeout = 60_000): Promise<Scrape> =>
  new Promise((resolve, reject) => {
    const asked = request(`http://${http}/metrics`, { agent: false, timeout }, (answer) => {
      if (answer.statusCode === 200) text(answer).then((body) => resolve(scrapeOf(body)), reject);
      else reject(new Error(`answered ${answer.statusCode}`));
    });
    asked.on("error", reject).on("timeout", () => asked.destroy(new Error("no answer")));
    asked.end();
  });

const addedIn = async (http: string, timeout?: number): Promise<number | undefined> =>
  (await scrape(http, timeout)).value("sessions_calls_total", ADD_MEMORY);

/** Until one answers: a slow machine may not have the figures of all in time. */
const told = (http: string, timeout?: number): Promise<number> =>
  eventually("one answers", () => addedIn(http, timeout).catch(() => undefined));

test("whichever worker is asked tells of all of them", async () => {
  const { http } = await start();
  await eventually("all calls are counted", async () => (await told(http)) === CALLS);
  for (let n = 0; n < 6; n++) expect(await told(http)).toBe(CALLS);
  const figures = await eventually("one answers", () => scrape(http).catch(() => undefined));
  expect(figures.value("sessions_database_reachable")).toBe(1);
  expect(figures.value("sessions_build_info")).toBe(1);
  expect(figures.value("nodejs_version_info")).toBe(1);
  expect(figures.value("process_start_time_seconds")).toBeLessThanOrEqual(Date.now() / 1_000);
});

test("when a worker dies what it has counted stays counted, or else all would seem to have begun anew", async () => {
  const { http, workers } = await start();
  await eventually("all calls are counted", async () => (await told(http)) === CALLS);
  process.kill(workers[0], "SIGKILL");
  await eventually("it is gone", () => {
    try {
      process.kill(workers[0], 0);
      return false;
    } catch {
      return true;
    }
  });
  for (let n = 0; n < 4; n++) expect(await told(http)).toBe(CALLS);
});

test("a worker that hangs does not have the others hang, and what it has told last counts", async () => {
  const { http, workers } = await start();
  await eventually("all calls are counted", async () => (await told(http)) === CALLS);
  process.kill(workers[0], "SIGSTOP");
  onTestFinished(() => void process.kill(workers[0], "SIGCONT"));
  // The one that hangs is asked in vain every other time.
  for (let n = 0; n < 2; n++) expect(await told(http, 10_000)).toBe(CALLS);
});
