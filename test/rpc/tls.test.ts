import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { createConnection } from "node:net";
import { type ConnectionOptions, connect as connectTls } from "node:tls";
import { type ClientReadableStream, credentials } from "@grpc/grpc-js";
import { beforeAll, describe, expect, inject, it, onTestFinished } from "vitest";
import {
  ListMessagesRequest,
  type ListMessagesResponse,
  MemoryServiceService,
} from "../../gen/sessions/v1/memory_service.js";
import { type Api, connect, failure } from "../support/api.js";
import { type Authority, createAuthority, type Identity, layTlsFiles, replace } from "../support/certificates.js";
import { eventually } from "../support/eventually.js";
import { startService } from "../support/service.js";
import { runService } from "../support/service-process.js";
import { temporaryFolder } from "../support/temporary-folder.js";

/** For a machine that is slow for a while. */
const PATIENCE_MS = 60_000;

let authority: Authority;
let stranger: Authority;
let first: Identity;
let second: Identity;
let client: Identity;
beforeAll(async () => {
  authority = await createAuthority();
  stranger = await createAuthority("stranger");
  [first, second, client] = (await Promise.all(["first", "second", "client"].map((name) => authority.issue(name)))) as [
    Identity,
    Identity,
    Identity,
  ];
});

const trusting = ({ cert }: Authority, own?: Identity) =>
  credentials.createSsl(Buffer.from(cert), own ? Buffer.from(own.key) : null, own ? Buffer.from(own.cert) : null);

async function startTls({ mutual = false } = {}) {
  const files = await layTlsFiles(await temporaryFolder(), first, mutual ? authority.cert : undefined);
  const service = await startService({ tls: files, credentials: trusting(authority, mutual ? client : undefined) });
  onTestFinished(() => service.stop());
  return { service, files };
}

/** A connection of its own, until the test ends. */
function connected(address: string, ...as: Parameters<typeof trusting>): Api {
  const api = connect(address, undefined, trusting(...as));
  onTestFinished(() => api.close());
  return api;
}

/** Whose certificate a new connection gets. Rejects when there comes no connection to be. */
async function certificateAt(address: string, options: ConnectionOptions = {}): Promise<string | undefined> {
  const [host, port] = address.split(":") as [string, string];
  const socket = connectTls({
    host,
    port: Number(port),
    ca: authority.cert,
    cert: client.cert,
    key: client.key,
    ALPNProtocols: ["h2"],
    ...options,
  });
  try {
    await once(socket, "secureConnect");
    return socket.getPeerX509Certificate()?.subject;
  } finally {
    socket.destroy();
  }
}

function listMessages(api: Api, sessionId: string): ClientReadableStream<ListMessagesResponse> {
  const { path, requestSerialize, responseDeserialize } = MemoryServiceService.listMessages;
  const request = ListMessagesRequest.fromPartial({ sessionId, chunkSize: 100 });
  return api.client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request);
}

describe("a server with a certificate", () => {
  it("is called by clients that trust it, and by no others", async () => {
    const { service } = await startTls();
    await service.sessions.createSession({ sessionId: "s" });
    expect((await service.sessions.listSessions({})).flatMap(({ sessions }) => sessions)).toHaveLength(1);

    const mistrusting = connected(service.address, stranger);
    expect(await failure(mistrusting.sessions.getSession({ sessionId: "s" }))).toMatchObject({ code: "UNAVAILABLE" });
    // Without a client CA nobody is asked for a certificate, and one that is shown is no matter.
    const showing = connected(service.address, authority, await stranger.issue("whoever"));
    await showing.sessions.getSession({ sessionId: "s" });
  });

  it("speaks TLS 1.2 and 1.3, and nothing older", async () => {
    const { service } = await startTls();
    const at = (version: "TLSv1.1" | "TLSv1.2" | "TLSv1.3") =>
      certificateAt(service.address, {
        minVersion: version,
        maxVersion: version,
        // Else OpenSSL would not even ask.
        ...(version === "TLSv1.1" && { ciphers: "DEFAULT@SECLEVEL=0" }),
      });
    expect(await at("TLSv1.2")).toBe("CN=first");
    expect(await at("TLSv1.3")).toBe("CN=first");
    await expect(at("TLSv1.1")).rejects.toMatchObject({ code: "ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION" });
  });

  it("closes the connection of who speaks without TLS at once, and others do not notice", async () => {
    const { service } = await startTls();
    await service.sessions.createSession({ sessionId: "s" });
    const plain = connect(service.address);
    onTestFinished(() => plain.close());
    const started = performance.now();
    const failures = Array.from({ length: 20 }, () => failure(plain.sessions.getSession({ sessionId: "s" })));
    await service.sessions.getSession({ sessionId: "s" });
    for (const one of await Promise.all(failures)) expect(one).toMatchObject({ code: "UNAVAILABLE" });

    const [host, port] = service.address.split(":") as [string, string];
    for (const text of ["GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\0".repeat(1_000)]) {
      const socket = createConnection(Number(port), host).on("error", () => {});
      socket.resume().write(text);
      await once(socket, "close");
    }
    expect(performance.now() - started).toBeLessThan(30_000);
    await service.sessions.getSession({ sessionId: "s" });
  });

  it("does not wait for ever for who says nothing", async () => {
    const { service } = await startTls();
    const [host, port] = service.address.split(":") as [string, string];
    const socket = createConnection(Number(port), host).on("error", () => {});
    const started = performance.now();
    socket.resume();
    await once(socket, "close");
    // By default it would be two minutes.
    expect(performance.now() - started).toBeLessThan(60_000);
  });
});

