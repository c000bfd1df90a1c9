import { randomUUID } from "node:crypto";
import { expect, inject, test } from "vitest";
import { ErrorReason } from "../../gen/sessions/v1/error_reason.js";
import { decoding } from "../../src/calls/decoding.js";
import { type MessageType, requestTypesIn } from "../../src/calls/message-types.js";
import { type Api, connect } from "../support/api.js";
import { eventually } from "../support/eventually.js";
import { type RawAnswer, type RawClient, rawClient } from "../support/raw-grpc.js";
import { runService } from "../support/service-process.js";
import { type FuzzedMethod, METHODS } from "./support/fuzz-methods.js";
import {
  type FuzzRequest,
  fuzzRequest,
  type Lore,
  PLAIN,
  plainSession,
  WATCHED,
  watchedMessage,
  watchedSession,
  watchedUser,
} from "./support/fuzz-requests.js";
import { nonsenseIn } from "./support/fuzz-sense.js";
import { createRandom, type Random, seedOf } from "./support/random.js";
import { report } from "./support/report.js";
import { miscounts, openStored } from "./support/stored.js";

const REQUESTS = Number(process.env.FUZZ_REQUESTS ?? 100_000);
const CONNECTIONS = 3;
const IN_FLIGHT = 96;
/** One to three minutes are usual, all of it work of the processor; this is for a machine that has other things to do. */
const TIMEOUT_MS = 600_000;
/** Requests that are to be accepted, one in so many. */
const PLAIN_EVERY = 40;

