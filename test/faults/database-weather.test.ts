import { randomUUID } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type { ServiceError } from "@grpc/grpc-js";
import { afterAll, expect, inject, test } from "vitest";
import { openDatabase } from "../../src/store/database.js";
import { type Api, connect, decodeFailure } from "../support/api.js";
import { eventually } from "../support/eventually.js";
import { startProxy } from "../support/proxy.js";
import { healthClient } from "../support/standard-clients.js";
import { createTally } from "./support/attempts.js";
import { killProcesses, startProcess } from "./support/processes.js";
import { createRandom, seedOf } from "./support/random.js";
import { report } from "./support/report.js";
import { createSharedLoad } from "./support/shared-load.js";

afterAll(killProcesses);

/** What a call may take whose caller sets no deadline, and some leeway for a busy machine. */
const LIMIT_MS = 10_000;
const LEEWAY_MS = 10_000;
/** Within how long the service notices that its database is away, and works again when it is back. */
const NOTICE_MS = 5_000;
/** How long the database is there between two faults: long enough to see that all is well again. */
const CALM_MS = 5_800;
/** Calls begun in a second, however many are still waiting. */
const CALLS_PER_SECOND = 60;
/** What the service may need more than it does at rest, however long its callers have to wait. */
const MEMORY_MB = 200;
const MOST_FILES = 200;

test("under load, with the database refusing, silent, cutting its answers and slow, calls end in time and the service recovers by itself", async () => {
  const proxy = await startProxy(inject("mongodbUri"));
  const databaseName = `weather-${randomUUID()}`;
  const service = await startProcess({ MONGODB_URI: proxy.uri, MONGODB_DATABASE: databaseName });
  const database = openDatabase({ uri: inject("mongodbUri"), database: databaseName });
  const health = healthClient(service.address);
  const violations: string[] = [];
  let isOver = false;
  try {
    const watched = health.watch("");
    const load = startLoad(service, violations);
    const tally = createTally();
    const random = createRandom(seedOf(process.env.FAULTS_SEED));
    const shared = createSharedLoad({ tally, random, anyService: async () => service, prefix: "shared" });
    const clients = [0, 0, 1, 1].map((group) => shared.runClient(group, () => isOver));
    await sleep(3_000);
    const usage = watchUsage(service.pid);
    const recoveries: number[] = [];

    const fault = async (name: string, ms: number, begin: () => unknown, end: () => unknown, turns: boolean) => {
      const started = performance.now();
      await begin();
      if (turns) {
        await eventually(
          `${name}: health turns`,
          () => watched.received.at(-1) === "NOT_SERVING",
          NOTICE_MS + LEEWAY_MS,
        );
      }
      await sleep(ms - (performance.now() - started));
      await end();
      const returned = performance.now();
      await eventually(`${name}: health is back`, () => watched.received.at(-1) === "SERVING", NOTICE_MS + LEEWAY_MS);
      await sleep(CALM_MS - (performance.now() - returned));
      const failed = load.calls.filter((call) => call.started > returned && call.outcome && isFailure(call.outcome));
      const last = Math.max(0, ...failed.map((call) => call.started - returned));
      recoveries.push(Math.round(last));
      if (last > NOTICE_MS)
        violations.push(`${name}: a call failed that began ${Math.round(last)} ms after the return`);
    };
    const weather = (name: "refuse" | "black-hole" | "cut-answers", ms: number) =>
      fault(
        name,
        ms,
        () => proxy.become(name),
        () => proxy.become("forward"),
        true,
      );
    await weather("refuse", 3_000);
    // Longer than any call may take.
    await weather("black-hole", 11_000);
    await weather("cut-answers", 3_000);
    await fault(
      "slow",
      5_000,
      () => {
        proxy.delayMs = 500;
      },
      () => {
        proxy.delayMs = 0;
      },
      false,
    );

    isOver = true;
    await Promise.all([load.stop(), ...clients]);
    const { operations, sessions, history } = await shared.finish("database-weather");
    violations.push(...tally.violations);
    const { peakMb, peakFiles, restMb } = usage.stop();
    violations.push(...load.calls.flatMap(faultsOf), ...service.errors);
    for (const { request, ids } of load.unacknowledged) {
      await service.memory.addMemory(request).catch((error) => violations.push(`${ids}: ${error}`));
    }
    // Each message that was ever sent is there by now, and each of them once.
    for (const [sessionId, sent] of load.sent) {
      const chunks = await service.memory.listMessages({ sessionId });
      const stored = chunks.flatMap(({ messages }) => messages.map(({ messageId }) => messageId));
      const { session } = await service.sessions.getSession({ sessionId });
      if (stored.length !== sent.size || stored.some((id) => !sent.has(id)) || session?.messageCount !== sent.size) {
        violations.push(`${sessionId}: ${sent.size} sent, ${stored.length} stored, ${session?.messageCount} counted`);
      }
    }
    if (peakMb > restMb + MEMORY_MB) violations.push(`${peakMb} MB of memory, ${restMb} MB before`);
    if (peakFiles > MOST_FILES) violations.push(`${peakFiles} open files`);

    const count = (...codes: string[]) =>
      load.calls.filter(({ outcome }) => codes.includes(outcome?.code ?? "")).length;
    report("the way to the database breaks under load", {
      tried: load.calls.length,
      acknowledged: count("OK"),
      faults: recoveries.length,
      violations,
      unavailable: count("UNAVAILABLE"),
      "past deadline": count("DEADLINE_EXCEEDED"),
      shed: count("RESOURCE_EXHAUSTED"),
      "longest call ms": Math.round(Math.max(...load.calls.map(({ outcome }) => outcome?.ms ?? 0))),
      "last failure after each return ms": recoveries.join("/"),
      "memory MB": `${restMb} to ${peakMb}`,
      "open files": peakFiles,
      health: watched.received.length,
      shared_operations: operations,
      shared_sessions: sessions,
      history,
    });
    watched.cancel();
    expect(violations).toEqual([]);
    expect(count("UNAVAILABLE")).toBeGreaterThan(0);
  } finally {
    isOver = true;
    health.close();
    service.kill();
    await service.exited;
    await proxy.stop();
    await database.db.dropDatabase();
    await database.close();
  }
});

