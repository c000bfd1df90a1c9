import { readFileSync } from "node:fs";
import { request as overHttp } from "node:http";
import { request as overHttps } from "node:https";

/**
 * Asks the service in its own container: `node healthcheck.js /healthz` (it lives) or `/readyz` (it can be called). Ends with
 * 0 for a yes and 1 for a no, which it explains. The image has no curl, and curl would not know where the service listens.
 */

const TIMEOUT_MS = 4_000;

const path = process.argv[2] ?? "/healthz";
const { SESSIONS_HTTP_LISTEN, SESSIONS_TLS_CERT_FILE, SESSIONS_TLS_KEY_FILE } = process.env;

function ask() {
  // Of 0.0.0.0 and [::] Linux takes its own address.
  const address = SESSIONS_HTTP_LISTEN ?? "127.0.0.1:8080";
  if (!SESSIONS_TLS_CERT_FILE) return overHttp(new URL(path, `http://${address}`));
  return overHttps(new URL(path, `https://${address}`), {
    // The certificate is for the name that others call the service by. Where they have to show one, it shows the same.
    rejectUnauthorized: false,
    cert: readFileSync(SESSIONS_TLS_CERT_FILE),
    key: readFileSync(SESSIONS_TLS_KEY_FILE),
  });
}

function end(problem) {
  if (problem) console.error(`${path}: ${problem}`);
  process.exit(problem ? 1 : 0);
}

setTimeout(() => end(`no answer in ${TIMEOUT_MS} ms`), TIMEOUT_MS);
try {
  ask()
    .on("response", ({ statusCode }) => end(statusCode === 200 ? undefined : `status ${statusCode}`))
    .on("error", (error) => end(error.message))
    .end();
} catch (error) {
  end(error.message);
}
