import { credentials } from "@grpc/grpc-js";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { GetSessionResponse, ListSessionsResponse } from "../../gen/sessions/v1/session_service.js";
import { type ClientOptions, createClient, SessionsClientError } from "../../src/client/index.js";
import { type Authority, createAuthority, type Identity, layTlsFiles } from "../support/certificates.js";
import { startProxy } from "../support/proxy.js";
import { startRecordingPeer } from "../support/recording-peer.js";
import { startService } from "../support/service.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { clientTo, collect, failure } from "./support.js";

const KEY = "sk_0123456789abcdefghijklmnopqrstuvwxyz";

const SESSION = {
  sessionId: "s",
  uid: "u",
  createTime: { seconds: 1, nanos: 0 },
  updateTime: { seconds: 1, nanos: 0 },
};

describe("a key", () => {
  it("is shown by every call, by listings, and by a listing that goes on after a lost connection", async () => {
    const chunk = (nextCursor: string) =>
      ListSessionsResponse.encode(ListSessionsResponse.fromPartial({ sessions: [SESSION], nextCursor })).finish();
    const peer = await startRecordingPeer((n) => {
      if (n === 0) {
        const session = GetSessionResponse.encode(GetSessionResponse.fromPartial({ session: SESSION })).finish();
        return { code: "OK", messages: [session] };
      }
      return n === 1 ? { code: "OK", messages: [chunk("c")], breaks: true } : { code: "OK", messages: [chunk("")] };
    });
    const client = clientTo(peer.address, { key: KEY });
    await client.getSession({ sessionId: "s" });
    expect(await collect(client.listSessions())).toHaveLength(2);
    const authorization = `Bearer ${KEY}`;
    expect(peer.calls).toEqual([
      { path: "/sessions.v1.SessionService/GetSession", authorization },
      { path: "/sessions.v1.SessionService/ListSessions", authorization },
      { path: "/sessions.v1.SessionService/ListSessions", authorization },
    ]);
  });

  it.each([
    ["UNAUTHENTICATED", { credential: "key" }],
    ["PERMISSION_DENIED", { role: "reader", required_role: "writer" }],
  ] as const)("that is answered with %s is not tried again, and the error tells why", async (code, metadata) => {
    const peer = await startRecordingPeer(() => ({ code, reason: code, metadata }));
    const client = clientTo(peer.address, { key: KEY });
    for (const outcome of [client.getSession({ sessionId: "s" }), collect(client.listSessions())]) {
      const error = await failure(outcome);
      expect(error).toMatchObject({ code, reason: code, metadata });
      expect(JSON.stringify(error) + error.stack + String(error.cause)).not.toContain(KEY);
    }
    expect(peer.calls).toHaveLength(2);
  });

  it("whose project is over its rate is tried again as the service says, whatever the call", async () => {
    const peer = await startRecordingPeer((n) =>
      n === 0
        ? { code: "RESOURCE_EXHAUSTED", reason: "RATE_LIMITED", retryDelayMs: 20 }
        : { code: "ALREADY_EXISTS", reason: "SESSION_ALREADY_EXISTS" },
    );
    const client = clientTo(peer.address, { key: KEY });
    expect(await failure(client.createSession({ sessionId: "s" }))).toMatchObject({ code: "ALREADY_EXISTS" });
    expect(peer.calls).toHaveLength(2);
  });
});

/** What is wrong with the options, by the field that is told. */
function refusal(options: ClientOptions): { field: string | undefined; text: string } {
  try {
    createClient(options).close();
  } catch (error) {
    if (!(error instanceof SessionsClientError)) throw error;
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT", reason: "INVALID_FIELD" });
    return { field: error.violations[0]?.field, text: `${error.stack}${String(error.cause)}` };
  }
  return { field: undefined, text: "" };
}

describe("a key without encryption", () => {
  it("goes to this machine", () => {
    expect(refusal({ key: KEY })).toMatchObject({ field: undefined });
    expect(refusal({ key: KEY, address: "localhost:1" })).toMatchObject({ field: undefined });
    // Whatever the service may have been given as its first admin's.
    expect(refusal({ key: "a secret of several words, and ~ signs!" })).toMatchObject({ field: undefined });
  });

  it.each([
    "db.example:50051",
    "localhost.evil.com:50051",
    "dns://10.0.0.1/localhost:1",
    "ipv4:127.0.0.1:1,10.0.0.1:1",
  ])("does not go to %s unless it is told to", (address) => {
    const { field, text } = refusal({ key: KEY, address });
    expect(field).toBe("key");
    expect(text).toContain(address);
    expect(text).not.toContain(KEY);
    expect(refusal({ key: KEY, address, credentials: credentials.createInsecure() })).toMatchObject({ field: "key" });
    for (const more of [{ allowPlaintextKey: true }, { tls: true }, { credentials: credentials.createSsl() }]) {
      expect(refusal({ key: KEY, address, ...more })).toMatchObject({ field: undefined });
    }
    expect(refusal({ address })).toMatchObject({ field: undefined });
  });
});

