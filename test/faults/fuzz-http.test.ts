import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { Agent, request as httpRequest, type IncomingMessage } from "node:http";
import {
  create,
  createFileRegistry,
  type DescMessage,
  type DescMethod,
  fromBinary,
  fromJson,
  type JsonObject,
  type JsonValue,
  toJson,
} from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { expect, inject, test } from "vitest";
import { ErrorReason } from "../../gen/sessions/v1/error_reason.js";
import { connect } from "../support/api.js";
import { runService } from "../support/service-process.js";
import { createRandom, type Random, seedOf } from "./support/random.js";
import { report } from "./support/report.js";
import { openStored } from "./support/stored.js";
import { askable, memoryHeld, watchMemory } from "./support/watch-process.js";

const REQUESTS = Number(process.env.FUZZ_REQUESTS ?? 100_000);
const IN_FLIGHT = 48;
const TIMEOUT_MS = 600_000;

/** What the service may hold in the end beyond what it has at rest, in MiB. */
const BOUND_HELD_MIB = 30;
/** The same for what it takes meanwhile, with what nobody holds any more: when that is collected is the collector's business. */
const BOUND_MIB = 1000;

const REASONS = new Set(Object.keys(ErrorReason).map((name) => name.replace("ERROR_REASON_", "")));

/** A method of the API with a request for it that is in order but for what it is about, which there is not. */
interface Sample {
  readonly path: string;
  readonly input: DescMessage;
  readonly streams: boolean;
  readonly request: JsonObject;
}

const SAMPLES: readonly Sample[] = [
  ...createFileRegistry(
    fromBinary(FileDescriptorSetSchema, readFileSync(new URL("../../gen/descriptors/sessions.binpb", import.meta.url))),
  ),
].flatMap((desc) => (desc.kind === "service" ? desc.methods.map(sampleOf) : []));

function sampleOf({ name, parent, input, methodKind }: DescMethod): Sample {
  const values = Object.fromEntries(
    input.fields.flatMap((field): [string, unknown][] => {
      if (field.fieldKind === "scalar" && field.scalar === 9) return [[field.localName, "fuzz"]];
      if (field.fieldKind === "list" && field.listKind === "scalar") return [[field.localName, ["fuzz"]]];
      if (field.fieldKind === "list" && field.listKind === "message") {
        return [
          [field.localName, [create(field.message, { content: "fuzz", metadata: { a: [1, { b: null }] } } as never)]],
        ];
      }
      return [];
    }),
  );
  const request = toJson(input, create(input, values as never)) as JsonObject;
  return { path: `/${parent.typeName}/${name}`, input, streams: methodKind === "server_streaming", request };
}

interface Sent {
  readonly method: string;
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body: Buffer;
}

/**
 * A request that nobody may accept: something in it is not JSON, or not the request that its path takes. Whether a body has become
 * bad enough is for the library to say, which reads it strictly and is not what the service reads it with.
 */
function badRequest(random: Random): Sent {
  const sample = random.pick(SAMPLES);
  const type = sample.streams ? "application/connect+json" : "application/json";
  const good: Sent = {
    method: "POST",
    path: sample.path,
    headers: { "content-type": type },
    body: envelope(sample.streams, Buffer.from(JSON.stringify(sample.request))),
  };
  if (random.chance(0.15)) return { ...good, path: badPath(sample.path, random) };
  if (random.chance(0.05))
    return { ...good, method: random.pick(["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"]) };
  if (random.chance(0.1)) return { ...good, headers: badHeaders(sample, type, random) };
  for (;;) {
    const body = random.chance(0.5) ? damaged(JSON.stringify(sample.request), random) : twisted(sample.request, random);
    if (!isGood(sample.input, body)) return { ...good, body: envelope(sample.streams, body) };
  }
}

function isGood(input: DescMessage, body: Buffer): boolean {
  try {
    fromJson(input, JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body)));
    return true;
  } catch {
    return false;
  }
}

function envelope(streams: boolean, body: Buffer): Buffer {
  if (!streams) return body;
  const head = Buffer.alloc(5);
  head.writeUInt32BE(body.length, 1);
  return Buffer.concat([head, body]);
}

/** One that is the path of no method, in characters that a request's first line can have. */
function badPath(path: string, random: Random): string {
  const at = 1 + random.below(path.length - 1);
  const changed = random.pick([
    () => path.slice(0, at) + random.pick(["%00", "%2F", "//", "/../", "%", "%zz", "%ff", "x"]) + path.slice(at),
    () => path + random.pick(["/", "/x", "x", "%20", "A".repeat(2_000)]),
    () => path.toUpperCase(),
    () => `/${random.bytes(random.below(40)).toString("base64url")}`,
    () => path.slice(0, at),
  ])();
  return SAMPLES.some((sample) => sample.path === changed) ? `${path}/nowhere` : changed;
}

