import { randomBytes, randomUUID } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, inject, it } from "vitest";
import { Role } from "../../gen/sessions/v1/key_service.js";
import { type Api, connect, failure } from "../support/api.js";
import { eventually, timed } from "../support/eventually.js";
import { type CollectedSpan, type Collector, startCollector, startGrpcCollector } from "../support/otlp-collector.js";
import { startProxy } from "../support/proxy.js";
import { runService, type ServiceProcess } from "../support/service-process.js";
import { temporaryFolder } from "../support/temporary-folder.js";

interface Running {
  readonly service: ServiceProcess;
  readonly api: Api;
}

async function start(env: Record<string, string>, credential?: string): Promise<Running> {
  const service = runService({ MONGODB_URI: inject("mongodbUri"), MONGODB_DATABASE: `test-${randomUUID()}`, ...env });
  const { grpc } = await service.ready();
  return { service, api: connect(grpc, credential) };
}

/** What is done is exported soon. */
const SOON = { OTEL_BSP_SCHEDULE_DELAY: "50" };
const tracedTo = ({ url }: Collector, protocol = "http/json") => ({
  OTEL_EXPORTER_OTLP_ENDPOINT: url,
  OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
  ...SOON,
});

async function stop({ service, api }: Running): Promise<void> {
  api.close();
  service.kill("SIGTERM");
  expect(await service.exited).toEqual({ code: 0, signal: null });
}

/** What a caller sends who traces by itself. */
function newTrace(flags = "01") {
  const traceId = randomBytes(16).toString("hex");
  const spanId = randomBytes(8).toString("hex");
  return { traceId, spanId, headers: { traceparent: `00-${traceId}-${spanId}-${flags}` } };
}

const bySpan = (id: string) => (span: CollectedSpan) => span.spanId === id;
const of = (traceId: string, name: string) => (span: CollectedSpan) => span.traceId === traceId && span.name === name;
const GET_SESSION = "sessions.v1.SessionService/GetSession";
const ADD_MEMORY = "sessions.v1.MemoryService/AddMemory";
const GET_MEMORY = "sessions.v1.MemoryService/GetMemory";