describe("options that do not go together, or are no good, are refused before there is a connection", () => {
  let own: Identity;
  let other: Identity;
  let ca: string;
  beforeAll(async () => {
    const authority = await createAuthority();
    own = await authority.issue("own");
    other = await authority.issue("other");
    ca = authority.cert;
  });

  it.each(["", " ", ` ${KEY}`, `${KEY}\n`, `${KEY}\n${KEY}`, `ключ${KEY}`, `${KEY}\0`])("key %j", (key) => {
    const { field, text } = refusal({ key });
    expect(field).toBe("key");
    expect(text).not.toContain(KEY);
  });

  it.each<[field: string, () => ClientOptions]>([
    ["tls.key", () => ({ tls: { cert: own.cert } })],
    ["tls.cert", () => ({ tls: { key: own.key } })],
    ["tls.key", () => ({ tls: { cert: own.cert, key: other.key } })],
    ["tls.key", () => ({ tls: { cert: own.cert, key: "nonsense" } })],
    ["tls.cert", () => ({ tls: { cert: "nonsense", key: own.key } })],
    ["tls.ca", () => ({ tls: { ca: "nonsense" } })],
    ["tls.ca", () => ({ tls: { ca: ca.slice(0, 200) } })],
    ["credentials", () => ({ tls: true, credentials: credentials.createSsl() })],
    ["headers", () => ({ key: KEY, headers: { Authorization: "Bearer another" } })],
  ])("%s", (field, options) => {
    const { field: told, text } = refusal(options());
    expect(told).toBe(field);
    for (const { key } of [own, other]) expect(text).not.toContain(key.split("\n")[1]);
  });

  it("and what goes together is taken, as text and as bytes", () => {
    expect(refusal({ tls: { ca, ...own }, key: KEY, address: "db.example:1" })).toMatchObject({ field: undefined });
    const bytes = { ca: Buffer.from(ca), cert: Buffer.from(own.cert), key: Buffer.from(own.key) };
    expect(refusal({ tls: bytes })).toMatchObject({ field: undefined });
  });
});

describe("TLS", () => {
  async function start(authority: Authority, mutual: boolean) {
    const server = await authority.issue("server");
    const tls = await layTlsFiles(await temporaryFolder(), server, mutual ? authority.cert : undefined);
    const service = await startService({ tls });
    onTestFinished(() => service.stop());
    return service;
  }

  it("reaches a service that it trusts, and no other", async () => {
    const authority = await createAuthority();
    const { address } = await start(authority, false);
    const client = clientTo(address, { tls: { ca: authority.cert }, key: KEY });
    expect(await client.createSession({ sessionId: "s" })).toMatchObject({ sessionId: "s" });
    expect(await collect(client.listSessions())).toHaveLength(1);

    const retries = { maxRetries: 1 };
    for (const tls of [true, { ca: (await createAuthority("stranger")).cert }, false]) {
      const error = await failure(clientTo(address, { tls, retries }).getSession({ sessionId: "s" }));
      expect(error).toMatchObject({ code: "UNAVAILABLE", reason: undefined });
    }
  });

  it("shows the client's certificate, also when it goes on after a lost connection", async () => {
    const authority = await createAuthority();
    const { address } = await start(authority, true);
    const proxy = await startProxy(`tcp://${address}`);
    onTestFinished(() => proxy.stop());
    const own = await authority.issue("client");
    const client = clientTo(proxy.address, { tls: { ca: authority.cert, ...own } });
    const metadata = { fill: "x".repeat(50_000) };
    await Promise.all(Array.from({ length: 60 }, (_, n) => client.createSession({ sessionId: `s${n}`, metadata })));
    const ids: string[] = [];
    for await (const { sessionId } of client.listSessions({ chunkSize: 2 })) {
      if (ids.push(sessionId) === 2) proxy.breakConnections();
    }
    expect(new Set(ids).size).toBe(60);
    expect(ids).toHaveLength(60);
    expect(proxy.connections).toBe(2);

    const unknown = clientTo(address, { tls: { ca: authority.cert }, retries: { maxRetries: 1 } });
    expect(await failure(unknown.getSession({ sessionId: "s0" }))).toMatchObject({ code: "UNAVAILABLE" });
  });
});
