import type { ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { chown, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it, onTestFinished } from "vitest";
import { freePort } from "../../src/local/port.js";
import { connect } from "../support/api.js";
import { eventually } from "../support/eventually.js";
import { FOREIGN_CLIENTS, run } from "../support/foreign-clients.js";
import type { LogLine } from "../support/observed-service.js";
import { text } from "./files.js";
import { buildImage, type Image, signal, whyNoImage } from "./image.js";

const BUILDING_MS = 1_200_000;
const ADMIN = "the first admin's own secret, long enough";
const manifest = JSON.parse(text("package.json")) as Record<
  "dependencies" | "devDependencies",
  Record<string, string>
> & { version: string };

/** All that a process writes, and how it ends. It does not outlive the test. */
function watch(child: ChildProcess) {
  let said = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
  }
  const ended = once(child, "close").then(([code]) => ({ code: code as number | null, said }));
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  return { ended, said: () => said };
}

const missing = FOREIGN_CLIENTS ? whyNoImage() : "not asked for";
if (FOREIGN_CLIENTS && missing) process.stderr.write(`[deploy] the image is not built: ${missing}\n`);

describe.skipIf(missing)("the image", () => {
  let image: Image;
  beforeAll(async () => {
    image = await buildImage();
  }, BUILDING_MS);
  afterAll(() => image?.remove());

  const inside = (...command: string[]) => watch(image.start(command)).ended;

  /** The service as the image starts it, on ports that are free here, for callers with a key. */
  async function start(env: Readonly<Record<string, string>> = {}) {
    const key = join(image.root, "tmp", "admin-key");
    await writeFile(key, ADMIN, { mode: 0o400 });
    await chown(key, 1000, 1000);
    const [grpc, http] = [await freePort(undefined), await freePort(undefined)];
    const settings = {
      MONGODB_URI: inject("mongodbUri"),
      MONGODB_DATABASE: `test-${randomUUID()}`,
      SESSIONS_AUTH: "keys",
      SESSIONS_ADMIN_KEY_FILE: "/tmp/admin-key",
      SESSIONS_GRPC_LISTEN: `0.0.0.0:${grpc}`,
      SESSIONS_HTTP_LISTEN: `0.0.0.0:${http}`,
      ...env,
    };
    const child = image.start(image.config.Entrypoint, settings);
    const { ended, said } = watch(child);
    await eventually("it is ready", () => /"msg":"ready"/.test(said()) || child.exitCode !== null);
    return { child, ended, said, settings, address: `127.0.0.1:${grpc}` };
  }

  it("holds what the service needs and nothing else", async () => {
    const app = join(image.root, "app");
    expect((await readdir(app)).sort()).toEqual(["deploy", "dist", "gen", "node_modules", "package.json"]);
    expect(await readdir(join(app, "dist"))).toEqual(["gen", "src"]);
    const sources = await run("find", [app, "-name", "*.ts", "-not", "-path", "*/node_modules/*"]);
    expect(sources).toMatchObject({ code: 0, stdout: "" });
    const isThere = (name: string) => existsSync(join(app, "node_modules", name));
    expect(Object.keys(manifest.dependencies).filter((name) => !isThere(name))).toEqual([]);
    // What a dependency needs, too, is there all the same.
    const development = Object.keys(manifest.devDependencies).filter(isThere);
    expect(development.filter((name) => !["@types/node", "yaml"].includes(name))).toEqual([]);
    const { stdout } = await run("du", ["-sm", app]);
    expect(Number.parseInt(stdout, 10)).toBeLessThan(90);
  });

  it("is labelled, and belongs to root while another user runs it", async () => {
    expect(image.config.Labels).toMatchObject({ "org.opencontainers.image.version": manifest.version });
    const { said } = await inside("id", "-u");
    expect(said).toBe("1000\n");
    const writable = ["find", "/app", "/usr", "(", "-user", "1000", "-o", "-perm", "-o+w", ")", "-not", "-type", "l"];
    expect(await inside(...writable)).toEqual({ code: 0, said: "" });
    expect((await inside("sh", "-c", ": > /tmp/anything")).said).toContain("Read-only file system");
  });

  it("serves whoever has a key, on a disk that it cannot write to, and stops in order as the first process", async () => {
    const { child, ended, said, address } = await start();
    const api = connect(address, ADMIN);
    onTestFinished(() => api.close());
    const messages = [{ content: "hello" }];
    await api.memory.addMemory({ sessionId: "a", messages });
    expect(await api.memory.getMemory({ sessionId: "a" })).toMatchObject({ messages });

    await signal(child, image.config.StopSignal);
    expect((await ended).code).toBe(0);
    const lines = said().trim().split("\n");
    expect((JSON.parse(lines.at(-1) ?? "{}") as LogLine).msg).toBe("stopped");
  });

  it("has the command line with it", async () => {
    const { address } = await start();
    const cli = ["node", "dist/src/cli/main.js", "--address", address, "--key-file", "/tmp/admin-key"];
    expect(await inside(...cli, "list", "--json")).toEqual({ code: 0, said: "" });
  });

  it("takes no start for granted that has nobody to say who may call, or no database", async () => {
    const outcome = await (await start({ SESSIONS_AUTH: "none", SESSIONS_ADMIN_KEY_FILE: "" })).ended;
    expect(outcome).toMatchObject({ code: 78, said: expect.stringContaining("SESSIONS_AUTH: required") });
    const { code, said } = await (await start({ MONGODB_URI: "" })).ended;
    expect({ code, said }).toMatchObject({ code: 78, said: expect.stringContaining("MONGODB_URI: required") });
  });

  it("finds itself healthy while it runs, and not when it has ended", async () => {
    const { child, ended, settings } = await start();
    const [kind, ...command] = image.config.Healthcheck.Test;
    expect(kind).toBe("CMD");
    const ask = () => watch(image.start(command, settings)).ended;
    expect(await ask()).toEqual({ code: 0, said: "" });
    expect(await watch(image.start([...command.slice(0, -1), "/readyz"], settings)).ended).toEqual({
      code: 0,
      said: "",
    });
    await signal(child, "SIGTERM");
    await ended;
    expect(await ask()).toMatchObject({ code: 1, said: expect.stringContaining("ECONNREFUSED") });
  });
});