describe("a call", () => {
  it("is a span, a part of what its caller says, with the code of its answer and nothing else", async () => {
    const collector = await startCollector();
    const running = await start(tracedTo(collector));
    const { api } = running;
    const found = newTrace();
    const missing = newTrace();
    await api.sessions.createSession({ sessionId: "s" });
    await api.sessions.getSession({ sessionId: "s" }, found);
    await failure(api.sessions.getSession({ sessionId: "nowhere" }, missing));

    const rpc = { "rpc.system.name": "grpc", "rpc.method": GET_SESSION };
    const ok = await collector.span(of(found.traceId, GET_SESSION));
    expect(ok).toMatchObject({ kind: "SERVER", parentSpanId: found.spanId, hasFailed: false, links: [] });
    expect(ok.attributes).toEqual({ ...rpc, "rpc.status_code": "OK" });
    // That it is not there is an answer, no failure of the service.
    const notFound = await collector.span(of(missing.traceId, GET_SESSION));
    expect(notFound).toMatchObject({ kind: "SERVER", parentSpanId: missing.spanId, hasFailed: false });
    expect(notFound.attributes).toEqual({ ...rpc, "rpc.status_code": "NOT_FOUND" });
    const own = await collector.span(({ name }) => name === "sessions.v1.SessionService/CreateSession");
    expect(own.parentSpanId).toBe("");
    await stop(running);
  });

  it("by Connect is told in its words", async () => {
    const collector = await startCollector();
    const running = await start({ ...tracedTo(collector), SESSIONS_HTTP_LISTEN: "127.0.0.1:0" });
    const { http } = await running.service.ready();
    const trace = newTrace();
    await fetch(`http://${http}/${GET_SESSION}`, {
      method: "POST",
      headers: { "content-type": "application/json", ...trace.headers },
      body: '{"sessionId": "nowhere"}',
    });
    const span = await collector.span(of(trace.traceId, GET_SESSION));
    expect(span).toMatchObject({ kind: "SERVER", parentSpanId: trace.spanId, hasFailed: false });
    expect(span.attributes).toEqual({
      "rpc.system.name": "connectrpc",
      "rpc.method": GET_SESSION,
      "rpc.status_code": "not_found",
    });
    await stop(running);
    const lines = running.service.lines().filter(({ msg }) => msg === "call");
    expect(lines).toMatchObject([{ session: "nowhere", trace_id: trace.traceId, span_id: span.spanId }]);
  });

  it("of the legacy API is one of HTTP, by its route, without what is in its path", async () => {
    const collector = await startCollector();
    const running = await start({ ...tracedTo(collector), SESSIONS_HTTP_LISTEN: "127.0.0.1:0" });
    const { http } = await running.service.ready();
    const call = async (method: string, path: string, body?: string) => {
      const trace = newTrace();
      await fetch(`http://${http}/api/v1${path}`, { method, headers: trace.headers, ...(body && { body }) });
      const span = await collector.span(({ parentSpanId }) => parentSpanId === trace.spanId);
      expect(span).toMatchObject({ kind: "SERVER", hasFailed: false });
      return [span.name, span.attributes];
    };
    const told = (method: string, route: string, status: number) => [
      `${method} ${route}`,
      { "http.request.method": method, "http.route": route, "http.response.status_code": status },
    ];
    const created = await call("POST", "/sessions", '{"session_id": "someone"}');
    expect(created).toEqual(told("POST", "/api/v1/sessions", 201));
    expect(await call("GET", "/sessions/someone")).toEqual(told("GET", "/api/v1/sessions/:id", 200));
    expect(await call("GET", "/sessions/somewhere")).toEqual(told("GET", "/api/v1/sessions/:id", 404));
    await stop(running);
    expect(Buffer.concat(collector.requests.map(({ body }) => body)).toString()).not.toMatch(/some(one|where)/);
  });

  it("has failed when the service has, and says no more than how", async () => {
    const collector = await startCollector();
    const proxy = await startProxy(inject("mongodbUri"));
    const running = await start({ ...tracedTo(collector), MONGODB_URI: proxy.uri });
    // It needs no database, and has the connection made: a call whose time is over before it has come is none to the service.
    await failure(running.api.sessions.batchGetSessions({}));
    await proxy.become("black-hole");
    await failure(running.api.sessions.getSession({ sessionId: "s" }, { deadlineMs: 2_000 }));
    const span = await collector.span(({ name }) => name === GET_SESSION);
    expect(span).toMatchObject({ hasFailed: true, message: "" });
    expect(span.attributes).toMatchObject({
      "rpc.status_code": "DEADLINE_EXCEEDED",
      "error.type": "DEADLINE_EXCEEDED",
    });
    await proxy.become("forward");
    await stop(running);
    await proxy.stop();
  });

  it("that is a stream is one span, of all that it reads", async () => {
    const collector = await startCollector();
    const running = await start(tracedTo(collector));
    const { api } = running;
    await api.memory.addMemory({ sessionId: "s", messages: [{ content: "1" }, { content: "2" }, { content: "3" }] });
    const trace = newTrace();
    expect(await api.memory.listMessages({ sessionId: "s", chunkSize: 1 }, trace)).toHaveLength(3);
    const call = await collector.span(of(trace.traceId, "sessions.v1.MemoryService/ListMessages"));
    const reads = collector.spans().filter(of(trace.traceId, "find messages"));
    expect(reads.length).toBeGreaterThan(0);
    for (const read of reads) {
      expect(read.parentSpanId).toBe(call.spanId);
      expect(read.start >= call.start && read.end <= call.end).toBe(true);
    }
    await stop(running);
  });

  it("is found by its line in the log, whether it is traced by its caller or not", async () => {
    const collector = await startCollector();
    const running = await start(tracedTo(collector));
    const trace = newTrace();
    const notSampled = newTrace("00");
    await running.api.sessions.createSession({ sessionId: "s" }, trace);
    await running.api.sessions.getSession({ sessionId: "s" }, notSampled);
    await running.api.sessions.listSessions({});
    const call = await collector.span(({ name }) => name === "sessions.v1.SessionService/ListSessions");
    const created = await collector.span(of(trace.traceId, "sessions.v1.SessionService/CreateSession"));
    await stop(running);
    const lines = running.service.lines().filter(({ msg }) => msg === "call");
    expect(lines).toMatchObject([
      { session: "s", trace_id: trace.traceId, span_id: created.spanId },
      { session: "s", trace_id: notSampled.traceId },
      { trace_id: call.traceId, span_id: call.spanId },
    ]);
    expect(collector.spans().filter(({ traceId }) => traceId === notSampled.traceId)).toEqual([]);
    const others = running.service.lines().filter(({ msg }) => msg !== "call");
    for (const line of others) expect(line).not.toHaveProperty("trace_id");
  });
});

