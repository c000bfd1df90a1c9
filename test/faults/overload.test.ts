import { randomUUID } from "node:crypto";
import { once } from "node:events";
import type { IncomingHttpHeaders } from "node:http2";
import { expect, inject, onTestFinished, test } from "vitest";
import * as memoryApi from "../../gen/sessions/v1/memory_service.js";
import { connect } from "../support/api.js";
import { frame, type RawClient, rawClient } from "../support/raw-grpc.js";
import { runService } from "../support/service-process.js";
import { healthClient } from "../support/standard-clients.js";
import { attempt } from "./support/attempt.js";
import { report } from "./support/report.js";
import { miscounts, openStored } from "./support/stored.js";

const MAX_CALLS = 64;
const IN_FLIGHT = 1_000;
const CONNECTIONS = 8;
const LOAD_MS = 5_000;
const RUDE_MS = 2_000;
const SESSIONS = 100;

/** Waiting one's turn among those who were let in may take this much longer than at the limit, for the shedding takes time too. */
const P99_FACTOR = 5;
const P99_LEEWAY_MS = 2_000;

test("more calls than the service takes: the rest are told so at once, and those that it took are served as ever", async () => {
  const databaseName = `overload-${randomUUID()}`;
  const stored = await openStored(inject("mongodbUri"), databaseName);
  onTestFinished(stored.close);
  const service = runService({
    MONGODB_URI: inject("mongodbUri"),
    MONGODB_DATABASE: databaseName,
    SESSIONS_MAX_CALLS: String(MAX_CALLS),
  });
  const { grpc } = await service.ready();
  const violations: string[] = [];
  const acknowledged = new Map<string, string>();
  const unanswered = new Set<string>();

  /** So many callers, a call of each at a time. Who is shed waits as it was told, if it is polite. */
  const load = async (inFlight: number, forMs: number, polite = true): Promise<Load> => {
    const raws = Array.from({ length: CONNECTIONS }, () => rawClient(grpc));
    const figures: Load = { accepted: [], shed: [], tried: 0 };
    const until = performance.now() + forMs;
    const work = async (raw: RawClient): Promise<void> => {
      while (performance.now() < until) {
        const messageId = randomUUID();
        const sessionId = `s-${figures.tried % SESSIONS}`;
        figures.tried += 1;
        const went = await attempt(raw, ADD, addition(sessionId, messageId));
        if (went.kind === "ok") {
          acknowledged.set(messageId, sessionId);
          figures.accepted.push(went.ms);
        } else if (went.kind === "failed" && went.failure.reason === "OVERLOADED") {
          const { code, retryDelayMs, metadata, domain } = went.failure;
          if (code !== "RESOURCE_EXHAUSTED" || domain !== "sessions.v1")
            violations.push(`shed with ${code}, ${domain}`);
          if (!retryDelayMs) violations.push("shed without RetryInfo");
          if (metadata.limited !== "calls" || metadata.max !== String(MAX_CALLS))
            violations.push(JSON.stringify(metadata));
          figures.shed.push(went.ms);
          await pause(polite ? (retryDelayMs ?? 0) * (1 + Math.random()) : 0);
        } else {
          unanswered.add(messageId);
          violations.push(went.kind === "failed" ? `${went.failure.code} ${went.failure.reason}` : went.kind);
        }
      }
    };
    const workers = Array.from({ length: inFlight }, (_, n) => work(raws[n % CONNECTIONS] as RawClient));
    await Promise.all(workers);
    for (const raw of raws) raw.close();
    return figures;
  };

  const health = healthClient(grpc);
  onTestFinished(health.close);
  const api = connect(grpc);
  onTestFinished(api.close);
  const before = await load(MAX_CALLS, LOAD_MS / 2);
  const healthy = watchHealth(() => health.check(""));
  const over = await load(IN_FLIGHT, LOAD_MS);
  // Who comes back at once takes time from everybody, but can break nothing.
  const rude = await load(IN_FLIGHT, RUDE_MS, false);
  const [unhealthy, worstHealthMs] = await healthy.stop();
  // Once more: a machine that was slow for a while is not the service's doing.
  const after = await load(MAX_CALLS, LOAD_MS / 2);
  const p99AtLimit = Math.max(p99(before.accepted), p99(after.accepted));
  if (unhealthy > 0) violations.push(`health did not answer SERVING ${unhealthy} times`);

  const shedAtLimit = before.shed.length + after.shed.length;
  if (shedAtLimit > 0) violations.push(`${shedAtLimit} calls were shed at the limit, none of them too many`);
  if (over.shed.length === 0) violations.push("nothing was shed");
  if (over.accepted.length === 0) violations.push("nothing was accepted");
  if (rude.accepted.length === 0) violations.push("nothing was accepted among rude callers");
  const bound = P99_FACTOR * p99AtLimit + P99_LEEWAY_MS;
  if (p99(over.accepted) > bound) violations.push(`p99 ${p99(over.accepted)} ms under overload, over ${bound}`);
  if (p99(over.shed) > bound) violations.push(`shed after ${p99(over.shed)} ms, over ${bound}`);

  // And then all is as before: every place is free again.
  const afterwards = await Promise.all(
    Array.from({ length: MAX_CALLS }, (_, n) => api.memory.addMemory({ sessionId: `after-${n}`, messages: [{}] })),
  ).catch((error: unknown) => violations.push(`after the load: ${error}`));
  if (Array.isArray(afterwards) && afterwards.length !== MAX_CALLS) violations.push("not all places are free again");
  const there = new Map<string, number>();
  for await (const { _id, epoch } of stored.db.collection<{ _id: string; epoch: string }>("messages").find()) {
    const id = _id.slice(epoch.length + 1);
    there.set(id, (there.get(id) ?? 0) + 1);
  }
  for (const id of acknowledged.keys())
    if (there.get(id) !== 1) violations.push(`${id} is there ${there.get(id)} times`);
  const unasked = there.size - acknowledged.size - MAX_CALLS;
  if (unasked > unanswered.size) violations.push(`${unasked} messages are there that nobody was told of`);
  violations.push(...(await miscounts(stored.db)));
  service.kill("SIGTERM");
  const { code } = await service.exited;
  if (code !== 0) violations.push(`it ended with ${code}`);
  report("overload", {
    tried: before.tried + over.tried + rude.tried + after.tried,
    acknowledged: acknowledged.size,
    faults: over.shed.length + rude.shed.length,
    violations,
    limit: MAX_CALLS,
    inFlight: IN_FLIGHT,
    acceptedAtLimit: before.accepted.length + after.accepted.length,
    acceptedOver: over.accepted.length,
    p99AtLimitMs: p99AtLimit,
    p99OverMs: p99(over.accepted),
    p99ShedMs: p99(over.shed),
    acceptedRude: rude.accepted.length,
    p99RudeMs: p99(rude.accepted),
    worstHealthMs: Math.round(worstHealthMs),
  });
  expect(violations.slice(0, 20)).toEqual([]);
});

