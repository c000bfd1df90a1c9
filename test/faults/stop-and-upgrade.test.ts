import { randomUUID } from "node:crypto";
import type { IndexDescription } from "mongodb";
import { expect, inject, onTestFinished, test } from "vitest";
import * as memoryApi from "../../gen/sessions/v1/memory_service.js";
import { createClient, SessionsClientError } from "../../src/client/index.js";
import { INDEXES } from "../../src/store/indexes.js";
import { type Api, connect } from "../support/api.js";
import { eventually, timed } from "../support/eventually.js";
import { type RawClient, rawClient } from "../support/raw-grpc.js";
import { runService, type ServiceProcess } from "../support/service-process.js";
import { attempt } from "./support/attempt.js";
import { startBalancer } from "./support/balancer.js";
import { report } from "./support/report.js";
import { miscounts, openStored, type Stored } from "./support/stored.js";

interface House {
  readonly stored: Stored;
  /** One more process on the same database. */
  start(env?: Record<string, string>): ServiceProcess;
}

async function house(): Promise<House> {
  const databaseName = `stop-${randomUUID()}`;
  const stored = await openStored(inject("mongodbUri"), databaseName);
  onTestFinished(stored.close);
  const env = { MONGODB_URI: inject("mongodbUri"), MONGODB_DATABASE: databaseName };
  return { stored, start: (more = {}) => runService({ ...env, ...more }) };
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** The ids of a session's messages, in order. */
async function memoryOf(api: Api, sessionId: string): Promise<string[]> {
  const chunks = await api.memory.listMessages({ sessionId, chunkSize: 1000 });
  return chunks.flatMap(({ messages }) => messages.map(({ messageId }) => messageId));
}

test("SIGTERM under full load: each call that was accepted is answered, and retries add what is missing, once", async () => {
  const { stored, start } = await house();
  const sessions = Array.from({ length: 20 }, (_, n) => `s-${n}`);
  const calls = new Map<string, { sessionId: string; bytes: Uint8Array }>();
  const acknowledged = new Set<string>();
  const violations: string[] = [];
  const outcomes = { ok: 0, failed: 0, refused: 0, lost: 0 };
  const { path } = memoryApi.MemoryServiceService.addMemory;
  let tried = 0;

  const first = start();
  const raws = await connections((await first.ready()).grpc, 8);
  const load = async (raw: RawClient): Promise<void> => {
    for (;;) {
      const sessionId = sessions[tried % sessions.length] as string;
      const messageId = randomUUID();
      const messages = [
        { messageId, content: "x".repeat(200) },
        { messageId: `${messageId}+`, content: "" },
      ];
      const request = memoryApi.AddMemoryRequest.fromPartial({ sessionId, messages });
      const bytes = memoryApi.AddMemoryRequest.encode(request).finish();
      calls.set(messageId, { sessionId, bytes });
      tried += 1;
      const went = await attempt(raw, path, bytes);
      outcomes[went.kind] += 1;
      if (went.kind === "ok") acknowledged.add(messageId);
      if (went.kind === "lost") violations.push(`a call was left without an answer: ${went.why}`);
      if (went.kind === "failed" && went.failure.reason !== "SHUTTING_DOWN") {
        violations.push(`answered ${went.failure.code} ${went.failure.reason}`);
      }
      if (went.kind !== "ok") return;
    }
  };
  const working = raws.flatMap((raw) => Array.from({ length: 25 }, () => load(raw)));
  await eventually("the load is on", () => acknowledged.size > 500);
  first.kill("SIGTERM");
  const { result, ms } = await timed(first.exited);
  if (result.code !== 0) violations.push(`it ended with ${result.code ?? result.signal}`);
  if (first.output().stderr !== "") violations.push(`stderr: ${first.output().stderr.slice(0, 300)}`);
  await Promise.all(working);
  for (const raw of raws) raw.close();

  const second = start();
  const { grpc } = await second.ready();
  const api = connect(grpc);
  const there = new Set((await Promise.all(sessions.map((id) => memoryOf(api, id)))).flat());
  for (const id of acknowledged) if (!there.has(id)) violations.push(`acknowledged and lost: ${id}`);
  const [raw] = await connections(grpc, 1);
  const unknown = [...calls].filter(([id]) => !acknowledged.has(id));
  for (const [id, { bytes }] of unknown) {
    const again = await attempt(raw as RawClient, path, bytes);
    if (again.kind !== "ok") violations.push(`the retry of ${id} was not answered OK`);
  }
  raw?.close();
  const after = (await Promise.all(sessions.map((id) => memoryOf(api, id)))).flat();
  if (new Set(after).size !== after.length) violations.push("something is there twice");
  if (after.length !== 2 * calls.size) violations.push(`${after.length} messages are there, not ${2 * calls.size}`);
  violations.push(...(await miscounts(stored.db)));
  api.close();
  report("SIGTERM under load", {
    tried,
    acknowledged: acknowledged.size,
    faults: 1,
    violations,
    ...outcomes,
    retried: unknown.length,
    stopMs: Math.round(ms),
  });
  expect(violations.slice(0, 20)).toEqual([]);
});

async function connections(address: string, count: number): Promise<RawClient[]> {
  return Array.from({ length: count }, () => rawClient(address));
}

test("processes that replace one another back and forth: clients that retry see no failure at all", async () => {
  const { stored, start } = await house();
  const balancer = await startBalancer();
  onTestFinished(balancer.stop);
  let current = start();
  balancer.sendTo((await current.ready()).grpc);
  const clients = Array.from({ length: 4 }, () => createClient({ address: balancer.address, deadlineMs: 20_000 }));
  const violations: string[] = [];
  const acknowledged = new Map<string, string[]>();
  let tried = 0;
  let isOver = false;
  let slowestMs = 0;

  const use = async (worker: number): Promise<void> => {
    const client = clients[worker % clients.length] as (typeof clients)[number];
    const sessionId = `rolling-${worker}`;
    const mine: string[] = [];
    acknowledged.set(sessionId, mine);
    for (let n = 0; !isOver; n++) {
      tried += 1;
      const started = performance.now();
      try {
        if (n % 4 === 1) {
          const { messages } = await client.getMemory({ sessionId, lastN: 1 });
          if (messages.at(-1)?.messageId !== mine.at(-1))
            violations.push(`${sessionId} does not show its last message`);
        } else if (n % 40 === 2) {
          const seen: string[] = [];
          for await (const { messageId } of client.listMessages({ sessionId, chunkSize: 10 })) seen.push(messageId);
          if (seen.join() !== mine.join()) violations.push(`a listing of ${sessionId} is not what was added`);
        } else if (n % 4 === 3) await client.updateSession({ sessionId, metadata: { n } });
        else {
          const messageId = `${n}`;
          await client.addMemory({ sessionId, messages: [{ messageId, content: "on and on" }] });
          mine.push(messageId);
        }
      } catch (error) {
        const { code, reason, message } = SessionsClientError.from(error);
        violations.push(`worker ${worker}, call ${n}: ${code} ${reason} ${message}`);
      }
      slowestMs = Math.max(slowestMs, performance.now() - started);
    }
  };
  const working = Array.from({ length: 24 }, (_, worker) => use(worker));
  const HANDOVERS = 4;
  let handovers = 0;
  for (; handovers < HANDOVERS; handovers++) {
    await pause(500);
    const next = start();
    balancer.sendTo((await next.ready()).grpc);
    current.kill("SIGTERM");
    const { code } = await current.exited;
    if (code !== 0) violations.push(`a process that was replaced ended with ${code}`);
    current = next;
  }
  await pause(500);
  isOver = true;
  await Promise.all(working);

  const { grpc } = await current.ready();
  const api = connect(grpc);
  for (const [sessionId, ids] of acknowledged) {
    const there = await memoryOf(api, sessionId);
    if (there.join() !== ids.join()) violations.push(`${sessionId} is not what was added to it`);
  }
  violations.push(...(await miscounts(stored.db)));
  api.close();
  for (const client of clients) client.close();
  const adds = [...acknowledged.values()].reduce((sum, ids) => sum + ids.length, 0);
  report("rolling replacement", {
    tried,
    acknowledged: adds,
    faults: handovers,
    violations,
    slowestMs: Math.round(slowestMs),
  });
  expect(violations.slice(0, 20)).toEqual([]);
});

const describe = ({ name, key, expireAfterSeconds, partialFilterExpression }: IndexDescription): string =>
  JSON.stringify([name, key, expireAfterSeconds, partialFilterExpression]);

async function indexesOf({ db }: Stored, collection: string): Promise<string[]> {
  const indexes: IndexDescription[] = await db.collection(collection).listIndexes().toArray();
  return indexes.filter(({ name }) => name !== "_id_").map(describe);
}

const OURS = Object.entries(INDEXES).map(([collection, indexes]) => ({
  collection,
  expected: indexes.map((index: IndexDescription) => describe(index)),
}));

async function wrongIndexes(stored: Stored): Promise<string[]> {
  const wrong: string[] = [];
  for (const { collection, expected } of OURS) {
    const there = await indexesOf(stored, collection);
    for (const index of expected) if (!there.includes(index)) wrong.push(`${collection} lacks ${index}`);
  }
  return wrong;
}

const REBUILT = "an index is not the one that this version needs: it is built anew";

test("a start on another version's indexes builds anew what differs, says so, and leaves alone what is not its own", async () => {
  const { stored, start } = await house();
  const { db } = stored;
  const expireAt = { expireAt: { $exists: true } };
  // An older set: less of it, one with other keys, TTL indexes with another time, one of them under another name.
  await db.collection("sessions").createIndex({ createTime: 1 }, { name: "due" });
  await db.collection("messages").createIndexes([
    { name: "expiry", key: { expireAt: 1 }, expireAfterSeconds: 86_400, partialFilterExpression: expireAt },
    { name: "theirs", key: { role: 1, tokenCount: -1 } },
  ]);
  await db.collection("users").createIndexes([
    { name: "ttl", key: { expireAt: 1 }, expireAfterSeconds: 60, partialFilterExpression: expireAt },
    { name: "task", key: { task: 1 } },
  ]);
  const service = start();
  const { database } = await service.ready();
  const violations = await wrongIndexes(stored);
  if (database !== "reachable") violations.push(`the service found its database ${database}`);
  const told = service.lines().filter(({ msg }) => msg === REBUILT);
  const names = told.map(({ collection, index }) => `${collection}.${index}`).sort();
  expect(names).toEqual(["messages.expiry", "sessions.due", "users.expiry", "users.task"]);
  if (!(await indexesOf(stored, "messages")).some((index) => index.includes('"theirs"')))
    violations.push("theirs is gone");
  if ((await indexesOf(stored, "users")).some((index) => index.includes('"ttl"')))
    violations.push("the old TTL index is there");

  // On what it has made itself, the next one changes nothing.
  const next = start();
  await next.ready();
  violations.push(...(await wrongIndexes(stored)));
  violations.push(
    ...next.lines().flatMap(({ msg, level }) => ((level as number) > 30 ? [`the next start: ${msg}`] : [])),
  );
  report("other indexes", { tried: 2, acknowledged: 2, faults: names.length, violations });
  expect(violations).toEqual([]);
});

test("processes that start while the indexes are being built, by each other or by somebody else, all become ready", async () => {
  const { stored, start } = await house();
  const { db } = stored;
  // The collections are there before: MongoDB's Windows build under Wine does not survive it when several make the same one.
  for (const { collection } of OURS) await db.createCollection(collection);
  const message = (n: number) => ({
    _id: `e/${n}`,
    session: "default/x",
    epoch: "e",
    sequence: n,
    content: "x".repeat(50),
  });
  const documents = Array.from({ length: 40_000 }, (_, n) => message(n) as object);
  await db.collection("messages").insertMany(documents);
  await db.collection("messages").createIndex({ content: 1 }, { name: "memory" });
  const building = db.collection("messages").createIndex({ epoch: 1, content: 1, sequence: -1 }, { name: "slow" });
  const services = Array.from({ length: 3 }, () => start());
  const violations: string[] = [];
  const { ms } = await timed(
    Promise.all(
      services.map(async (service) => {
        await service.ready();
        await service.line("the database is reachable");
      }),
    ),
  );
  await building;
  violations.push(...(await wrongIndexes(stored)));
  for (const service of services) {
    const { grpc } = await service.ready();
    const api = connect(grpc);
    const sessionId = randomUUID();
    const { messages } = await api.memory.addMemory({ sessionId, messages: [{ content: "hello" }] });
    if (messages.length !== 1) violations.push("a process does not serve");
    api.close();
  }
  const rebuilt = services.flatMap((service) => service.lines()).filter(({ msg }) => msg === REBUILT).length;
  report("indexes being built", {
    tried: services.length,
    acknowledged: services.length,
    faults: rebuilt,
    violations,
    readyMs: Math.round(ms),
  });
  expect(violations).toEqual([]);
});