describe("what is done for a call", () => {
  it("is below it: its place in a group, the group, and the group's commands to the database", async () => {
    const collector = await startCollector();
    const database = `test-${randomUUID()}`;
    const running = await start({ ...tracedTo(collector), MONGODB_DATABASE: database });
    const added = newTrace();
    const read = newTrace();
    await running.api.memory.addMemory({ sessionId: "s", messages: [{ content: "1" }] }, added);
    await running.api.sessions.getSession({ sessionId: "s" }, read);
    await collector.span(of(read.traceId, GET_SESSION));
    await stop(running);

    const trees = [added, read].map(({ traceId, spanId }) => treeOf(collector.spans(), traceId, spanId));
    const [adding, reading] = trees as [Tree, Tree];
    const commands = (names: string[]) => ({ "commit changes": { "commit changes (group)": leaves(names) } });
    expect(adding).toEqual({
      [ADD_MEMORY]: commands(["aggregate sessions", "insert sessions", "insert messages", "commitTransaction admin"]),
    });
    expect(reading).toEqual({
      [GET_SESSION]: { "read sessions": { "read sessions (group)": { "find sessions": {} } } },
    });

    const { hostname, port } = new URL(inject("mongodbUri").replace("mongodb:", "http:"));
    const find = collector.spans().find(of(read.traceId, "find sessions"));
    expect(find).toMatchObject({ kind: "CLIENT", hasFailed: false });
    expect(find?.attributes).toEqual({
      "db.system.name": "mongodb",
      "db.operation.name": "find",
      "db.namespace": database,
      "db.collection.name": "sessions",
      "server.address": hostname,
      "server.port": Number(port),
    });
    const group = collector.spans().find(of(read.traceId, "read sessions (group)"));
    expect(group?.attributes).toEqual({ "sessions.group.size": 1 });
  });

  it("together with others is one span, linked with all whom it is done for", async () => {
    const collector = await startCollector();
    const running = await start(tracedTo(collector));
    const { api } = running;
    const calls = Array.from({ length: 20 }, (_, n) => ({ sessionId: `s-${n}`, add: newTrace() }));
    await Promise.all(
      calls.map(({ sessionId, add }) => api.memory.addMemory({ sessionId, messages: [{ content: "1" }] }, add)),
    );
    // Reads and writes, all at the same time.
    const again = calls.map(({ sessionId }) => ({
      sessionId,
      add: newTrace(),
      get: newTrace(),
      read: newTrace(),
    }));
    await Promise.all(
      again.flatMap(({ sessionId, add, get, read }) => [
        api.memory.addMemory({ sessionId, messages: [{ content: "2" }] }, add),
        api.sessions.getSession({ sessionId }, get),
        api.memory.getMemory({ sessionId }, read),
      ]),
    );
    await stop(running);

    const spans = collector.spans();
    const kinds = [
      { traces: calls.map(({ add }) => add), work: "commit changes", call: ADD_MEMORY },
      { traces: again.map(({ add }) => add), work: "commit changes", call: ADD_MEMORY },
      { traces: again.map(({ get }) => get), work: "read sessions", call: GET_SESSION },
      { traces: again.map(({ read }) => read), work: "read memories", call: GET_MEMORY },
    ];
    let groupsInAll = 0;
    for (const { traces, work, call } of kinds) {
      const groups = new Map<string, number>();
      for (const { traceId, spanId } of traces) {
        const own = spans.find(of(traceId, call));
        const place = spans.find(of(traceId, work));
        expect(own?.parentSpanId).toBe(spanId);
        expect(place?.parentSpanId).toBe(own?.spanId);
        const [link, ...more] = place?.links ?? [];
        expect(more).toEqual([]);
        const group = spans.find(bySpan(link?.spanId ?? ""));
        expect(group).toMatchObject({ traceId: link?.traceId, name: `${work} (group)` });
        const isFirst = group?.parentSpanId === place?.spanId;
        const linked = group?.links.some((one) => one.spanId === place?.spanId && one.traceId === traceId);
        // It is below the first one, and linked with the others.
        expect([isFirst, linked]).toEqual([isFirst, !isFirst]);
        if (group) groups.set(group.spanId, (groups.get(group.spanId) ?? 0) + 1);
      }
      groupsInAll += groups.size;
      for (const [id, size] of groups) {
        expect(spans.find(bySpan(id))?.attributes).toEqual({ "sessions.group.size": size });
      }
    }
    expect(groupsInAll).toBeLessThan(kinds.length * calls.length);
    // Each command is below the group that sends it, and below no call that just happens to be under way.
    const seen = new Map<string, Set<string>>();
    for (const command of spans.filter(({ kind }) => kind === "CLIENT")) {
      const above = ancestorsOf(spans, command).map(({ name }) => name);
      const place = above.join(" < ");
      seen.set(place, (seen.get(place) ?? new Set()).add(command.name));
    }
    const place = (work: string, call: string) => `${work} (group) < ${work} < ${call}`;
    expect(new Set(seen.keys())).toEqual(new Set(kinds.map(({ work, call }) => place(work, call))));
    const commandsOf = (work: string, call: string) => [...(seen.get(place(work, call)) ?? [])];
    expect(commandsOf("read sessions", GET_SESSION)).toEqual(["find sessions"]);
    // What the process knows of the memories need not be read.
    expect(commandsOf("read memories", GET_MEMORY).filter((name) => name !== "find messages")).toEqual([
      "find sessions",
    ]);
    expect(commandsOf("commit changes", ADD_MEMORY)).toContain("insert messages");
    expect(commandsOf("commit changes", ADD_MEMORY)).not.toContain("find sessions");
  });

  it("alone, in a group, is its own", async () => {
    const collector = await startCollector();
    const running = await start(tracedTo(collector));
    const { api } = running;
    const messages = ["1", "2", "3", "4"].map((messageId) => ({ messageId, content: messageId }));
    await api.memory.addMemory({ sessionId: "s", messages });
    await api.memory.deleteMessage({ sessionId: "s", messageId: "3" });
    const trace = newTrace();
    // What has been deleted is made up for by what is further back, for which the group does not wait.
    expect((await api.memory.getMemory({ sessionId: "s", lastN: 2 }, trace)).messages).toHaveLength(2);
    await stop(running);
    const reads = { "find sessions": {}, "find messages": {} };
    expect(treeOf(collector.spans(), trace.traceId, trace.spanId)).toEqual({
      [GET_MEMORY]: { "read memories": { ...reads, "read memories (group)": reads } },
    });
  });

  it("in the background is not", async () => {
    const collector = await startCollector();
    const running = await start({ ...tracedTo(collector), SESSIONS_PURGE_INTERVAL: "100ms" });
    const { api } = running;
    await api.memory.addMemory({ sessionId: "s", messages: [{ content: "1" }] });
    const trace = newTrace();
    await api.sessions.deleteSession({ sessionId: "s" }, trace);
    await stop(running);
    const spans = collector.spans();
    expect(Object.keys(treeOf(spans, trace.traceId, trace.spanId))).toEqual([
      "sessions.v1.SessionService/DeleteSession",
    ]);
    const roots = spans.filter(({ parentSpanId }) => parentSpanId === "").map(({ name }) => name);
    expect(roots).toEqual([ADD_MEMORY]);
    expect(spans.filter(of(trace.traceId, "update messages"))).toEqual([]);
    const call = spans.find(of(trace.traceId, "sessions.v1.SessionService/DeleteSession"));
    for (const span of spans.filter(({ traceId }) => traceId === trace.traceId)) {
      expect(span.end <= (call?.end ?? 0n)).toBe(true);
    }
  });
});