test("calls whose answers are lost between client and service, and which are sent again, add once", async () => {
  const service = await startProcess({
    MONGODB_URI: inject("mongodbUri"),
    MONGODB_DATABASE: `weather-${randomUUID()}`,
  });
  const proxy = await startProxy(`http://${service.address}`);
  const violations: string[] = [];
  let tried = 0;
  let lost = 0;
  let acknowledged = 0;
  try {
    for (let round = 0; round < 6; round++) {
      const api = connect(`127.0.0.1:${proxy.port}`);
      // The connection is there before its answers get lost.
      await api.memory.getMemory({ sessionId: "warm" });
      const requests = Array.from({ length: 10 }, (_, index) => ({
        sessionId: `lost-${round}-${index}`,
        messages: [0, 1, 2].map((n) => ({ messageId: `m${n}`, content: `text ${n}` })),
      }));
      await proxy.become(round % 2 === 0 ? "lose-answers" : "cut-answers");
      const first = requests.map((request) => api.memory.addMemory(request).catch((error: ServiceError) => error));
      if (round % 2 === 0) {
        // The service has answered all of them by the time that they are stored, or nearly so.
        await eventually("all are stored", async () =>
          (await Promise.all(requests.map(({ sessionId }) => service.memory.getMemory({ sessionId })))).every(
            ({ messages }) => messages.length === 3,
          ),
        );
        proxy.breakConnections();
      }
      for (const outcome of await Promise.all(first)) {
        tried += 1;
        if (outcome instanceof Error) lost += 1;
        else acknowledged += 1;
      }
      await proxy.become("forward");
      api.close();

      const again = connect(`127.0.0.1:${proxy.port}`);
      for (const request of requests) {
        const { messages, sessionCreated } = await again.memory.addMemory(request);
        tried += 1;
        acknowledged += 1;
        const sequences = messages.map(({ sequence }) => sequence).join();
        if (sequences !== "1,2,3" || !sessionCreated) violations.push(`${request.sessionId}: answers ${sequences}`);
        const memory = await service.memory.getMemory({ sessionId: request.sessionId });
        if (memory.messages.length !== 3 || memory.session?.messageCount !== 3) {
          violations.push(`${request.sessionId}: ${memory.messages.length} messages`);
        }
      }
      again.close();
    }
    report("answers get lost between client and service", { tried, acknowledged, faults: lost, violations });
    expect(violations).toEqual([]);
    expect(lost).toBeGreaterThanOrEqual(30);
  } finally {
    service.kill();
    await service.exited;
    await proxy.stop();
  }
});