describe("a server that knows its clients", () => {
  it("takes those with a certificate of the client CA, and no others", async () => {
    const { service } = await startTls({ mutual: true });
    await service.sessions.createSession({ sessionId: "s" });
    for (const own of [undefined, await stranger.issue("client")]) {
      const api = connected(service.address, authority, own);
      expect(await failure(api.sessions.getSession({ sessionId: "s" }))).toMatchObject({ code: "UNAVAILABLE" });
      expect(await failure(api.sessions.createSession({ sessionId: "never" }))).toMatchObject({ code: "UNAVAILABLE" });
    }
    const { sessions } = (await service.sessions.listSessions({}))[0] ?? {};
    expect(sessions?.map(({ sessionId }) => sessionId)).toEqual(["s"]);
  });

  it("follows the client CA", async () => {
    const { service, files } = await startTls({ mutual: true });
    await service.sessions.listSessions({});
    await replace(files.clientCa as string, stranger.cert);
    const own = await stranger.issue("client");
    await eventually("the new CA's clients are taken", () =>
      connected(service.address, authority, own)
        .sessions.listSessions({})
        .then(
          () => true,
          () => false,
        ),
    );
    const former = connected(service.address, authority, client);
    expect(await failure(former.sessions.listSessions({}))).toMatchObject({ code: "UNAVAILABLE" });
    // The connection that was open before is open still.
    await service.sessions.listSessions({});
  });
});

describe("a certificate that is replaced", () => {
  it("is what new connections get, while streams and connections that are open go on", async () => {
    const { service, files } = await startTls();
    const content = "x".repeat(10_000);
    await service.memory.addMemory({
      sessionId: "long",
      messages: Array.from({ length: 500 }, (_, n) => ({ messageId: `${n}`, content })),
    });
    const stream = listMessages(service, "long");
    const [chunk] = (await once(stream, "data")) as [ListMessagesResponse];
    stream.pause();
    const ids = chunk.messages.map(({ messageId }) => messageId);
    const held = connectHttp2(`https://${service.address}`, { ca: authority.cert, servername: "localhost" });
    onTestFinished(() => held.destroy());
    await once(held, "connect");

    await replace(files.certificate, second.cert);
    await replace(files.key, second.key);
    await eventually(
      "new connections get it",
      async () => (await certificateAt(service.address)) === "CN=second",
      PATIENCE_MS,
    );

    stream.on("data", ({ messages }: ListMessagesResponse) => ids.push(...messages.map(({ messageId }) => messageId)));
    stream.resume();
    await once(stream, "end");
    expect(ids).toEqual(Array.from({ length: 500 }, (_, n) => `${n}`));
    await service.sessions.getSession({ sessionId: "long" });
    expect({ closed: held.closed, destroyed: held.destroyed }).toEqual({ closed: false, destroyed: false });
    await connected(service.address, authority).sessions.getSession({ sessionId: "long" });
  });

  it("counts only once it is whole and has its key; until then the one before stays", async () => {
    const files = await layTlsFiles(await temporaryFolder(), first);
    const env = {
      MONGODB_URI: inject("mongodbUri"),
      SESSIONS_TLS_CERT_FILE: files.certificate,
      SESSIONS_TLS_KEY_FILE: files.key,
    };
    const service = runService(env);
    const { grpc, tls } = await service.ready();
    expect(tls).toBe(true);
    const warnings = () => service.lines().filter(({ level }) => level === 40);
    const chain = `${second.cert}\n${authority.cert}`;
    const states: [certificate: string, key: string, told: RegExp][] = [
      [chain.slice(0, 300), first.key, /server\.pem holds a certificate that is not whole/],
      [chain.slice(0, -100), first.key, /server\.pem holds a certificate that is not whole/],
      [chain, first.key, /server-key\.pem does not belong/],
      [chain, second.key.slice(0, 100), /server-key\.pem holds no private key/],
      ["", second.key, /server\.pem holds no certificate/],
    ];
    for (const [n, [certificate, key, told]] of states.entries()) {
      await replace(files.certificate, certificate);
      await replace(files.key, key);
      const isTold = () => told.test((warnings().at(-1)?.fault as string | undefined) ?? "");
      await eventually("it warns", isTold, PATIENCE_MS);
      expect(await certificateAt(grpc), `state ${n}`).toBe("CN=first");
    }
    // What lasts is told once.
    expect(new Set(warnings().map(({ fault }) => fault)).size).toBe(warnings().length);
    await replace(files.certificate, chain);
    await service.line(/the TLS files have changed/);
    expect(await certificateAt(grpc)).toBe("CN=second");
    const all = service.output();
    expect(all.stdout + all.stderr).not.toContain(second.key.split("\n")[1]);
    service.kill("SIGTERM");
    expect(await service.exited).toEqual({ code: 0, signal: null });
  });
});

describe("workers", () => {
  it("each follow the files", async () => {
    const files = await layTlsFiles(await temporaryFolder(), first);
    const service = runService({
      MONGODB_URI: inject("mongodbUri"),
      SESSIONS_WORKERS: "2",
      SESSIONS_TLS_CERT_FILE: files.certificate,
      SESSIONS_TLS_KEY_FILE: files.key,
    });
    const { grpc } = await service.ready();
    const seen = async () => new Set(await Promise.all(Array.from({ length: 8 }, () => certificateAt(grpc))));
    expect(await seen()).toEqual(new Set(["CN=first"]));
    await replace(files.certificate, second.cert);
    await replace(files.key, second.key);
    await eventually(
      "both have it",
      () => service.lines().filter(({ msg }) => /TLS files have/.test(msg)).length === 2,
    );
    expect(await seen()).toEqual(new Set(["CN=second"]));
  });
});