function ancestorsOf(spans: readonly CollectedSpan[], { traceId, parentSpanId }: CollectedSpan): CollectedSpan[] {
  const parent = spans.find((span) => span.traceId === traceId && span.spanId === parentSpanId);
  return parent ? [parent, ...ancestorsOf(spans, parent)] : [];
}

interface Tree {
  [name: string]: Tree;
}

/** The spans of a trace below one of them, in the order of their beginning. */
function treeOf(spans: readonly CollectedSpan[], traceId: string, parentSpanId: string): Tree {
  const children = spans.filter((span) => span.traceId === traceId && span.parentSpanId === parentSpanId);
  const inOrder = children.sort((a, b) => Number(a.start - b.start));
  return Object.fromEntries(inOrder.map(({ name, spanId }) => [name, treeOf(spans, traceId, spanId)]));
}

const leaves = (names: string[]): Tree => Object.fromEntries(names.map((name) => [name, {}]));

it("nothing of what callers say, or of who they are, is in it", async () => {
  const collector = await startCollector();
  const folder = await temporaryFolder();
  const secret = `the-secret-of-the-first-admin-${randomUUID()}`;
  await writeFile(join(folder, "admin-key"), secret);
  const env = { SESSIONS_AUTH: "keys", SESSIONS_ADMIN_KEY_FILE: join(folder, "admin-key") };
  const running = await start({ ...tracedTo(collector), ...env }, secret);
  const { api } = running;
  const said = { sessionId: "the-session", user: "the-user", message: "the-message", metadata: "the-metadata" };
  const headers = { "x-request-id": "the-request", baggage: "who=the-baggage" };
  const key = await api.keys.createKey({ name: "the-key", role: Role.ROLE_WRITER, project: "the-project" });
  const writer = connect((await running.service.ready()).grpc, key.secret);
  const messages = [
    { messageId: said.message, content: "the-content", role: "the-role", metadata: { a: said.metadata } },
  ];
  await api.users.createUser({ userId: said.user });
  await writer.memory.addMemory(
    { sessionId: said.sessionId, sessionMetadata: { topic: said.metadata }, messages },
    { headers },
  );
  // One that is there already, which the database itself tells, with its key, and one that is not there.
  await failure(api.users.createUser({ userId: said.user }));
  await failure(writer.sessions.getSession({ sessionId: "the-session-that-is-not" }, { headers }));
  await writer.memory.getMemory({ sessionId: said.sessionId }, { headers });
  await writer.memory.listMessages({ sessionId: said.sessionId }, { headers });
  await writer.sessions.listSessions({ metadata: { topic: said.metadata } });
  await collector.span(({ name }) => name === "sessions.v1.SessionService/ListSessions");
  writer.close();
  await stop(running);

  const attributes = new Set(collector.spans().flatMap((span) => Object.keys(span.attributes)));
  expect([...attributes].sort()).toEqual([
    "db.collection.name",
    "db.namespace",
    "db.operation.name",
    "db.system.name",
    "rpc.method",
    "rpc.status_code",
    "rpc.system.name",
    "server.address",
    "server.port",
    "sessions.group.size",
  ]);
  const exported = Buffer.concat(collector.requests.map(({ body }) => body)).toString();
  for (const text of [/the-\w+/, new RegExp(key.secret), new RegExp(key.key?.keyId as string)]) {
    expect(exported).not.toMatch(text);
  }
});

