import { join } from "node:path";
import { credentials } from "@grpc/grpc-js";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { type Authority, createAuthority, type Identity, layTlsFiles, replace } from "../support/certificates.js";
import { FOREIGN_CLIENTS, grpcurl, type Program, python } from "../support/foreign-clients.js";
import { startService } from "../support/service.js";
import { temporaryFolder } from "../support/temporary-folder.js";

let authority: Authority;
let client: Identity;
beforeAll(async () => {
  authority = await createAuthority();
  client = await authority.issue("client");
});

const ADMIN = "the first admin's own secret, long enough";

/** A service with a session in it, and the files that its clients hold. */
async function start({ mutual, keys = false }: { mutual: boolean; keys?: boolean }) {
  const folder = await temporaryFolder();
  const stranger = await createAuthority("stranger");
  const service = await startService({
    tls: await layTlsFiles(folder, await authority.issue("server"), mutual ? authority.cert : undefined),
    auth: keys ? { keys: { adminKey: ADMIN }, tokens: undefined } : undefined,
    credentials: credentials.createSsl(Buffer.from(authority.cert), Buffer.from(client.key), Buffer.from(client.cert)),
  });
  onTestFinished(() => service.stop());
  if (!keys) await service.sessions.createSession({ sessionId: "theirs" });
  const lay = async (name: string, content: string): Promise<string> => {
    const file = join(folder, name);
    await replace(file, content);
    return file;
  };
  return {
    address: service.address,
    ca: await lay("ca.pem", authority.cert),
    cert: await lay("client.pem", client.cert),
    key: await lay("client-key.pem", client.key),
    strangersCa: await lay("stranger.pem", stranger.cert),
  };
}

/** For a client that has to be built first, on a slow machine. */
const GETTING_MS = 1_200_000;

describe.runIf(FOREIGN_CLIENTS)("grpcurl", () => {
  let call: Program;
  beforeAll(async () => {
    call = await grpcurl();
  }, GETTING_MS);

  it("calls over TLS, by what the service tells of itself", async () => {
    const { address, ca, strangersCa } = await start({ mutual: false });
    const listed = await call("-cacert", ca, "-d", "{}", address, "sessions.v1.SessionService/ListSessions");
    expect(listed).toMatchObject({ code: 0, stdout: expect.stringContaining('"sessionId": "theirs"') });
    const refused = await call("-cacert", strangersCa, "-max-time", "10", address, "list");
    expect(refused).toMatchObject({ stdout: "", stderr: expect.stringMatching(/certificate/) });
    const plain = await call("-plaintext", "-max-time", "10", address, "list");
    expect(plain).toMatchObject({ stdout: "" });
    expect([refused.code, plain.code]).not.toContain(0);
  });

  it("shows a certificate where one is asked for", async () => {
    const { address, ca, cert, key } = await start({ mutual: true });
    const known = await call("-cacert", ca, "-cert", cert, "-key", key, address, "list");
    expect(known).toMatchObject({ code: 0, stdout: expect.stringContaining("sessions.v1.MemoryService") });
    const unknown = await call("-cacert", ca, "-max-time", "10", address, "list");
    expect(unknown).toMatchObject({ stdout: "" });
    expect(unknown.code).not.toBe(0);
  });

  it("shows a key", async () => {
    const { address, ca } = await start({ mutual: false, keys: true });
    const authorization = `authorization: Bearer ${ADMIN}`;
    const create = ["-d", '{"session_id": "mine"}', address, "sessions.v1.SessionService/CreateSession"];
    const known = await call("-cacert", ca, "-H", authorization, ...create);
    expect(known).toMatchObject({ code: 0, stdout: expect.stringContaining('"sessionId": "mine"') });
    const unknown = await call("-cacert", ca, ...create);
    expect(unknown).toMatchObject({ stdout: "", stderr: expect.stringContaining("takes a credential") });
  });
});

const SCRIPT = `
import sys, grpc
address, secret, ca, *own = sys.argv[1:]
read = lambda file: open(file, "rb").read()
cert, key = map(read, own) if own else (None, None)
credentials = grpc.ssl_channel_credentials(read(ca), key, cert)
if secret:
    credentials = grpc.composite_channel_credentials(credentials, grpc.access_token_call_credentials(secret))
channel = grpc.secure_channel(address, credentials)
call = lambda kind, name: kind("/sessions.v1.SessionService/" + name)
try:
    call(channel.unary_unary, "CreateSession")(b"\\x0a\\x04mine", timeout=20)
    for chunk in call(channel.unary_stream, "ListSessions")(b"", timeout=20):
        print([name for name in ("mine", "theirs") if name.encode() in chunk])
except grpc.RpcError as error:
    print(error.code().name)
`;

describe.runIf(FOREIGN_CLIENTS)("Python", () => {
  let run: Program;
  beforeAll(async () => {
    run = await python();
  }, GETTING_MS);

  it("calls over TLS", async () => {
    const { address, ca, strangersCa } = await start({ mutual: false });
    expect(await run(SCRIPT, address, "", ca)).toMatchObject({ code: 0, stdout: "['mine', 'theirs']\n" });
    expect(await run(SCRIPT, address, "", strangersCa)).toMatchObject({ code: 0, stdout: "UNAVAILABLE\n" });
  });

  it("shows a certificate where one is asked for", async () => {
    const { address, ca, cert, key } = await start({ mutual: true });
    expect(await run(SCRIPT, address, "", ca)).toMatchObject({ code: 0, stdout: "UNAVAILABLE\n" });
    expect(await run(SCRIPT, address, "", ca, cert, key)).toMatchObject({ code: 0, stdout: "['mine', 'theirs']\n" });
  });

  it("shows a key", async () => {
    const { address, ca, cert, key } = await start({ mutual: true, keys: true });
    expect(await run(SCRIPT, address, ADMIN, ca, cert, key)).toMatchObject({ code: 0, stdout: "['mine']\n" });
    expect(await run(SCRIPT, address, "", ca, cert, key)).toMatchObject({ code: 0, stdout: "UNAUTHENTICATED\n" });
  });
});
