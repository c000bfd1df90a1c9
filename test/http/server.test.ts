import { once } from "node:events";
import { Agent, request as httpRequest, type IncomingMessage } from "node:http";
import { get } from "node:https";
import { createConnection } from "node:net";
import type { TLSSocket } from "node:tls";
import { expect, it, onTestFinished } from "vitest";
import { createAuthority, type Identity, layTlsFiles, replace } from "../support/certificates.js";
import { eventually } from "../support/eventually.js";
import { hold } from "../support/hold.js";
import { startService, type TestServiceOptions } from "../support/service.js";
import { runService } from "../support/service-process.js";
import { temporaryFolder } from "../support/temporary-folder.js";

async function startHttp(options: TestServiceOptions = {}): Promise<{ host: string; port: number }> {
  const service = await startService({ httpListen: { host: "127.0.0.1", port: 0 }, ...options });
  onTestFinished(() => service.stop());
  const { hostname, port } = new URL(`http://${service.server.httpAddress}`);
  return { host: hostname, port: Number(port) };
}

it("says of a path that there is nothing, in a sentence", async () => {
  const { host, port } = await startHttp();
  const response = await fetch(`http://${host}:${port}/nowhere`);
  expect(response.status).toBe(404);
  expect(await response.text()).toBe("There is nothing at this path.\n");
});

it("speaks TLS with the same files, takes new ones without a restart, and asks for client certificates where it is to", async () => {
  const authority = await createAuthority();
  const [first, second, client] = (await Promise.all(
    ["first", "second", "client"].map((name) => authority.issue(name)),
  )) as [Identity, Identity, Identity];
  const files = await layTlsFiles(await temporaryFolder(), first, authority.cert);
  const address = await startHttp({ tls: files });

  /** The name in the certificate that a new connection gets. */
  const nameAt = async (own?: Identity): Promise<string | undefined> => {
    const request = get({ ...address, path: "/", servername: "localhost", ca: authority.cert, ...own, agent: false });
    const [response] = await once(request, "response");
    const { CN } = (response.socket as TLSSocket).getPeerCertificate().subject;
    response.resume();
    return String(CN);
  };
  expect(await nameAt(client)).toBe("first");
  await expect(nameAt()).rejects.toThrow();

  await replace(files.key, second.key);
  await replace(files.certificate, second.cert);
  await eventually("new connections get the new certificate", async () => (await nameAt(client)) === "second");
});

it("cuts off who does not send the head of a request", async () => {
  const { host, port } = await startHttp();
  const socket = createConnection(port, host);
  onTestFinished(() => void socket.destroy());
  socket.on("error", () => {}).resume();
  socket.write("GET / HTTP/1.1\r\nhost: here\r\n");
  await once(socket, "close");
});

it("tells in one line where it listens for both, and when it cannot", async () => {
  const folder = await temporaryFolder();
  const env = { MONGODB_URI: "mongodb://127.0.0.1:1/?replicaSet=none", SESSIONS_DATA_DIR: folder };
  const one = runService({ ...env, SESSIONS_HTTP_LISTEN: "127.0.0.1:0" });
  const { http } = (await one.ready()) as unknown as { http: string };
  expect(http).toMatch(/^127\.0\.0\.1:\d+$/);
  expect((await fetch(`http://${http}/nowhere`)).status).toBe(404);

  const other = runService({ ...env, SESSIONS_HTTP_LISTEN: http });
  expect(await other.exited).toEqual({ code: 1, signal: null });
  expect(other.lines().at(-1)?.msg).toContain(`cannot listen on ${http}: listen EADDRINUSE`);
  expect(other.output().stderr).toBe("");
});

it("reads no bodies of requests that are no calls, whoever sends them", async () => {
  const address = await startHttp();
  for (const [request, status] of [
    ["POST /nowhere", 404],
    ["POST /metrics", 404],
    ["POST /api/v1/nowhere", 404],
    ["PUT /api/v1/sessions", 405],
  ] as const) {
    const socket = createConnection(address.port, address.host);
    onTestFinished(() => void socket.destroy());
    socket.on("error", () => {});
    socket.write(
      `${request} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n{`,
    );
    const [answer] = (await once(socket, "data")) as [Buffer];
    expect(answer.toString()).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
  }
});

it("waits at a stop for what is under way, and not for the connection that it came by", async () => {
  const service = await startService({ httpListen: { host: "127.0.0.1", port: 0 }, shutdownGraceMs: 60_000 });
  const url = `http://${service.server.httpAddress}`;
  const agent = new Agent({ keepAlive: true });
  onTestFinished(() => agent.destroy());
  await service.sessions.createSession({ sessionId: "held" });
  const release = await hold(service.database, "held");
  const request = httpRequest(`${url}/api/v1/sessions/held/memory`, { method: "POST", agent });
  request.end('{"messages":[{"role":"user","content":"x"}]}');
  const answered = once(request, "response");
  await eventually("the call waits for the session", async () =>
    /sessions_calls_in_flight\{kind="calls"\} 1\n/.test(await (await fetch(`${url}/metrics`)).text()),
  );
  const stopped = service.stop();
  await release();
  const [answer] = (await answered) as [IncomingMessage];
  expect(answer.statusCode).toBe(200);
  answer.resume();
  await stopped;
});