interface Outcome {
  readonly ms: number;
  readonly code: string;
  readonly reason: string;
  readonly retryDelayMs: number | undefined;
  readonly message: string;
}

interface LoadCall {
  readonly kind: string;
  readonly started: number;
  readonly deadlineMs: number | undefined;
  outcome?: Outcome;
}

/** What a call may be answered while others change the same sessions. */
const ANSWERS = new Set(["OK", "NOT_FOUND", "ALREADY_EXISTS", "FAILED_PRECONDITION"]);

const isFailure = ({ code }: Outcome): boolean => !ANSWERS.has(code);

function faultsOf({ kind, deadlineMs = LIMIT_MS, outcome }: LoadCall): string[] {
  if (outcome === undefined) return [`${kind}: has never ended`];
  const { ms, code, reason, retryDelayMs, message } = outcome;
  const faults: string[] = [];
  if (ms > Math.min(deadlineMs, LIMIT_MS) + LEEWAY_MS) faults.push(`took ${Math.round(ms)} of ${deadlineMs} ms`);
  // What has no reason comes from the client's own timer.
  if (reason !== "" && /mongo|ECONN|socket|127\.0\.0\.1/i.test(message)) faults.push(`says too much: ${message}`);
  const isSaid =
    ANSWERS.has(code) ||
    (code === "UNAVAILABLE" && reason === "STORAGE_UNAVAILABLE" && retryDelayMs !== undefined) ||
    (code === "DEADLINE_EXCEEDED" && (reason === "DEADLINE_EXCEEDED" || reason === "")) ||
    (code === "RESOURCE_EXHAUSTED" && reason === "OVERLOADED" && retryDelayMs !== undefined);
  if (!isSaid) faults.push(`${code} ${reason}, retry after ${retryDelayMs}: ${message}`);
  return faults.map((fault) => `${kind}: ${fault}`);
}

interface Add {
  readonly request: { sessionId: string; messages: { messageId: string; content: string }[] };
  readonly ids: string[];
}

/** What all messages say. */
const WORD = "boat";

