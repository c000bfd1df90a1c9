import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { chooseMongod } from "./binary.js";
import type { Environment } from "./environment.js";
import { DataFolderInUseError, INSTEAD, LocalMongoError } from "./errors.js";
import { endLeftover, readLastRun, writeLastRun } from "./last-run.js";
import { type Lock, tryLock } from "./lock.js";
import { databaseFolder, lastComplaint, type RunningMongod, startMongod } from "./mongod.js";
import { freePort, waitUntilListening } from "./port.js";
import type { MongodProgram } from "./program.js";
import { ensureSingleNodePrimary, requestShutdown } from "./replica-set.js";

export { chooseMongod } from "./binary.js";
export type { Environment } from "./environment.js";
export { DataFolderInUseError, LocalMongoError } from "./errors.js";
export { type MongodSpec, type RunningMongod, startMongod } from "./mongod.js";
export type { MongodProgram } from "./program.js";

export interface LocalMongoOptions {
  /** The database goes into its folder `mongodb`, and is found there again by the next start. */
  readonly dataDir: string;
  readonly env: Environment;
  /** Told each step, one line at a time: getting a `mongod` may take minutes the first time. */
  readonly log: (line: string) => void;
  /** How often expired documents are looked for; MongoDB's own default is a minute. */
  readonly ttlSeconds?: number;
}

export interface LocalMongo {
  readonly uri: string;
  /** What runs, and where it came from. */
  readonly how: string;
  /** The database's own process: killing it is a crash. */
  readonly pid: number;
  /** Resolves when the database has ended, by `stop` or by itself. */
  readonly ended: Promise<void>;
  stop(): Promise<void>;
}

const REPLICA_SET = "local";
/** Generous: a recovery after a crash, on a slow machine. */
const START_TIMEOUT_MS = 90_000;
const STOP_TIMEOUT_MS = 15_000;
const PORT_ATTEMPTS = 3;
/** `mongod`'s exit code when its port was taken between our look and its own. */
const CANNOT_LISTEN = 48;

/** A replica set of one on 127.0.0.1, its data kept in a folder. It ends with this process, however that ends. */
export async function startLocalMongo(options: LocalMongoOptions): Promise<LocalMongo> {
  const program = await chooseMongod(options);
  options.log(`using ${program.how}`);
  const folder = join(resolve(options.dataDir), "mongodb");
  const lock = await lockFolder(folder, options.env);
  try {
    const lastRun = await readLastRun(folder);
    await writeLastRun(folder, { ...lastRun, owner: process.pid });
    await endLeftover(lastRun, databaseFolder(folder), options.env);
    const mongod = await startPrimary(program, folder, lastRun?.port, options);
    options.log(`MongoDB listens on 127.0.0.1:${mongod.port}, with its data in ${folder}`);
    return handle(program, mongod, lock);
  } catch (error) {
    await lock.release();
    throw error;
  }
}

async function lockFolder(folder: string, env: Environment): Promise<Lock> {
  await mkdir(folder, { recursive: true }).catch((error: Error) => {
    throw new LocalMongoError(
      `Cannot make the data folder ${folder} (${error.message}): set SESSIONS_DATA_DIR to one.`,
    );
  });
  const lock = await tryLock(join(folder, "lock"), env);
  if (lock !== undefined) return lock;
  const owner = (await readLastRun(folder))?.owner;
  throw new DataFolderInUseError(
    `The data folder ${folder} is in use by another process${owner === undefined ? "" : ` (${owner})`}: ` +
      "stop that one, or set SESSIONS_DATA_DIR to another folder.",
  );
}

async function startPrimary(
  program: MongodProgram,
  folder: string,
  formerPort: number | undefined,
  { env, ttlSeconds }: LocalMongoOptions,
): Promise<RunningMongod> {
  for (let attempt = 1; ; attempt++) {
    const port = await freePort(attempt === 1 ? formerPort : undefined);
    const mongod = await startMongod({ program, folder, port, replicaSet: REPLICA_SET, env, ttlSeconds });
    await writeLastRun(folder, { owner: process.pid, mongod: mongod.pid, port });
    try {
      await becomePrimary(mongod);
      return mongod;
    } catch (error) {
      mongod.kill();
      const code = await mongod.ended;
      if (code === CANNOT_LISTEN && attempt < PORT_ATTEMPTS) continue;
      throw new LocalMongoError(
        `The local MongoDB did not start (${error instanceof Error ? error.message : error}; ` +
          `its last complaint: ${await lastComplaint(mongod.logFile)}; its log: ${mongod.logFile}). ${INSTEAD}`,
      );
    }
  }
}

async function becomePrimary(mongod: RunningMongod): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  const keepTrying = () => !mongod.hasEnded() && Date.now() < deadline;
  const done =
    (await waitUntilListening(mongod.port, keepTrying)) &&
    (await ensureSingleNodePrimary(mongod.port, REPLICA_SET, keepTrying));
  if (!done) throw new Error(mongod.hasEnded() ? `exit code ${await mongod.ended}` : "it took too long");
}

function handle(program: MongodProgram, mongod: RunningMongod, lock: Lock): LocalMongo {
  const ended = mongod.ended.then(() => lock.release());
  let stopping: Promise<void> | undefined;
  return {
    uri: `mongodb://127.0.0.1:${mongod.port}/?replicaSet=${REPLICA_SET}`,
    how: program.how,
    pid: mongod.pid,
    ended,
    stop() {
      stopping ??= stopMongod(mongod).then(() => ended);
      return stopping;
    },
  };
}

async function stopMongod(mongod: RunningMongod): Promise<void> {
  if (mongod.hasEnded()) return;
  const timer = new AbortController();
  const tooLate = sleep(STOP_TIMEOUT_MS, undefined, { signal: timer.signal }).then(
    () => mongod.kill(),
    () => {},
  );
  void requestShutdown(mongod.port);
  await Promise.race([mongod.ended, tooLate]);
  timer.abort();
  await mongod.ended;
}