function badHeaders({ streams }: Sample, type: string, random: Random): Record<string, string> {
  const types = ["text/plain", "application/x-www-form-urlencoded", "", ";", "application/json;charset=utf-16", "a/b"];
  const timeouts = ["-1", "1e3", "99999999999", "x", "0x10", " "];
  const encodings = ["zstd", "gzip,gzip", "x".repeat(999), ...(streams ? [] : ["gzip", "br"])];
  return random.pick<Record<string, string>>([
    {},
    { "content-type": random.pick(types) },
    { "content-type": type, "connect-timeout-ms": random.pick(timeouts) },
    { "content-type": type, [streams ? "connect-content-encoding" : "content-encoding"]: random.pick(encodings) },
    { "content-type": "application/grpc-web", "grpc-timeout": random.pick(["1", "S", "123456789S", "-1m"]) },
  ]);
}

/** With some of its characters changed, left out, doubled or cut off. */
function damaged(text: string, random: Random): Buffer {
  let bytes = Buffer.from(text);
  for (let n = 1 + random.below(4); n > 0; n--) {
    const at = random.below(bytes.length);
    const to = at + random.below(8);
    bytes = random.pick([
      () => Buffer.concat([bytes.subarray(0, at), random.bytes(random.below(4)), bytes.subarray(at)]),
      () => Buffer.concat([bytes.subarray(0, at), bytes.subarray(to)]),
      () => bytes.subarray(0, at),
      () => Buffer.concat([bytes.subarray(0, to), bytes.subarray(at)]),
      () =>
        Buffer.concat([
          bytes.subarray(0, at),
          Buffer.from(random.pick(["[", "{", '"', "\\u", "\\ud800", "}", ",", "1e999", "\0", "\ufeff"])),
          bytes.subarray(at),
        ]),
    ])();
    if (bytes.length === 0) return bytes;
  }
  return bytes;
}

/** With one of its values, or all of it, replaced by another kind of value, or with a field that there is not. */
function twisted(request: JsonObject, random: Random): Buffer {
  const copy = structuredClone(request);
  const keys = Object.keys(copy);
  const wrong = anyValue(random, 3);
  if (random.chance(0.1)) return Buffer.from(JSON.stringify(wrong));
  if (keys.length === 0 || random.chance(0.3))
    copy[random.pick(["session_ID", "__proto__ ", "", "constructor", "$set", "toString"])] = wrong;
  else copy[random.pick(keys)] = wrong;
  if (random.chance(0.002)) return Buffer.from(`{"metadata":${"[".repeat(100_000)}`);
  return Buffer.from(JSON.stringify(copy));
}

function anyValue(random: Random, depth: number): JsonValue {
  return random.pick<() => JsonValue>([
    () => random.fraction() * 10 ** random.below(300),
    () => -random.below(1_000),
    () => random.bytes(random.below(20)).toString("latin1"),
    () => "x".repeat(random.chance(0.01) ? 300_000 : random.below(100)),
    () => random.chance(0.5),
    () => ["\ud800"],
    () => (depth === 0 ? [] : Array.from({ length: random.below(5) }, () => anyValue(random, depth - 1))),
    () => (depth === 0 ? {} : Object.fromEntries(["", "a.b"].map((key) => [key, anyValue(random, depth - 1)]))),
  ])();
}

interface Heard {
  readonly status: number;
  readonly type: string;
  readonly body: Buffer;
}

function send(port: number, agent: Agent, { method, path, headers, body }: Sent): Promise<Heard> {
  return new Promise((resolve, reject) => {
    const length = { "content-length": String(body.length) };
    const sent = httpRequest({ host: "127.0.0.1", port, agent, method, path, headers: { ...headers, ...length } });
    sent.on("error", reject);
    sent.on("response", (response: IncomingMessage) => {
      response.toArray().then((parts: Buffer[]) => {
        const { statusCode = 0, headers: answered } = response;
        resolve({ status: statusCode, type: String(answered["content-type"] ?? ""), body: Buffer.concat(parts) });
      }, reject);
    });
    sent.end(body);
  });
}

/** What is wrong with an answer to a request that nobody may accept; undefined when nothing is. */
function faultOf(sent: Sent, { status, type, body }: Heard): string | undefined {
  if (type.startsWith("text/plain")) return status === 404 || status === 400 ? undefined : `${status} in plain text`;
  if (sent.method === "HEAD") return status === 405 ? undefined : `${status} for HEAD`;
  if (type.startsWith("application/grpc-web")) {
    return /grpc-status: (3|12)\r\n/.test(body.toString("latin1"))
      ? undefined
      : `no refusal: ${body.toString("latin1")}`;
  }
  const isStream = type.startsWith("application/connect+");
  if (isStream && (status !== 200 || body[0] !== 2)) return `a stream with ${status} and flags ${body[0]}`;
  let error: { code?: string; details?: { type: string; debug: { reason: string } }[] };
  try {
    const json = JSON.parse((isStream ? body.subarray(5) : body).toString());
    error = isStream ? json.error : json;
  } catch {
    return `no JSON: ${body.toString().slice(0, 200)}`;
  }
  const reason = error.details?.find((detail) => detail.type === "google.rpc.ErrorInfo")?.debug.reason ?? "";
  if (!REASONS.has(reason)) return `no reason: ${body.toString().slice(0, 300)}`;
  if (error.code === "invalid_argument") return isStream || [400, 405, 415].includes(status) ? undefined : `${status}`;
  if (error.code === "unimplemented") return isStream || [404, 501].includes(status) ? undefined : `${status}`;
  return `${error.code} for what is no request`;
}