/** Calls of many kinds, begun at a steady pace whether those before have ended or not. */
function startLoad(api: Api, violations: string[]) {
  const calls: LoadCall[] = [];
  const sent = new Map<string, Set<string>>();
  const unacknowledged = new Set<Add>();
  const underWay = new Set<Promise<void>>();
  let number = 0;

  const nextAdd = (): Add => {
    // Half of the adds are those that had no answer, sent again.
    const [waiting] = number % 2 === 0 ? unacknowledged : [];
    if (waiting) {
      unacknowledged.delete(waiting);
      return waiting;
    }
    const sessionId = `memory-${number % 30}`;
    const messages = Array.from({ length: 1 + (number % 5) }, (_, index) => ({
      messageId: `${number}-${index}`,
      content: `${WORD} ${"x".repeat(2_000)}`,
    }));
    const ids = messages.map(({ messageId }) => messageId);
    const known = sent.get(sessionId) ?? new Set();
    sent.set(sessionId, known);
    for (const id of ids) known.add(id);
    return { request: { sessionId, messages }, ids };
  };
  const life = () => `life-${number % 17}`;
  const kinds: Record<string, (options: { deadlineMs?: number }) => Promise<unknown>> = {
    addMemory(options) {
      const add = nextAdd();
      return api.memory.addMemory(add.request, options).catch((error: unknown) => {
        unacknowledged.add(add);
        throw error;
      });
    },
    getMemory: (options) => api.memory.getMemory({ sessionId: `memory-${number % 30}` }, options),
    async searchMemory(options) {
      const sessionId = `memory-${number % 30}`;
      const { results } = await api.memory.searchMemory({ sessionId, text: WORD, limit: 100 }, options);
      for (const { message } of results) {
        if (sent.get(sessionId)?.has(message?.messageId ?? "")) continue;
        violations.push(`a search in ${sessionId} found ${message?.sessionId} ${message?.messageId}`);
      }
    },
    createSession: (options) => api.sessions.createSession({ sessionId: life() }, options),
    getSession: (options) => api.sessions.getSession({ sessionId: life() }, options),
    addMemoryAgain: (options) => kinds.addMemory?.(options) as Promise<unknown>,
    listMessages: (options) => api.memory.listMessages({ sessionId: `memory-${number % 30}`, limit: 20 }, options),
    updateSession: (options) => api.sessions.updateSession({ sessionId: life(), metadata: { number } }, options),
    deleteSession: (options) => api.sessions.deleteSession({ sessionId: life() }, options),
    listSessions: (options) => api.sessions.listSessions({ limit: 20 }, options),
    undeleteSession: (options) => api.sessions.undeleteSession({ sessionId: life(), restoreMemory: true }, options),
  };
  const deadlines = [undefined, undefined, 2_000, undefined, 5_000];

  const begin = (): void => {
    number += 1;
    const names = Object.keys(kinds);
    const kind = names[number % names.length] as string;
    const givenMs = deadlines[Math.floor(number / names.length) % deadlines.length];
    // Without a deadline this one goes on as long as its caller waits.
    const deadlineMs = kind === "undeleteSession" ? (givenMs ?? LIMIT_MS) : givenMs;
    const call: LoadCall = { kind, started: performance.now(), deadlineMs };
    calls.push(call);
    const settle = (failed?: ServiceError): void => {
      const { code, reason, retryDelayMs, message } = failed ? decodeFailure(failed) : SUCCESS;
      call.outcome = { ms: performance.now() - call.started, code, reason, retryDelayMs, message };
    };
    const run = (kinds[kind] as (options: { deadlineMs?: number }) => Promise<unknown>)({ deadlineMs })
      .then(() => settle(), settle)
      .finally(() => underWay.delete(run));
    underWay.add(run);
  };
  const timer = setInterval(begin, 1000 / CALLS_PER_SECOND);
  return {
    calls,
    sent,
    unacknowledged,
    async stop() {
      clearInterval(timer);
      await Promise.all(underWay);
    },
  };
}

const SUCCESS = { code: "OK", reason: "", retryDelayMs: undefined, message: "" };

/** Watches what a process holds. */
function watchUsage(pid: number) {
  const memory: number[] = [];
  let peakFiles = 0;
  const look = async (): Promise<void> => {
    const [, kilobytes] = /VmRSS:\s+(\d+) kB/.exec(await readFile(`/proc/${pid}/status`, "utf8")) ?? [];
    memory.push(Math.round(Number(kilobytes) / 1024));
    peakFiles = Math.max(peakFiles, (await readdir(`/proc/${pid}/fd`)).length);
  };
  const timer = setInterval(() => void look().catch(() => {}), 200);
  return {
    stop() {
      clearInterval(timer);
      return { restMb: memory[0] ?? 0, peakMb: Math.max(...memory), peakFiles };
    },
  };
}
