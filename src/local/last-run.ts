import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { run } from "./command.js";
import type { Environment } from "./environment.js";
import { killIfThere } from "./process.js";

/** What a run notes down in its folder for the next one, and for one that is refused. */
export interface LastRun {
  readonly owner: number;
  readonly mongod?: number;
  readonly port?: number;
}

const FILE = "last-run.json";
/** The supervisor of an owner that died shuts its `mongod` down in good order, if it is still there itself. */
const GRACE_MS = 5_000;

export async function readLastRun(folder: string): Promise<LastRun | undefined> {
  try {
    return JSON.parse(await readFile(join(folder, FILE), "utf8")) as LastRun;
  } catch {
    return undefined;
  }
}

export async function writeLastRun(folder: string, lastRun: LastRun): Promise<void> {
  const draft = join(folder, `${FILE}.draft`);
  await writeFile(draft, JSON.stringify(lastRun));
  await rename(draft, join(folder, FILE));
}

/** Waits for a `mongod` whose owner died to be gone, and ends it when nobody else does. Only for who holds the lock. */
export async function endLeftover(lastRun: LastRun | undefined, dbPath: string, env: Environment): Promise<void> {
  const pid = lastRun?.mongod;
  if (pid === undefined) return;
  const deadline = Date.now() + GRACE_MS;
  while (await isMongodOf(dbPath, pid, env)) {
    if (Date.now() > deadline) killIfThere(pid);
    await sleep(100);
  }
}

/** The number alone proves nothing: another process may have it by now. */
async function isMongodOf(dbPath: string, pid: number, env: Environment): Promise<boolean> {
  const commandLine =
    process.platform === "linux"
      ? await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")
      : (await run("ps", ["-o", "command=", "-p", String(pid)], { env, timeoutMs: 5_000 })).stdout;
  // Under Wine the path has backslashes.
  return commandLine.replaceAll("\\", "/").includes(dbPath);
}