test("no body and no path that a client sends over HTTP make the service fail, or are taken for a request", {
  timeout: TIMEOUT_MS,
}, async () => {
  const seed = seedOf(process.env.FUZZ_SEED);
  const random = createRandom(seed);
  const databaseName = `fuzz-http-${randomUUID()}`;
  const stored = await openStored(inject("mongodbUri"), databaseName);
  const service = runService({
    ...askable,
    MONGODB_URI: inject("mongodbUri"),
    MONGODB_DATABASE: databaseName,
    SESSIONS_HTTP_LISTEN: "127.0.0.1:0",
    SESSIONS_PURGE_INTERVAL: "1h",
  });
  const { grpc, http } = (await service.ready()) as unknown as { grpc: string; http: string };
  const port = Number(http.slice(http.lastIndexOf(":") + 1));
  const agent = new Agent({ keepAlive: true, maxSockets: IN_FLIGHT });
  const api = connect(grpc);
  const memory = watchMemory(service.pid);
  try {
    // What the requests are about, so that one that is accepted would change it.
    await api.memory.addMemory({
      sessionId: "fuzz",
      userId: undefined,
      messages: [{ messageId: "fuzz", content: "as it was" }],
    });
    await api.users.createUser({ userId: "fuzz" });
    const before = await everything(stored.db);
    const heldAtRest = await memoryHeld(service);
    const atRest = await memory.now();
    memory.peak();
    const started = performance.now();
    const violations: string[] = [];
    const statuses = new Map<number, number>();
    let sent = 0;
    const work = async (): Promise<void> => {
      while (sent < REQUESTS && violations.length < 50) {
        sent += 1;
        const request = badRequest(random);
        const answer = await send(port, agent, request).catch((error: unknown) => String(error));
        const about = `${request.method} ${request.path} ${JSON.stringify(request.headers)} ${request.body.toString("latin1").slice(0, 300)}`;
        if (typeof answer === "string") {
          violations.push(`${answer}: ${about}`);
          continue;
        }
        statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
        const fault = answer.status >= 500 && answer.status !== 501 ? `${answer.status}` : faultOf(request, answer);
        if (fault) violations.push(`${fault}: ${about}`);
      }
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, work));
    const seconds = Math.round((performance.now() - started) / 100) / 10;
    if ((await everything(stored.db)) !== before) violations.push("something has been stored or changed");
    const peak = memory.peak();
    if (peak > atRest + BOUND_MIB) violations.push(`${peak} MiB, over ${atRest} and ${BOUND_MIB}`);
    const held = await memoryHeld(service);
    if (held > heldAtRest + BOUND_HELD_MIB)
      violations.push(`holds ${held} MiB, over ${heldAtRest} and ${BOUND_HELD_MIB}`);
    service.kill("SIGTERM");
    const { code } = await service.exited;
    if (code !== 0) violations.push(`the service ended with ${code}`);
    const { stderr } = service.output();
    if (stderr !== "") violations.push(`stderr: ${stderr.slice(0, 500)}`);
    const loud = service.lines().filter(({ level }) => (level as number) >= 40);
    violations.push(...loud.slice(0, 5).map((line) => `logged: ${JSON.stringify(line).slice(0, 800)}`));
    report("fuzz over HTTP", {
      tried: sent,
      acknowledged: 0,
      faults: sent,
      violations,
      seed,
      seconds,
      ...{ "MiB at rest": atRest, "MiB at most": peak, "MiB held at rest": heldAtRest, "MiB held": held },
      ...Object.fromEntries([...statuses].sort(([a], [b]) => a - b)),
    });
    expect(violations.slice(0, 20), `FUZZ_SEED=${seed}`).toEqual([]);
  } finally {
    agent.destroy();
    memory.stop();
    api.close();
    await stored.close();
  }
});

/** Every bit of what is stored. */
async function everything(db: Awaited<ReturnType<typeof openStored>>["db"]): Promise<string> {
  const all = [];
  for (const name of ["sessions", "messages", "users", "keys"])
    all.push(await db.collection(name).find().sort("_id", 1).toArray());
  return JSON.stringify(all);
}
