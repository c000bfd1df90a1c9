import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { createAuthority, layTlsFiles } from "../support/certificates.js";
import { eventually } from "../support/eventually.js";
import { startRecordingPeer } from "../support/recording-peer.js";
import { startService } from "../support/service.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { run, start, temporaryFile } from "./support.js";

const KEY = "sk_0123456789abcdefghijklmnopqrstuvwxyz";

const refusingPeer = () => startRecordingPeer(() => ({ code: "UNAUTHENTICATED", reason: "UNAUTHENTICATED" }));

test("the key comes from the command line, a file or the environment, and the nearest counts", async () => {
  const { address, calls } = await refusingPeer();
  const file = await temporaryFile("key", `${KEY}-of-file\n`);
  const env = { SESSIONS_KEY: `${KEY}-of-environment` };
  const cases: [args: string[], env: Record<string, string>, shown: string | undefined][] = [
    [[], {}, undefined],
    [[], { SESSIONS_KEY: "" }, undefined],
    [[], env, `Bearer ${KEY}-of-environment`],
    [["--key", `${KEY}-of-argument`], env, `Bearer ${KEY}-of-argument`],
    [["--key-file", file], env, `Bearer ${KEY}-of-file`],
  ];
  for (const [args, given, shown] of cases) {
    const outcome = await run(["--address", address, ...args, "list"], { env: given });
    expect(outcome).toEqual({ code: 1, stdout: "", stderr: "sessions: UNAUTHENTICATED\n" });
    expect(calls.at(-1)).toMatchObject({ authorization: shown });
  }
});

test("a key does not go unencrypted to another machine unless it is told to", async () => {
  const away = ["--address", "localhost.invalid:50051"];
  const refused = await run([...away, "list"], { env: { SESSIONS_KEY: KEY } });
  expect(refused).toMatchObject({ code: 2, stdout: "" });
  expect(refused.stderr).toMatch(/^sessions: key: .*localhost\.invalid:50051.*--tls.*--allow-plaintext-key.*\n$/);
  expect(refused.stderr).not.toContain(KEY);
  for (const allowed of ["--tls", "--allow-plaintext-key"]) {
    const tried = await run([...away, allowed, "list"], { env: { SESSIONS_KEY: KEY } });
    expect(tried).toMatchObject({ code: 1, stderr: expect.stringMatching(/^sessions: cannot reach the service at/) });
  }
});

test("a key does not go to a proxy on its way to this machine", async () => {
  const { address, calls } = await refusingPeer();
  let connections = 0;
  const proxy = createServer((socket) => {
    connections += 1;
    socket.destroy();
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  onTestFinished(() => void proxy.close());
  const env = { grpc_proxy: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}` };
  await run(["--address", address, "list"], { env: { ...env, SESSIONS_KEY: KEY } });
  expect({ connections, calls: calls.length }).toEqual({ connections: 0, calls: 1 });
  // And this is where it would have gone.
  await run(["--address", address, "list"], { env });
  expect(connections).toBeGreaterThan(0);
});

test("a key among the arguments is not to be seen in the list of processes, and no help shows one", async () => {
  const { address } = await refusingPeer();
  const { child, ended } = start(["--address", address, "--key", KEY, "import", "-"]);
  const seesNone = async () => {
    const line = await readFile(`/proc/${child.pid}/cmdline`, "utf8");
    return line.startsWith("sessions") && !line.includes(KEY);
  };
  await eventually("its arguments are gone", seesNone, 60_000);
  child.stdin.end();
  expect(await ended).toBe(0);
  for (const args of [["--help"], ["list", "--help"], ["keys", "create", "--help"]]) {
    const { code, stdout, stderr } = await run(args, { env: { SESSIONS_KEY: KEY } });
    expect(code).toBe(0);
    expect(stdout + stderr).not.toContain(KEY);
  }
});

test("TLS, with a certificate of one's own where the service asks for one", async () => {
  const authority = await createAuthority();
  const tls = await layTlsFiles(await temporaryFolder(), await authority.issue("server"), authority.cert);
  const service = await startService({ tls });
  onTestFinished(() => service.stop());
  const own = await authority.issue("client");
  const ca = await temporaryFile("ca.pem", authority.cert);
  const shown = [
    ...["--tls-cert", await temporaryFile("client.pem", own.cert)],
    ...["--tls-key", await temporaryFile("client-key.pem", own.key)],
  ];
  const list = (args: string[], env = {}) => run(["--address", service.address, ...args, "list"], { env });
  const done = { code: 0, stdout: "", stderr: "" };
  expect(await list(["--tls-ca", ca, ...shown])).toEqual(done);
  expect(await list(shown, { SESSIONS_TLS_CA: ca, SESSIONS_KEY: KEY })).toEqual(done);
  for (const args of [["--tls", ...shown], ["--tls-ca", ca], []]) {
    const { code, stderr } = await list(args);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^sessions: cannot reach the service at .*\n$/);
  }
});

test("what does not go together, or cannot be read, ends with 2 in one line", async () => {
  const nonsense = await temporaryFile("nonsense", "nonsense");
  const empty = await temporaryFile("empty", "\n");
  const { address, calls } = await refusingPeer();
  const cases: [args: string[], told: RegExp, env?: Record<string, string>][] = [
    [["--key", KEY, "--key-file", empty], /--key.*--key-file/],
    [["--key-file", empty], /key: One line/],
    [["--key-file", "/nowhere"], /--key-file \/nowhere: cannot be read \(ENOENT\)/],
    [["--key", ` ${KEY}`], /key: .*without spaces/],
    [["--tls-ca", "/nowhere"], /--tls-ca \/nowhere: cannot be read/],
    [[], /SESSIONS_TLS_CA \/nowhere: cannot be read/, { SESSIONS_TLS_CA: "/nowhere" }],
    [["--tls-ca", nonsense], /tls\.ca: Holds no certificate/],
    [["--tls-cert", nonsense], /--tls-cert and --tls-key go together/],
    [["--tls-key", nonsense], /--tls-cert and --tls-key go together/],
  ];
  for (const [args, told, env = {}] of cases) {
    const { code, stdout, stderr } = await run(["--address", address, ...args, "list"], { env });
    expect({ args, code, stdout }).toEqual({ args, code: 2, stdout: "" });
    expect(stderr).toMatch(/^sessions: .*\n$/);
    expect(stderr).toMatch(told);
    expect(stderr).not.toContain(KEY);
  }
  expect(calls).toEqual([]);
});

test("mistakes in the commands about keys end with 2, in one line", async () => {
  const { address, calls } = await refusingPeer();
  for (const args of [
    ["nonsense"],
    ["create", "--name", "n"],
    ["create", "--role", "reader"],
    ["create", "--name", "n", "--role", "owner"],
    ["create", "--name", "n", "--role", "reader", "--expires", "soon"],
    ["create", "--name", "n", "--role", "reader", "--expires", "2030-01-31"],
    ["create", "--name", "n", "--role", "reader", "--expires", "2030-13-01T00:00:00Z"],
    ["revoke"],
  ]) {
    const { code, stdout, stderr } = await run(["--address", address, "keys", ...args]);
    expect({ args, code, stdout }).toEqual({ args, code: 2, stdout: "" });
    expect(stderr).toMatch(/^sessions: .*\n$/);
  }
  expect(calls).toEqual([]);
});
