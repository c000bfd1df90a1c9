import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { expect, it, onTestFinished } from "vitest";
import { createAuthority, layTlsFiles } from "../support/certificates.js";
import { run } from "../support/foreign-clients.js";
import { temporaryFolder } from "../support/temporary-folder.js";

/** What the image asks itself, against servers that answer as the service may. */
const ask = (path: string, listen: string, env: Record<string, string> = {}) =>
  run(process.execPath, ["deploy/healthcheck.js", path], { SESSIONS_HTTP_LISTEN: listen, ...env });

async function listening(server: ReturnType<typeof createServer | typeof createTlsServer>): Promise<number> {
  server.listen(0);
  await once(server, "listening");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

/** Alive, and not ready. */
const answer: RequestListener = ({ url }, response) => void response.writeHead(url === "/healthz" ? 200 : 503).end(".");

it("says whether the service lives and whether it is ready, on whichever addresses it listens", async () => {
  const port = await listening(createServer(answer));
  for (const host of ["127.0.0.1", "0.0.0.0", "localhost", "[::]", "[::1]"]) {
    expect(await ask("/healthz", `${host}:${port}`)).toEqual({ code: 0, stdout: "", stderr: "" });
    expect(await ask("/readyz", `${host}:${port}`)).toEqual({ code: 1, stdout: "", stderr: "/readyz: status 503\n" });
  }
});

it("takes no connection, no answer and no address for no", async () => {
  const silent = await listening(createServer(() => {}));
  expect(await ask("/healthz", "127.0.0.1:1")).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/ECONNREFUSED/),
  });
  expect(await ask("/healthz", `127.0.0.1:${silent}`)).toMatchObject({
    code: 1,
    stderr: "/healthz: no answer in 4000 ms\n",
  });
  expect(await ask("/healthz", "")).toMatchObject({ code: 1, stderr: "/healthz: Invalid URL\n" });
});

it("asks over TLS where the service speaks it, and shows a certificate where one is required", async () => {
  const authority = await createAuthority();
  const identity = await authority.issue("server");
  const { certificate, key } = await layTlsFiles(await temporaryFolder(), identity);
  const port = await listening(
    createTlsServer({ ...identity, ca: authority.cert, requestCert: true, rejectUnauthorized: true }, answer),
  );
  const files = { SESSIONS_TLS_CERT_FILE: certificate, SESSIONS_TLS_KEY_FILE: key };
  expect(await ask("/healthz", `0.0.0.0:${port}`, files)).toEqual({ code: 0, stdout: "", stderr: "" });
  expect(await ask("/readyz", `0.0.0.0:${port}`, files)).toMatchObject({ code: 1, stderr: "/readyz: status 503\n" });
  expect(await ask("/healthz", `0.0.0.0:${port}`)).toMatchObject({ code: 1 });
});