/** How a bad request may be answered, and a good one that is not possible. */
const REFUSALS = new Set(["INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "FAILED_PRECONDITION", "ABORTED"]);

const REASONS = new Set(Object.keys(ErrorReason).map((name) => name.replace("ERROR_REASON_", "")));

/**
 * Half of the requests are poisoned: valid ones to sessions and users that are watched, with one thing wrong in each, so
 * that none may be accepted and nothing watched may change. The others are damaged at random and go to ids of their own: what they
 * may do is unknown, but what they have done must be what they were told to have done. And some are simply valid.
 */
test("no bytes that a client sends make the service fail, or store what it refuses", {
  timeout: TIMEOUT_MS,
}, async () => {
  const seed = seedOf(process.env.FUZZ_SEED);
  const random = createRandom(seed);
  const databaseName = `fuzz-${randomUUID()}`;
  const stored = await openStored(inject("mongodbUri"), databaseName);
  const service = runService({ MONGODB_URI: inject("mongodbUri"), MONGODB_DATABASE: databaseName });
  const { grpc } = await service.ready();
  const api = connect(grpc);
  const raws = Array.from({ length: CONNECTIONS }, () => rawClient(grpc));
  try {
    const lore = await prepareWatched(api);
    const before = await watchedDocuments(stored.db);
    const book = createBook(lore);
    const plain = createPlain();
    const started = performance.now();
    let sent = 0;
    let exited = false;
    void service.exited.then(() => {
      exited = true;
    });
    const work = async (raw: RawClient): Promise<void> => {
      while (sent < REQUESTS && !exited) {
        sent += 1;
        if (sent % PLAIN_EVERY === 0) await plain.add(raw, random);
        else {
          const request = fuzzRequest(lore, random);
          const { path, name } = request.method;
          // Who watches is answered for as long as they like.
          const patience = name === "watchSessions" && { headers: { "grpc-timeout": "300m" } };
          book.note(request, await raw.call(path, { message: request.bytes, ...patience }));
        }
      }
    };
    const workers = Array.from({ length: IN_FLIGHT }, (_, n) => work(raws[n % CONNECTIONS] as RawClient));
    await Promise.all(workers).catch((error: unknown) => book.violations.push(`a connection broke: ${error}`));
    const seconds = Math.round((performance.now() - started) / 100) / 10;

    const violations = book.violations;
    violations.push(...plain.violations);
    if (!exited) {
      violations.push(...(await plain.missing(api)));
      const late = book.codes.get("UNAVAILABLE") ?? 0;
      if (late > REQUESTS / 200) violations.push(`the database was late ${late} times`);
      const after = await watchedDocuments(stored.db);
      if (after !== before) violations.push("something that is watched has changed");
      violations.push(...(await book.unaccounted(stored.db, plain.ids)));
      violations.push(...(await quietMiscounts(stored.db)));
    }
    service.kill("SIGTERM");
    const { code } = await service.exited;
    if (code !== 0) violations.push(`the service ended with ${code}`);
    const { stderr } = service.output();
    if (stderr !== "") violations.push(`stderr: ${stderr.slice(0, 500)}`);
    const loud = service.lines().filter(({ level }) => (level as number) >= 50);
    violations.push(...loud.slice(0, 5).map((line) => `logged: ${JSON.stringify(line).slice(0, 800)}`));
    const counts = Object.fromEntries([...book.codes].sort());
    report("fuzz", {
      tried: sent,
      acknowledged: book.accepted + plain.count(),
      faults: sent - book.accepted - plain.count(),
      violations,
      seed,
      seconds,
      ...counts,
    });
    expect(violations.slice(0, 20), `FUZZ_SEED=${seed}`).toEqual([]);
    expect([...book.methods].sort()).toEqual(METHODS.map(({ name }) => name).sort());
  } finally {
    for (const raw of raws) raw.close();
    api.close();
    await stored.close();
  }
});

type Db = Awaited<ReturnType<typeof openStored>>["db"];

async function prepareWatched(api: Api): Promise<Lore> {
  const etags: string[] = [];
  for (let n = 0; n < WATCHED; n++) {
    const userId = watchedUser(n);
    const sessionId = watchedSession(n);
    etags.push((await api.users.createUser({ userId, email: "before" })).user?.etag ?? "");
    await api.users.updateUser({ userId, email: "as it was" });
    const messages = Array.from({ length: 5 }, (_, k) => ({ messageId: watchedMessage(k), content: `watched ${k}` }));
    await api.memory.addMemory({ sessionId, userId, messages, sessionMetadata: { watched: true } });
    await api.memory.setSummary({ sessionId, content: "as it was", recentMessageId: watchedMessage(1) });
    etags.push((await api.sessions.getSession({ sessionId })).session?.etag ?? "");
    await api.sessions.updateSession({ sessionId, metadata: { updated: true } });
  }
  return { cursors: [], etags };
}

/** Every bit of the watched sessions, users and messages. */
async function watchedDocuments(db: Db): Promise<string> {
  const documents = [];
  for (const name of ["sessions", "messages", "users"]) {
    const key = name === "messages" ? "session" : "_id";
    documents.push(
      await db
        .collection(name)
        .find({ [key]: /^default\/watched-/ })
        .sort({ _id: 1 })
        .toArray(),
    );
  }
  return JSON.stringify(documents);
}

const DEADLINE_EXCEEDED = 4;

const idOf = (key: string): string => key.slice("default/".length);

/** What was sent and answered, and what was wrong with it. */
function createBook(lore: Lore) {
  const violations: string[] = [];
  const codes = new Map<string, number>();
  const methods = new Set<string>();
  const sessions = new Set<string>();
  const users = new Set<string>();
  const messages = new Set<string>();
  /** Which sessions each session may be a fork of, by their ids. */
  const origins = new Map<string, Set<string>>();
  /** Forks whose answer was lost, and with it the id that the service had made for them. */
  let namelessForks = 0;
  let accepted = 0;

  const types = requestTypesIn([new URL("../../gen/descriptors/sessions.binpb", import.meta.url)]);
  const strict = new Map(
    METHODS.map((method) => [
      method.name,
      decoding((bytes) => method.decodeRequest(bytes), types.get(method.path) as MessageType),
    ]),
  );
  const noteAccepted = (request: FuzzRequest, answer: RawAnswer): string[] => {
    const { method, bytes, family } = request;
    if (family === "poisoned") return ["a poisoned request was accepted"];
    const decoded = strict.get(method.name)?.(Buffer.from(bytes));
    if (!decoded || "error" in decoded) return ["what no decoder takes was accepted"];
    const sense = nonsenseIn(decoded.request);
    const responses = unframed(answer.body).map((frame) => method.decodeResponse(frame));
    if (!method.responseStream && responses.length !== 1) return [`${responses.length} responses`];
    learn(decoded.request, responses, method);
    return sense;
  };
  const learn = (request: Record<string, unknown>, responses: Record<string, unknown>[], { name }: FuzzedMethod) => {
    const sessionId = request.sessionId as string;
    if (name === "createSession" || name === "addMemory") sessions.add(`default/${sessionId}`);
    if (name === "createUser") users.add(`default/${request.userId}`);
    for (const response of responses) {
      if (name === "forkSession") {
        const { sessionId: fork } = (response.session ?? { sessionId: request.newSessionId }) as { sessionId: string };
        if (fork === "") namelessForks += 1;
        sessions.add(`default/${fork}`);
        origins.set(fork, new Set(origins.get(fork)).add(sessionId));
      }
      if (name === "addMemory") {
        for (const { messageId } of response.messages as { messageId: string }[])
          messages.add(`${sessionId} ${messageId}`);
      }
      const owner = (response.session ?? response.user) as { etag?: string } | undefined;
      if (owner?.etag) remember(lore.etags, owner.etag);
      if (response.nextCursor) remember(lore.cursors, response.nextCursor as string);
    }
  };

  /** Whether a message was added to a session, or to one of those that it may be a fork of. */
  const wasAdded = (sessionId: string, messageId: string, seen = new Set<string>()): boolean => {
    if (messages.has(`${sessionId} ${messageId}`)) return true;
    if (seen.has(sessionId)) return false;
    seen.add(sessionId);
    return [...(origins.get(sessionId) ?? [])].some((origin) => wasAdded(origin, messageId, seen));
  };

  return {
    violations,
    codes,
    methods,
    get accepted() {
      return accepted;
    },
    note(request: FuzzRequest, answer: RawAnswer): void {
      const { failure } = answer;
      const isAccepted =
        answer.code === 0 || (request.method.name === "watchSessions" && answer.code === DEADLINE_EXCEEDED);
      const code = isAccepted ? "OK" : (failure?.code ?? `nothing (${answer.code})`);
      codes.set(code, (codes.get(code) ?? 0) + 1);
      methods.add(request.method.name);
      const wrong: string[] = [];
      if (isAccepted) {
        accepted += 1;
        wrong.push(...noteAccepted(request, answer));
      } else if (code === "UNAVAILABLE" && failure?.reason === "STORAGE_UNAVAILABLE" && failure.retryDelayMs) {
        // A database under this load may be late now and then; what the call did is not known.
        const decoded = strict.get(request.method.name)?.(Buffer.from(request.bytes));
        if (decoded && "request" in decoded) {
          const known = decoded.request as { messages?: unknown };
          learn(decoded.request, [{ messages: known.messages ?? [] }], request.method);
        }
      } else {
        if (!REFUSALS.has(code)) wrong.push("no way to answer a bad request");
        if (!failure || !REASONS.has(failure.reason)) wrong.push(`its reason is «${failure?.reason}»`);
        if (failure?.domain !== "sessions.v1") wrong.push("it has no ErrorInfo of ours");
        if (code === "INVALID_ARGUMENT" && failure?.violations.length === 0) wrong.push("it names no field");
        if (request.expect !== undefined && code !== request.expect) wrong.push(`not ${request.expect}`);
      }
      const bytes = Buffer.from(request.bytes.subarray(0, 300)).toString("hex");
      const what = `${request.family} ${request.method.name} → ${code} ${failure?.message ?? ""}`;
      violations.push(...wrong.map((fault) => `${what}: ${fault}; ${bytes}`));
    },
    /** What is stored and nobody was told to have stored. */
    async unaccounted(db: Db, known: ReadonlySet<string>): Promise<string[]> {
      const isKnown = (key: string): boolean => key.startsWith("default/watched-") || known.has(key);
      const found: string[] = [];
      const stored = db.collection<{ _id: string; forkedFrom?: { session: string } }>("sessions");
      let unnamed = 0;
      for await (const { _id, forkedFrom } of stored.find({}, { projection: { forkedFrom: 1 } })) {
        if (isKnown(_id) || sessions.has(_id)) continue;
        if (forkedFrom && ++unnamed <= namelessForks) {
          origins.set(idOf(_id), new Set([idOf(forkedFrom.session)]));
        } else found.push(`session ${_id} came from nowhere`);
      }
      for await (const { _id } of db.collection<{ _id: string }>("users").find({}, { projection: { _id: 1 } })) {
        if (!isKnown(_id) && !users.has(_id)) found.push(`user ${_id} came from nowhere`);
      }
      const all = db.collection<{ _id: string; session: string; epoch: string }>("messages").find();
      for await (const { _id, session, epoch } of all) {
        const messageId = _id.slice(epoch.length + 1);
        if (isKnown(session) || wasAdded(idOf(session), messageId)) continue;
        found.push(`message ${idOf(session)} ${messageId} came from nowhere`);
      }
      return found.slice(0, 10);
    },
  };
}

/** Calls without anything wrong: each must be accepted, and what they say must be there in the end, in order. */
function createPlain() {
  const acknowledged = new Map<string, { sequence: number; content: string; metadata: unknown }[]>();
  const violations: string[] = [];
  let count = 0;
  const addMemory = METHODS.find(({ name }) => name === "addMemory") as FuzzedMethod;
  return {
    violations,
    ids: new Set(Array.from({ length: PLAIN }, (_, n) => `default/${plainSession(n)}`)),
    count: () => count,
    async add(raw: RawClient, random: Random): Promise<void> {
      const sessionId = plainSession(random.below(PLAIN));
      const content = `${"\u{1f600} ".repeat(random.below(20))}${random.below(1e9)}`;
      const metadata = {
        [random.pick(["a.b", "$set", "constructor", "", "ключ"])]: [random.fraction(), { deep: null }],
      };
      const message = addMemory.encode({ sessionId, messages: [{ messageId: randomUUID(), content, metadata }] });
      let answer = await raw.call(addMemory.path, { message });
      // Late, and tried again as any client would: it adds once.
      for (let n = 0; n < 3 && answer.failure?.code === "UNAVAILABLE"; n++)
        answer = await raw.call(addMemory.path, { message });
      const { code, failure, body } = answer;
      count += 1;
      const [response] = code === 0 ? unframed(body).map((frame) => addMemory.decodeResponse(frame)) : [];
      const [added] = (response?.messages ?? []) as { sequence: number }[];
      if (!added) {
        violations.push(`a valid request was refused: ${failure?.code} ${failure?.message}`);
        return;
      }
      const memory = acknowledged.get(sessionId) ?? [];
      memory.push({ sequence: added.sequence, content, metadata });
      acknowledged.set(sessionId, memory);
    },
    async missing(api: Api): Promise<string[]> {
      const found: string[] = [];
      for (const [sessionId, memory] of acknowledged) {
        const chunks = await api.memory.listMessages({ sessionId, chunkSize: 1000 });
        const there = chunks
          .flatMap(({ messages }) => messages)
          .map(({ sequence, content, metadata }) => ({ sequence, content, metadata }));
        memory.sort((a, b) => a.sequence - b.sequence);
        if (JSON.stringify(there) !== JSON.stringify(memory))
          found.push(`the memory of ${sessionId} is not what was added`);
      }
      return found;
    },
  };
}

/** The counts, once the purger has done what the deletions left to it. */
async function quietMiscounts(db: Db): Promise<string[]> {
  let found: string[] = [];
  await eventually(
    "the counts are exact",
    async () => {
      found = await miscounts(db);
      return found.length === 0;
    },
    60_000,
  ).catch(() => {});
  return found.slice(0, 10);
}

function remember(list: string[], item: string): void {
  list.push(item);
  if (list.length > 200) list.shift();
}

function unframed(body: Buffer): Buffer[] {
  const frames: Buffer[] = [];
  for (let at = 0; at < body.length; ) {
    const end = at + 5 + body.readUInt32BE(at + 1);
    frames.push(body.subarray(at + 5, end));
    at = end;
  }
  return frames;
}
