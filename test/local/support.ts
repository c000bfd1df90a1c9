import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { MongoClient } from "mongodb";
import { onTestFinished } from "vitest";
import type { LocalMongo } from "../../src/local/index.js";

/** Writes an executable shell script, a stand-in for a program. */
export async function script(folder: string, name: string, body: string): Promise<string> {
  await mkdir(folder, { recursive: true });
  const path = join(folder, name);
  await writeFile(path, `#!/bin/sh\n${body}\n`, { mode: 0o755 });
  return path;
}

export async function withClient<T>(uri: string, use: (client: MongoClient) => Promise<T>): Promise<T> {
  const client = new MongoClient(uri, { serverSelectionTimeoutMS: 60_000 });
  try {
    return await use(client);
  } finally {
    await client.close();
  }
}

export interface LiveProcess {
  readonly pid: number;
  readonly command: string;
}

/** The processes that have this text in their command line; a dead one that nobody has collected has none. */
export async function processesNaming(text: string): Promise<LiveProcess[]> {
  const ids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const all = await Promise.all(
    ids.map(async (id) => {
      const line = await readFile(`/proc/${id}/cmdline`, "utf8").catch(() => "");
      return { pid: Number(id), command: line.replaceAll("\0", " ").replaceAll("\\", "/") };
    }),
  );
  // An owner process of these tests is told the folder too.
  return all.filter(({ command }) => command.includes(text) && !command.startsWith(process.execPath));
}

export async function eventually(what: string, holds: () => Promise<boolean>, timeoutMs = 120_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await new Promise((next) => setTimeout(next, 50));
  }
}

export interface OwnerProcess {
  /** Its answer: what it started, or why it could not. */
  readonly answer: Pick<LocalMongo, "uri" | "pid"> & { readonly refused?: string };
  pause(): void;
  kill(): Promise<void>;
}

const OWNER = `
const [module, dataDir] = process.argv.slice(1);
const { startLocalMongo } = await import(module);
try {
  const { uri, pid } = await startLocalMongo({ dataDir, env: process.env, log() {} });
  console.log(JSON.stringify({ uri, pid }));
  setInterval(() => {}, 60_000);
} catch (error) {
  console.log(JSON.stringify({ refused: error.name + ": " + error.message }));
}
`;

/** A process of its own that starts a local MongoDB on this folder and keeps it. */
export async function ownerProcess(build: string, dataDir: string): Promise<OwnerProcess> {
  const child = spawn(
    process.execPath,
    ["--input-type=module", "-e", OWNER, join(build, "src/local/index.js"), dataDir],
    {
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  const exited = once(child, "exit");
  const kill = async () => {
    child.kill("SIGKILL");
    await exited;
  };
  onTestFinished(kill);
  const [line] = await once(createInterface(child.stdout), "line");
  return { answer: JSON.parse(line), pause: () => void child.kill("SIGSTOP"), kill };
}

/** Node runs no TypeScript, so another process needs it compiled; inside the project, where it finds its packages. */
export async function compileForOtherProcesses(): Promise<{ folder: string; remove(): Promise<void> }> {
  const caches = resolve("node_modules/.cache");
  await mkdir(caches, { recursive: true });
  const folder = await mkdtemp(join(caches, "local-test-"));
  const compiler = resolve("node_modules/.bin/tsc");
  // Errors of types are for the type check to tell: the JavaScript is written all the same.
  await new Promise((done) => execFile(compiler, ["-p", "tsconfig.build.json", "--outDir", folder], done));
  return { folder, remove: () => rm(folder, { recursive: true, force: true }) };
}
