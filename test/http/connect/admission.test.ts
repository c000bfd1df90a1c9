import { once } from "node:events";
import { type ClientRequest, request as httpRequest, type IncomingMessage } from "node:http";
import { createConnection, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { type KeyedService, Role, startKeyed } from "../../auth/support.js";
import { failure } from "../../support/api.js";
import { call, connectFailure, TRANSPORTS } from "../../support/connect-clients.js";
import { eventually } from "../../support/eventually.js";
import { startHttpService } from "../../support/http-service.js";
import { scrapeOf } from "../../support/prometheus.js";
import { LIMITS, type TestService } from "../../support/service.js";

const SESSIONS = "/sessions.v1.SessionService";
const MEMORY = "/sessions.v1.MemoryService";
const MIB = 1024 * 1024;

const to = TRANSPORTS["Connect, JSON"];
const HTTP = { httpListen: { host: "127.0.0.1", port: 0 } };
const OVERLOADED = { code: "RESOURCE_EXHAUSTED", reason: "OVERLOADED", retryDelayMs: expect.any(Number) };

/** Begins a request of so many bytes, of which none is sent yet. */
function begin(url: string, path: string, bytes: number, headers: Record<string, string> = {}): ClientRequest {
  const request = httpRequest(`${url}${path}`, {
    method: "POST",
    headers: { "content-type": "application/json", "content-length": bytes, ...headers },
  });
  onTestFinished(() => void request.destroy());
  request.on("error", () => {});
  request.flushHeaders();
  return request;
}

const figuresOf = async (url: string) => scrapeOf(await (await fetch(`${url}/metrics`)).text());

async function answerTo(request: ClientRequest): Promise<{ status: number; reason: string; message: string }> {
  const [response] = (await once(request, "response")) as [IncomingMessage];
  const { message, details } = JSON.parse(Buffer.concat(await response.toArray()).toString());
  return { status: response.statusCode ?? 0, reason: details[0].debug.reason, message };
}

describe("who calls", () => {
  let keyed: KeyedService;
  let url: string;
  beforeAll(async () => {
    keyed = await startKeyed(HTTP);
    url = `http://${keyed.service.server.httpAddress}`;
  });
  afterAll(() => keyed.stop());

  it.each(Object.entries(TRANSPORTS))(
    "is known by the same key, and may do the same: %s",
    async (_name, transportTo) => {
      const transport = transportTo(url);
      const reader = await keyed.caller({ role: Role.ROLE_READER, project: "theirs" });
      const writer = await keyed.caller({ role: Role.ROLE_WRITER, project: "theirs" });
      const as = (secret: string) => ({ headers: { authorization: `Bearer ${secret}` } });

      const [created] = await call<{ session: { sessionId: string } }>(
        transport,
        `${SESSIONS}/CreateSession`,
        { sessionId: _name },
        as(writer.secret),
      );
      expect(created?.session.sessionId).toBe(_name);
      expect(await call(transport, `${SESSIONS}/ListSessions`, {}, as(reader.secret))).toHaveLength(1);
      expect((await reader.sessions.getSession({ sessionId: _name })).session?.sessionId).toBe(_name);

      const refused = call(transport, `${SESSIONS}/CreateSession`, { sessionId: "more" }, as(reader.secret));
      expect(await connectFailure(refused)).toEqual(
        await failure(reader.sessions.createSession({ sessionId: "more" })),
      );
      for (const [name, headers] of [
        ["GetSession", {}],
        ["ListSessions", {}],
        ["GetSession", as("sk_invented").headers],
      ] as const) {
        const outcome = call(transport, `${SESSIONS}/${name}`, { sessionId: "a" }, { headers });
        expect(await connectFailure(outcome)).toMatchObject({ code: "UNAUTHENTICATED", reason: "UNAUTHENTICATED" });
      }
    },
  );

  it("is asked before anything of a request is read", async () => {
    for (const path of [`${SESSIONS}/CreateSession`, `${SESSIONS}/ListSessions`, `${SESSIONS}/Unknown`]) {
      expect(await answerTo(begin(url, path, 8 * MIB))).toMatchObject({ status: 401, reason: "UNAUTHENTICATED" });
    }
  });

  it("may call no method that there is not", async () => {
    const { secret } = await keyed.caller({ role: Role.ROLE_ADMIN });
    const request = begin(url, `${SESSIONS}/Unknown`, 2, { authorization: `Bearer ${secret}` });
    request.end("{}");
    expect(await answerTo(request)).toMatchObject({ status: 403, reason: "PERMISSION_DENIED" });
  });

  it("ends a stream soon after their key is revoked", async () => {
    const reader = await keyed.caller({ role: Role.ROLE_READER });
    await keyed.admin.memory.addMemory({
      sessionId: "long",
      messages: Array.from({ length: 1000 }, () => ({ content: "x".repeat(6_000) })),
    });
    const request = httpRequest(`${url}${MEMORY}/ListMessages`, {
      method: "POST",
      headers: { "content-type": "application/connect+json", authorization: `Bearer ${reader.secret}` },
    });
    const body = Buffer.from('{"sessionId": "long", "chunkSize": 1}');
    request.end(Buffer.concat([Buffer.from([0, 0, 0, 0, body.length]), body]));
    const [response] = (await once(request, "response")) as [IncomingMessage];
    await keyed.admin.keys.revokeKey({ keyId: reader.keyId });
    const refused = { method: "sessions.v1.MemoryService/ListMessages", code: "UNAUTHENTICATED" };
    const ended = async () => (await figuresOf(url)).value("sessions_calls_total", refused) === 1;
    await eventually("the service has ended it", ended);
    // What is on its way comes still, and behind it why there is no more.
    const all = Buffer.concat(await response.toArray()).toString();
    expect(all.slice(all.lastIndexOf("\x02"))).toContain('"code":"unauthenticated"');
  });
});

describe("what a process takes on is shared by both doors", () => {
  const MAX_CALLS = 3;

  /** Holds the session's document, so that whatever changes the session has to wait. */
  async function hold({ database, sessions }: TestService, sessionId: string): Promise<() => Promise<void>> {
    await sessions.createSession({ sessionId });
    const session = database.client.startSession();
    session.startTransaction();
    await database.sessions.updateOne({ _id: `default/${sessionId}` }, { $set: { version: 99 } }, { session });
    return async () => {
      await session.abortTransaction();
      await session.endSession();
    };
  }

  /** The same calls by either door. */
  const doorsOf = ({ url, sessions, memory }: TestService & { readonly url: string }) => {
    const transport = to(url);
    return {
      gRPC: {
        get: (sessionId: string) => failure(sessions.getSession({ sessionId })),
        list: () => failure(sessions.listSessions({})),
        add: (sessionId: string) => memory.addMemory({ sessionId, messages: [{}] }),
      },
      HTTP: {
        get: (sessionId: string) => connectFailure(call(transport, `${SESSIONS}/GetSession`, { sessionId })),
        list: () => connectFailure(call(transport, `${SESSIONS}/ListSessions`, {})),
        add: (sessionId: string) => call(transport, `${MEMORY}/AddMemory`, { sessionId, messages: [{}] }),
      },
    };
  };

  it.each([
    ["gRPC", "HTTP"],
    ["HTTP", "gRPC"],
  ] as const)("places for calls: those that %s has taken are not there for %s", async (taker, other) => {
    const service = await startHttpService({ limits: { ...LIMITS, maxCalls: MAX_CALLS } });
    const doors = doorsOf(service);
    const ids = Array.from({ length: MAX_CALLS }, (_, n) => `held-${n}`);
    const releases = await Promise.all(ids.map((id) => hold(service, id)));
    const taken = ids.map((id) => doors[taker].add(id));
    // Not before all are in, for one more beside them could take the place of the last.
    const inFlight = async () => (await figuresOf(service.url)).value("sessions_calls_in_flight", { kind: "calls" });
    await eventually("all places are taken", async () => (await inFlight()) === MAX_CALLS);
    expect(await doors[other].get("nobody")).toMatchObject({
      ...OVERLOADED,
      metadata: { limited: "calls", max: String(MAX_CALLS) },
    });
    for (const release of releases) await release();
    await Promise.all(taken);
    expect(await doors[other].get("nobody")).toMatchObject({ code: "NOT_FOUND" });
  });

  it("places for streams", async () => {
    const service = await startHttpService({ limits: { ...LIMITS, maxStreams: 1 } });
    const doors = doorsOf(service);
    await service.memory.addMemory({
      sessionId: "long",
      messages: Array.from({ length: 1000 }, () => ({ content: "x".repeat(8_000) })),
    });
    for (let n = 0; n < 3; n++) {
      await service.memory.addMemory({
        sessionId: "long",
        messages: Array.from({ length: 1000 }, () => ({ content: "x".repeat(8_000) })),
      });
    }
    const reader = httpRequest(`${service.url}${MEMORY}/ListMessages`, {
      method: "POST",
      headers: { "content-type": "application/grpc-web" },
    }).on("error", () => {});
    reader.end(Buffer.from("\0\0\0\0\x06\n\x04long"));
    const [response] = (await once(reader, "response")) as [IncomingMessage];
    for (const door of ["gRPC", "HTTP"] as const) {
      expect(await doors[door].list()).toMatchObject({ ...OVERLOADED, metadata: { limited: "streams", max: "1" } });
    }
    response.destroy();
    await eventually("there is room again", () =>
      service.sessions.listSessions({}).then(
        () => true,
        () => false,
      ),
    );
  });

  it("room for requests, also those of which only a part has come", async () => {
    const service = await startHttpService({ limits: { ...LIMITS, maxRequestBytes: 16 * MIB } });
    const unfinished = [1, 2].map(() => {
      const request = begin(service.url, `${MEMORY}/AddMemory`, 8 * MIB);
      request.write("x".repeat(7 * MIB));
      return request;
    });
    // Not before all of both is in: another call beside them could take the room that the rest of them needs.
    const taken = async () => (await figuresOf(service.url)).value("sessions_request_in_flight_bytes") ?? 0;
    await eventually("both have arrived", async () => (await taken()) >= 14 * MIB);
    const messages = [1, 2, 3].map(() => ({ content: "x".repeat(MIB) }));
    // Refused either way, for this or for that.
    const add = () => failure(service.memory.addMemory({ sessionId: " ", messages }));
    expect(await add()).toMatchObject({ ...OVERLOADED, metadata: { limited: "request bytes", max: String(16 * MIB) } });
    const third = begin(service.url, `${MEMORY}/AddMemory`, 3 * MIB);
    third.end("x".repeat(3 * MIB));
    expect(await answerTo(third)).toMatchObject({ status: 429, reason: "OVERLOADED" });
    for (const request of unfinished) request.destroy();
    await eventually("there is room again", async () => (await add()).code === "INVALID_ARGUMENT");
  });

  it("the calls that a project may make in a second", async () => {
    const keyed = await startKeyed({ ...HTTP, projectRate: 4 });
    onTestFinished(() => keyed.stop());
    const transport = to(`http://${keyed.service.server.httpAddress}`);
    const caller = await keyed.caller({ role: Role.ROLE_READER, project: "busy" });
    const headers = { authorization: `Bearer ${caller.secret}` };
    const began = performance.now();
    let lastServed = began;
    const calls = Array.from({ length: 40 }, async (_, n) => {
      const answer = await (n % 2
        ? failure(caller.sessions.getSession({ sessionId: "a" }))
        : connectFailure(call(transport, `${SESSIONS}/GetSession`, { sessionId: "a" }, { headers })));
      if (answer.reason !== "RATE_LIMITED") lastServed = performance.now();
      return answer;
    });
    const answers = await Promise.all(calls);
    const refusedBy = [0, 1].map((door) =>
      answers.filter(({ reason }, n) => n % 2 === door && reason === "RATE_LIMITED"),
    );
    for (const refused of refusedBy) {
      expect(refused[0]).toMatchObject({ code: "RESOURCE_EXHAUSTED", retryDelayMs: expect.any(Number) });
    }
    // Both doors together have served what is allowed at once, and in the time that it took.
    const served = answers.length - refusedBy.flat().length;
    expect(served).toBeLessThanOrEqual(4 + (4 * (lastServed - began)) / 1_000);
  });

  it("is not taken up by those who leave before they have an answer", async () => {
    const service = await startHttpService({ limits: { ...LIMITS, maxCalls: MAX_CALLS } });
    // To unpack it takes a while, and they leave in the midst of that.
    const body = gzipSync(
      JSON.stringify({ sessionId: "nobody", messages: Array(7).fill({ content: "x".repeat(MIB) }) }),
    );
    for (let n = 0; n < 20 * MAX_CALLS; n++) {
      const request = begin(service.url, `${MEMORY}/AddMemory`, body.length, { "content-encoding": "gzip" });
      request.end(body);
      await new Promise((resolve) => request.once("finish", resolve));
      for (let turn = 0; turn < n % 6; turn++) await new Promise((resolve) => setImmediate(resolve));
      request.destroy();
    }
    const doors = doorsOf(service);
    const all = () => Promise.all(Array.from({ length: MAX_CALLS }, () => doors.HTTP.get("nobody")));
    await eventually("all places are free", async () => (await all()).every(({ code }) => code === "NOT_FOUND"));
  });
});

describe("a request that takes long to arrive", () => {
  /** Sends a body in so many pieces, two a second, until it is answered. */
  async function sendSlowly(url: string, sessionId: string, pieces: number, ...sizes: number[]) {
    const body = JSON.stringify({ sessionId, messages: sizes.map((size) => ({ content: "x".repeat(size) })) });
    const request = begin(url, `${MEMORY}/AddMemory`, body.length);
    let isAnswered = false;
    const answered = once(request, "response").then(async ([response]: IncomingMessage[]) => {
      isAnswered = true;
      const text = Buffer.concat(await (response as IncomingMessage).toArray()).toString();
      return { status: response?.statusCode, json: JSON.parse(text) };
    });
    const piece = Math.ceil(body.length / pieces);
    for (let n = 0; n < pieces && !isAnswered; n++) {
      request.write(body.slice(n * piece, (n + 1) * piece));
      await sleep(500);
    }
    request.end();
    return answered;
  }

  it("is waited for as long as it comes on, and given up after 10 s when it hardly does", async () => {
    const service = await startHttpService();
    const [steady, trickling] = await Promise.all([
      // Each half of a MiB within 2 s, the whole after 12 s.
      sendSlowly(service.url, "steady", 24, MIB, MIB, MIB),
      // The whole would take minutes.
      sendSlowly(service.url, "trickling", 500, 1000),
    ]);
    expect(steady).toMatchObject({ status: 200, json: { messages: { length: 3 } } });
    expect(trickling).toMatchObject({ status: 504, json: { code: "deadline_exceeded" } });
    await expect(service.sessions.getSession({ sessionId: "trickling" })).rejects.toMatchObject({ code: 5 });
  });

  it("is cut off when its head does not come to an end", async () => {
    const service = await startHttpService();
    const { hostname, port } = new URL(service.url);
    const silent: Socket[] = [];
    for (const head of [`POST ${SESSIONS}/GetSession HTTP/1.1\r\n`, `POST / HTTP/1.1\r\nhost: a\r\nx-slow: `]) {
      const socket = createConnection(Number(port), hostname);
      onTestFinished(() => void socket.destroy());
      socket.on("error", () => {}).resume();
      socket.write(head);
      silent.push(socket);
    }
    await Promise.all(silent.map((socket) => once(socket, "close")));
  });
});
