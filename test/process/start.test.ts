import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { readdir } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { networkInterfaces } from "node:os";
import { describe, expect, inject, it, onTestFinished } from "vitest";
import { processesNaming } from "../local/support.js";
import { connect } from "../support/api.js";
import { startProxy } from "../support/proxy.js";
import { runService } from "../support/service-process.js";
import { temporaryFolder } from "../support/temporary-folder.js";

const ours = () => ({ MONGODB_URI: inject("mongodbUri"), MONGODB_DATABASE: `test-${randomUUID()}` });

/** A port that is taken for as long as the test runs. */
async function takenPort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return (server.address() as AddressInfo).port;
}

/** What somebody who looks at the terminal sees: no stack of the program's own. */
const STACK = /\n\s+at |node:internal|Unhandled/;

describe("a start", () => {
  it("is told in one line of JSON with the address that it really listens on", async () => {
    const service = runService(ours());
    const { grpc, database, level, time } = await service.ready();
    expect(grpc).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(grpc).not.toMatch(/:0$/);
    expect({ database, level }).toEqual({ database: "reachable", level: 30 });
    expect(new Date(time as string).getTime()).toBeGreaterThan(Date.now() - 60_000);

    const api = connect(grpc);
    await api.sessions.createSession({ sessionId: "s" });
    expect((await api.sessions.getSession({ sessionId: "s" })).session?.sessionId).toBe("s");
    api.close();
    expect(service.output().stderr).toBe("");
  });

  it("succeeds while the database is away, and the process recovers by itself", async () => {
    const proxy = await startProxy(inject("mongodbUri"));
    await proxy.become("refuse");
    const service = runService({ ...ours(), MONGODB_URI: proxy.uri });
    const { grpc, database } = await service.ready();
    expect(database).toBe("unreachable");
    const api = connect(grpc);
    await expect(api.sessions.createSession({ sessionId: "s" })).rejects.toMatchObject({ code: 14 });
    await proxy.become("forward");
    await service.line("the database is reachable");
    await api.sessions.createSession({ sessionId: "s" });
    api.close();
    await proxy.stop();
  });

  it("warns in one line when anybody on the network can call it, or read what is shown to it, and only then", async () => {
    const [own] = Object.values(networkInterfaces()).flatMap((all = []) =>
      all.filter(({ family }) => family === "IPv4"),
    );
    const warnings = async (listen: string, who: Record<string, string> = { SESSIONS_ALLOW_ANONYMOUS: "true" }) => {
      const service = runService({ ...ours(), SESSIONS_GRPC_LISTEN: listen, ...who });
      await service.ready();
      return service.lines().filter(({ level }) => level === 40);
    };
    const cases = [
      warnings("0.0.0.0:0"),
      warnings("127.0.0.1:0"),
      warnings("localhost:0"),
      warnings("0.0.0.0:0", { SESSIONS_AUTH: "keys" }),
    ];
    const [open, loopback, localhost, readable] = await Promise.all(cases);
    expect(own).toBeDefined();
    expect(open).toMatchObject([{ host: "0.0.0.0", msg: expect.stringContaining("no authentication") }]);
    expect(loopback).toEqual([]);
    expect(localhost).toEqual([]);
    expect(readable).toMatchObject([{ host: "0.0.0.0", msg: expect.stringContaining("no TLS") }]);
  });

  it("is refused in one line when anybody on the network could call it and nobody said who may", async () => {
    const service = runService({ ...ours(), SESSIONS_GRPC_LISTEN: "0.0.0.0:0" });
    expect(await service.exited).toEqual({ code: 78, signal: null });
    expect(service.output()).toEqual({
      stdout: "",
      stderr: expect.stringMatching(/^configuration: SESSIONS_AUTH: required to listen on 0\.0\.0\.0[^\n]+\n$/),
    });
  });
});