test("more open listings than the service takes are refused in the same way, and a place that is left is free at once", async () => {
  const databaseName = `overload-${randomUUID()}`;
  const stored = await openStored(inject("mongodbUri"), databaseName);
  onTestFinished(stored.close);
  const service = runService({
    MONGODB_URI: inject("mongodbUri"),
    MONGODB_DATABASE: databaseName,
    SESSIONS_MAX_STREAMS: "8",
  });
  const { grpc } = await service.ready();
  const api = connect(grpc);
  onTestFinished(api.close);
  for (let n = 0; n < 3; n++) {
    const messages = Array.from({ length: 1000 }, () => ({ content: "x".repeat(4_000) }));
    await api.memory.addMemory({ sessionId: "long", messages });
  }
  const violations: string[] = [];
  const list = memoryApi.MemoryServiceService.listMessages.path;
  const request = memoryApi.ListMessagesRequest.encode(
    memoryApi.ListMessagesRequest.fromPartial({ sessionId: "long" }),
  );
  const bytes = request.finish();
  let refusals = 0;
  for (let round = 0; round < 5; round++) {
    const holder = rawClient(grpc);
    const deadline = performance.now() + 60_000;
    // They stay open, for nobody reads them. The places of those before may take a moment to be known as free.
    for (let held = 0; held < 8; ) {
      const stream = holder.open(list).end(frame(bytes));
      stream.on("error", () => {});
      const [headers] = (await once(stream, "response")) as [IncomingHttpHeaders];
      if (headers["grpc-status"] === undefined) held += 1;
      else if (performance.now() > deadline) throw new Error("the places are not free again");
    }
    const raw = rawClient(grpc);
    const ninth = await attempt(raw, list, bytes);
    if (ninth.kind === "failed" && ninth.failure.reason === "OVERLOADED" && ninth.failure.retryDelayMs) refusals += 1;
    else violations.push(`the ninth listing: ${JSON.stringify(ninth).slice(0, 300)}`);
    // Unary calls have places of their own.
    await api.sessions.getSession({ sessionId: "long" });
    raw.close();
    holder.close();
  }
  report("overload of listings", { tried: 45, acknowledged: 40, faults: refusals, violations });
  expect(violations).toEqual([]);
});

interface Load {
  readonly accepted: number[];
  readonly shed: number[];
  tried: number;
}

const ADD = memoryApi.MemoryServiceService.addMemory.path;

function addition(sessionId: string, messageId: string): Uint8Array {
  const request = { sessionId, messages: [{ messageId, content: "x".repeat(200) }] };
  return memoryApi.AddMemoryRequest.encode(memoryApi.AddMemoryRequest.fromPartial(request)).finish();
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

function p99(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return Math.round(sorted[Math.floor(sorted.length * 0.99)] ?? 0);
}

/** Asks again and again; answers how often it was not SERVING, and the longest that it took. */
function watchHealth(check: () => Promise<string>): { stop(): Promise<[number, number]> } {
  let stopped = false;
  let failures = 0;
  let worst = 0;
  const running = (async () => {
    while (!stopped) {
      const started = performance.now();
      const serving = await check().catch(() => "nothing");
      if (serving !== "SERVING") failures += 1;
      worst = Math.max(worst, performance.now() - started);
      await pause(100);
    }
  })();
  return {
    async stop() {
      stopped = true;
      await running;
      return [failures, worst];
    },
  };
}
