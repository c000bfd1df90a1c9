import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { findOnPath, isExecutable, run } from "./command.js";
import { downloadMongod } from "./download.js";
import { cacheFolder, type Environment } from "./environment.js";
import { INSTEAD, LocalMongoError } from "./errors.js";
import { waitForLock } from "./lock.js";
import { type MongodProgram, nativeMongod } from "./program.js";
import { cachedWindowsMongod, installWindowsMongod } from "./windows-build.js";

export interface ChooseOptions {
  readonly env: Environment;
  readonly log: (line: string) => void;
}

/** What a first start may wait for another process that is installing the same thing. */
const INSTALL_TIMEOUT_MS = 15 * 60_000;
/** Older ones lack what the store relies on, and Linux distributions of some years ago still carry one. */
const OLDEST_MAJOR = 6;

/**
 * The first of: MONGOD_BINARY; one on PATH; one cached before; one downloaded from MongoDB; and where that site cannot
 * be reached, MongoDB's Windows build run by Wine.
 */
export async function chooseMongod({ env, log }: ChooseOptions): Promise<MongodProgram> {
  if (env.MONGOD_BINARY) return namedByUser(env.MONGOD_BINARY, env);
  log("MONGOD_BINARY is not set");

  const onPath = await fromPath(env, log);
  if (onPath !== undefined) return onPath;

  const cache = cacheFolder(env);
  const cached = await fromCache(cache, env, log);
  if (cached !== undefined) return cached;
  log(`no mongod in ${cache} yet`);

  await mkdir(cache, { recursive: true }).catch((error: Error) => {
    throw new LocalMongoError(`Cannot make the folder ${cache} (${error.message}). ${INSTEAD}`);
  });
  const lock = await waitForLock(join(cache, "install.lock"), {
    env,
    timeoutMs: INSTALL_TIMEOUT_MS,
    onWait: () => log("waiting for another process that is installing a mongod"),
  });
  try {
    return (await fromCache(cache, env, log)) ?? (await install(cache, env, log));
  } finally {
    await lock.release();
  }
}

async function namedByUser(path: string, env: Environment): Promise<MongodProgram> {
  const version = await versionOf(path, env);
  if (version === undefined) {
    throw new LocalMongoError(`MONGOD_BINARY is ${path}, which is not a mongod that runs on this machine.`);
  }
  return nativeMongod(path, `MongoDB ${version} at ${path} (MONGOD_BINARY)`);
}

async function fromPath(env: Environment, log: ChooseOptions["log"]): Promise<MongodProgram | undefined> {
  const path = await findOnPath("mongod", env);
  if (path === undefined) {
    log("no mongod on PATH");
    return undefined;
  }
  const version = await versionOf(path, env);
  if (version === undefined || Number.parseInt(version, 10) < OLDEST_MAJOR) {
    log(`passing over ${path}: ${version === undefined ? "it does not run" : `version ${version} is too old`}`);
    return undefined;
  }
  return nativeMongod(path, `MongoDB ${version} at ${path} (on PATH)`);
}

async function fromCache(
  cache: string,
  env: Environment,
  log: ChooseOptions["log"],
): Promise<MongodProgram | undefined> {
  const downloaded = downloadedMongod(cache);
  const version = await versionOf(downloaded, env);
  if (version !== undefined) return nativeMongod(downloaded, `MongoDB ${version} at ${downloaded} (downloaded before)`);
  return cachedWindowsMongod(cache, env, log);
}

async function install(cache: string, env: Environment, log: ChooseOptions["log"]): Promise<MongodProgram> {
  const target = downloadedMongod(cache);
  const refusal = await downloadMongod(target, log);
  if (refusal === undefined) {
    const version = await versionOf(target, env);
    if (version !== undefined) return nativeMongod(target, `MongoDB ${version} at ${target} (downloaded)`);
  }
  log(`no mongod from MongoDB's site: ${refusal ?? "the one downloaded does not run on this machine"}`);
  return installWindowsMongod(cache, env, log);
}

function downloadedMongod(cache: string): string {
  return join(cache, `mongod-${process.platform}-${process.arch}`);
}

/** Undefined when there is none, or one that cannot run here: a library that it needs may be missing. */
async function versionOf(path: string, env: Environment): Promise<string | undefined> {
  if (!(await isExecutable(path))) return undefined;
  const { ok, stdout } = await run(path, ["--version"], { env, timeoutMs: 60_000 });
  return ok ? /db version v(\S+)/.exec(stdout)?.[1] : undefined;
}