describe("the variables of OpenTelemetry", () => {
  it("say where to, in its own way of speaking by default, and only traces go there", async () => {
    const collector = await startCollector();
    const { OTEL_EXPORTER_OTLP_PROTOCOL: _, ...env } = tracedTo(collector);
    const running = await start({
      ...env,
      OTEL_METRICS_EXPORTER: "otlp",
      OTEL_LOGS_EXPORTER: "otlp",
      OTEL_METRIC_EXPORT_INTERVAL: "50",
      OTEL_BLRP_SCHEDULE_DELAY: "50",
    });
    const trace = newTrace();
    await running.api.sessions.createSession({ sessionId: "s" }, trace);
    const span = await collector.span(of(trace.traceId, "sessions.v1.SessionService/CreateSession"));
    expect(span).toMatchObject({ kind: "SERVER", parentSpanId: trace.spanId });
    expect(span.attributes).toMatchObject({ "rpc.system.name": "grpc", "rpc.status_code": "OK" });
    expect(collector.resources()).toMatchObject([{ "service.name": "sessions" }]);
    await stop(running);
    for (const { path, type } of collector.requests) {
      expect([path, type]).toEqual(["/v1/traces", "application/x-protobuf"]);
    }
  });

  it("have it spoken over gRPC, too", async () => {
    const collector = await startGrpcCollector();
    const running = await start(tracedTo(collector, "grpc"));
    const trace = newTrace();
    await running.api.sessions.createSession({ sessionId: "s" }, trace);
    const span = await collector.span(of(trace.traceId, "sessions.v1.SessionService/CreateSession"));
    expect(span).toMatchObject({ kind: "SERVER", parentSpanId: trace.spanId });
    await stop(running);
  });

  it("say who it is, whom to believe, and how much", async () => {
    const collector = await startCollector();
    const running = await start({
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${collector.url}/v1/traces`,
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
      OTEL_SERVICE_NAME: "memory",
      OTEL_RESOURCE_ATTRIBUTES: "deployment.environment.name=test",
      OTEL_PROPAGATORS: "b3",
      OTEL_TRACES_SAMPLER: "parentbased_always_off",
      ...SOON,
    });
    const ids = { traceId: randomBytes(16).toString("hex"), spanId: randomBytes(8).toString("hex") };
    await running.api.sessions.createSession({ sessionId: "s" }, newTrace());
    await running.api.sessions.getSession({ sessionId: "s" }, { headers: { b3: `${ids.traceId}-${ids.spanId}-1` } });
    await collector.span(of(ids.traceId, GET_SESSION));
    await stop(running);
    const own = { "service.name": "memory", "deployment.environment.name": "test" };
    expect(collector.resources()).toMatchObject([own]);
    expect(new Set(collector.spans().map(({ traceId }) => traceId))).toEqual(new Set([ids.traceId]));
  });

  it("hold for each of several processes", async () => {
    const collector = await startCollector();
    const running = await start({ ...tracedTo(collector), SESSIONS_WORKERS: "2" });
    const { grpc } = await running.service.ready();
    // A connection is one worker's.
    const clients = Array.from({ length: 8 }, () => connect(grpc));
    const traces = clients.map(() => newTrace());
    await Promise.all(clients.map((client, n) => client.sessions.listSessions({}, traces[n])));
    for (const client of clients) client.close();
    await stop(running);
    for (const { traceId } of traces) {
      expect(collector.spans().filter(({ traceId: id, kind }) => id === traceId && kind === "SERVER")).toHaveLength(1);
    }
    expect(collector.resources()).toHaveLength(2);
    expect(collector.resources().map((resource) => resource["process.pid"])).not.toContain(running.service.pid);
  });
});

describe("without them", () => {
  /** Tells what of OpenTelemetry is loaded: by an import, or by one that is required in turn. Its API alone does nothing. */
  const hooks = `import { writeSync } from "node:fs";
    export const resolve = async (name, context, next) => {
      const found = await next(name, context);
      if (/@opentelemetry\\/(?!api\\/)/.test(found.url)) writeSync(2, "loaded " + found.url + "\\n");
      return found;
    }`;
  const probe = `import { createRequire, register } from "node:module";
    register("data:text/javascript,${encodeURIComponent(hooks)}");
    process.on("exit", () => {
      for (const name of Object.keys(createRequire(process.execPath).cache)) {
        if (/@opentelemetry\\/(?!api\\/)/.test(name)) process.stderr.write("loaded " + name + "\\n");
      }
    });`;
  const probed = { NODE_OPTIONS: `--import data:text/javascript,${encodeURIComponent(probe)}` };

  it.each([
    ["none of them", {}],
    ["that it is disabled", { OTEL_SDK_DISABLED: "true", OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1" }],
    ["that nothing is exported", { OTEL_TRACES_EXPORTER: "none", OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1" }],
    [
      "only where metrics and logs go",
      { OTEL_METRICS_EXPORTER: "otlp", OTEL_EXPORTER_OTLP_LOGS_ENDPOINT: "http://127.0.0.1:1" },
    ],
    ["only who it is", { OTEL_SERVICE_NAME: "memory", OTEL_RESOURCE_ATTRIBUTES: "a=b" }],
  ])("(%s) nothing of it is loaded, and nothing of it is in the log", async (_, env) => {
    const running = await start({ ...probed, ...env });
    await running.api.sessions.createSession({ sessionId: "s" }, newTrace());
    await stop(running);
    expect(running.service.output().stderr).toBe("");
    for (const line of running.service.lines()) expect(line).not.toHaveProperty("trace_id");
  });

  it("and with them it is", async () => {
    const running = await start({ ...probed, ...tracedTo(await startCollector()) });
    await stop(running);
    expect(running.service.output().stderr).toMatch(/loaded .*@opentelemetry\/sdk-node/);
  });
});

describe("a collector that is away", () => {
  const warnings = ({ service }: Running) => service.lines().filter(({ level }) => (level as number) >= 40);

  it("costs a line in the log", async () => {
    const running = await start({
      ...SOON,
      OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:1",
      OTEL_EXPORTER_OTLP_TIMEOUT: "500",
    });
    await running.api.sessions.createSession({ sessionId: "s" });
    await eventually("it is told", () => warnings(running).length > 0);
    await running.api.sessions.getSession({ sessionId: "s" });
    await stop(running);
    expect(warnings(running)).toMatchObject([{ level: 40, msg: expect.stringContaining("could not be exported") }]);
    expect(running.service.output().stderr).toBe("");
  });

  it("or that refuses what it is sent, is told of once, and then only to who wants to know all", async () => {
    const collector = await startCollector({ answer: 400 });
    const running = await start({ ...tracedTo(collector), SESSIONS_LOG_LEVEL: "debug" });
    const told = () => running.service.lines().filter(({ msg }) => /could not be exported/.test(msg));
    for (const times of [1, 2, 3]) {
      await running.api.sessions.listSessions({});
      await eventually("it is told", () => told().length >= times);
    }
    await stop(running);
    expect(told().map(({ level }) => level)).toEqual([
      40,
      ...told()
        .slice(1)
        .map(() => 20),
    ]);
  });

  it("as it is not where the variables say, is told of without what they say in secret", async () => {
    const running = await start({ OTEL_EXPORTER_OTLP_ENDPOINT: "http://someone:pa55word@127.0.0.1:99999" });
    expect(warnings(running)).toMatchObject([{ msg: expect.stringContaining("http://127.0.0.1:99999") }]);
    await stop(running);
    expect(running.service.output().stdout).not.toMatch(/pa55/);
  });

  it("does not keep the process from ending, nor does one that says nothing", async () => {
    const silent = await startCollector({ answer: undefined });
    const patience = { OTEL_EXPORTER_OTLP_TIMEOUT: "120000", OTEL_BSP_EXPORT_TIMEOUT: "120000" };
    const running = await start({ ...tracedTo(silent), ...patience });
    await running.api.sessions.createSession({ sessionId: "s" });
    await eventually("it has been spoken to", () => silent.requests.length > 0);
    const { ms } = await timed(stop(running));
    expect(ms).toBeLessThan(60_000);
  });
});

it("what is left is exported at the stop", async () => {
  const collector = await startCollector();
  const { OTEL_BSP_SCHEDULE_DELAY: _, ...env } = tracedTo(collector);
  const running = await start({ ...env, OTEL_BSP_SCHEDULE_DELAY: "600000" });
  await running.api.sessions.createSession({ sessionId: "s" });
  await stop(running);
  expect(collector.spans().map(({ name }) => name)).toContain("sessions.v1.SessionService/CreateSession");
});
