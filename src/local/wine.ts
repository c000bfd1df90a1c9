import { dirname, join } from "node:path";
import { findOnPath, isExecutable, run } from "./command.js";
import type { Environment } from "./environment.js";
import { INSTEAD, LocalMongoError } from "./errors.js";

export interface Wine {
  readonly loader: string;
  readonly server: string;
  readonly version: string;
}

/** Debian keeps the 64-bit loader here, and puts on PATH only a wrapper that asks for the 32-bit one. */
const LOADER = "/usr/lib/wine/wine64";
const PACKAGES = ["wine64", "wine"];
const APT_TIMEOUT_MS = 10 * 60_000;

export async function findWine(env: Environment): Promise<Wine | undefined> {
  const loader = LOADER;
  const server = join(dirname(loader), "wineserver");
  if (!(await isExecutable(loader)) || !(await isExecutable(server))) return undefined;
  const { ok, stdout } = await run(loader, ["--version"], { env, timeoutMs: 30_000 });
  return ok ? { loader, server, version: stdout.trim() } : undefined;
}

/** Installs Wine where there is none, which only root may. */
export async function ensureWine(env: Environment, log: (line: string) => void): Promise<Wine> {
  const present = await findWine(env);
  if (present !== undefined) return present;
  const asRoot = await rootPrefix(env);
  const install = ["install", "--no-install-recommends", "-y", ...PACKAGES];
  if (asRoot === undefined) {
    throw new LocalMongoError(
      `Wine is needed to run MongoDB's Windows build. Run: sudo apt-get update && sudo apt-get ${install.join(" ")}. ` +
        `Instead of that: ${INSTEAD}`,
    );
  }
  log("refreshing the package lists (apt-get update)");
  // A list that cannot be refreshed, of some unrelated source, does not make the installation impossible.
  const updated = await aptGet(asRoot, ["update"], env, log);
  log(`installing Wine (apt-get ${install.join(" ")})`);
  const installed = await aptGet(asRoot, install, env, log);
  const wine = await findWine(env);
  if (wine === undefined) {
    const why = [installed, updated].find(({ ok }) => !ok)?.complaint ?? `no ${LOADER} afterwards`;
    throw new LocalMongoError(`apt-get could not install Wine (${why}). ${INSTEAD}`);
  }
  return wine;
}

function aptGet(asRoot: readonly string[], args: readonly string[], env: Environment, log: (line: string) => void) {
  const [command = "", ...rest] = [
    ...asRoot,
    ...["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=120"],
    ...args,
  ];
  return run(command, rest, {
    env,
    timeoutMs: APT_TIMEOUT_MS,
    onWait: (seconds) => log(`apt-get is still at work (${seconds} s)`),
  });
}

/** What to put before a command that root has to run; undefined when we may not be root without asking for a password. */
async function rootPrefix(env: Environment): Promise<readonly string[] | undefined> {
  if (process.getuid?.() === 0) return [];
  const sudo = await findOnPath("sudo", env);
  if (sudo === undefined) return undefined;
  const { ok } = await run(sudo, ["-n", "true"], { env, timeoutMs: 10_000 });
  return ok ? [sudo, "-n"] : undefined;
}