describe("a configuration with mistakes", () => {
  it("ends with 78 and names all of them, before anything is started", async () => {
    const folder = await temporaryFolder();
    const service = runService({
      SESSIONS_DATA_DIR: folder,
      SESSIONS_GRPC_LISTEN: "nowhere",
      SESSIONS_RETENTION: "long",
      SESSIONS_LOG_LEVEL: "loud",
    });
    expect(await service.exited).toEqual({ code: 78, signal: null });
    const { stdout, stderr } = service.output();
    expect(stdout).toBe("");
    expect(stderr.trimEnd().split("\n")).toEqual(
      ["SESSIONS_GRPC_LISTEN", "SESSIONS_RETENTION", "SESSIONS_LOG_LEVEL"].map((name) =>
        expect.stringContaining(`configuration: ${name}`),
      ),
    );
    expect(await readdir(folder)).toEqual([]);
  });

  it("is one that has no database in production", async () => {
    const folder = await temporaryFolder();
    const service = runService({ NODE_ENV: "production", SESSIONS_DATA_DIR: folder });
    expect(await service.exited).toMatchObject({ code: 78 });
    expect(service.output().stderr).toMatch(/^configuration: MONGODB_URI: required.*\n$/);
    expect(await readdir(folder)).toEqual([]);
  });

  // What the driver would not take, it says only when it is asked.
  it.each([
    "mongodb://sessions:pa55word@db.example:27017/?noSuchOption=1",
    "mongodb://sessions:pa55word@db.example:70000/",
    "mongodb://sessions:pa55word@a.example,b.example/?directConnection=true",
    "mongodb://sessions:pa55%word@db.example/",
  ])("is one whose URI makes no sense: %s", async (uri) => {
    const service = runService({ MONGODB_URI: uri });
    expect(await service.exited).toEqual({ code: 78, signal: null });
    const { stdout, stderr } = service.output();
    expect(stdout + stderr).toMatch(/MONGODB_URI/);
    expect(stdout + stderr).not.toMatch(/pa55/);
    expect(stdout + stderr).not.toMatch(STACK);
  });
});

describe("a port that is taken", () => {
  it("ends the process in one line, and its local MongoDB with it", async () => {
    const folder = await temporaryFolder();
    const port = await takenPort();
    const service = runService({ SESSIONS_DATA_DIR: folder, SESSIONS_GRPC_LISTEN: `127.0.0.1:${port}` });
    expect(await service.exited).toEqual({ code: 1, signal: null });
    const { stdout, stderr } = service.output();
    expect(stderr).toBe("");
    expect(stdout).not.toMatch(STACK);
    const fatal = service.lines().filter(({ level }) => (level as number) >= 50);
    expect(fatal).toHaveLength(1);
    expect(fatal[0]?.msg).toContain(`127.0.0.1:${port}`);
    expect(fatal[0]?.msg).toMatch(/in use|EADDRINUSE/);
    expect(await processesNaming(folder)).toEqual([]);
  });
});

describe("a local MongoDB", () => {
  it("keeps what was stored, from run to run", async () => {
    const env = { SESSIONS_DATA_DIR: await temporaryFolder() };
    const first = runService(env);
    let api = connect((await first.ready()).grpc);
    await api.memory.addMemory({ sessionId: "s", messages: [{ content: "kept" }] });
    api.close();
    first.kill("SIGTERM");
    expect(await first.exited).toEqual({ code: 0, signal: null });
    expect(await processesNaming(env.SESSIONS_DATA_DIR)).toEqual([]);

    const second = runService(env);
    api = connect((await second.ready()).grpc);
    const { messages } = await api.memory.getMemory({ sessionId: "s" });
    expect(messages.map(({ content }) => content)).toEqual(["kept"]);
    api.close();
    second.kill("SIGTERM");
    await second.exited;
  });

  it("is one process's: a second one on its folder says so and goes, and the first is unharmed", async () => {
    const env = { SESSIONS_DATA_DIR: await temporaryFolder() };
    const first = runService(env);
    const api = connect((await first.ready()).grpc);
    await api.sessions.createSession({ sessionId: "before" });

    const second = runService(env);
    expect(await second.exited).toEqual({ code: 1, signal: null });
    const fatal = second.lines().filter(({ level }) => (level as number) >= 50);
    expect(fatal).toMatchObject([{ msg: expect.stringMatching(/in use by another process \(\d+\)/) }]);
    expect(fatal[0]?.msg).toContain(String(first.pid));
    expect(second.output().stderr).toBe("");
    expect(second.output().stdout).not.toMatch(STACK);

    await api.sessions.createSession({ sessionId: "after" });
    api.close();
    first.kill("SIGTERM");
    expect(await first.exited).toEqual({ code: 0, signal: null });
  });
});
