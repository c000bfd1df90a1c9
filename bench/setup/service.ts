import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { openSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

/** The service as its users run it. */
export interface Service {
  readonly address: string;
  /** Where it listens for HTTP. */
  readonly http: string;
  readonly pid: number;
  stop(): Promise<void>;
}

/** `npm run bench` builds it together with the benchmark. */
const MAIN = fileURLToPath(new URL("../../src/main.js", import.meta.url));

const START_TIMEOUT_MS = 60_000;

let started = 0;

/** By their names in the environment. */
export type Settings = Readonly<Record<`SESSIONS_${string}`, string>>;

export interface ServiceOptions {
  readonly uri: string;
  readonly database: string;
  /** Where its log goes. A file costs its reader nothing while the service is measured. */
  readonly folder: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly workers: number | undefined;
  /** What a row needs otherwise than it is in the environment, or by default. */
  readonly settings?: Settings;
  readonly profile: string | undefined;
}

export async function startService(options: ServiceOptions): Promise<Service> {
  const { uri, database, folder, env, workers, settings, profile } = options;
  const logFile = join(folder, `${database}-${++started}.log`);
  const log = openSync(logFile, "w");
  const handedOn = Object.entries(env).filter(([name]) => /^(SESSIONS|OTEL)_/.test(name));
  const flags = profile === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${profile}`];
  const child: ChildProcess = spawn(process.execPath, ["--enable-source-maps", ...flags, MAIN], {
    env: {
      PATH: env.PATH,
      HOME: env.HOME,
      ...Object.fromEntries(handedOn),
      ...(workers !== undefined && { SESSIONS_WORKERS: String(workers) }),
      ...settings,
      SESSIONS_GRPC_LISTEN: "127.0.0.1:0",
      SESSIONS_HTTP_LISTEN: "127.0.0.1:0",
      SESSIONS_LOG_FORMAT: "json",
      MONGODB_URI: uri,
      MONGODB_DATABASE: database,
    },
    stdio: ["ignore", log, log],
  });
  const exited = once(child, "exit");
  const kill = (): void => void child.kill("SIGKILL");
  process.once("exit", kill);
  const stop = async (): Promise<void> => {
    child.kill("SIGTERM");
    await exited;
    process.off("exit", kill);
  };
  try {
    return { ...(await ready(logFile, child)), pid: child.pid as number, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Waits for the line in its log that says where it listens. */
async function ready(logFile: string, child: ChildProcess): Promise<{ address: string; http: string }> {
  const giveUpAt = Date.now() + START_TIMEOUT_MS;
  while (child.exitCode === null && Date.now() < giveUpAt) {
    const log = await readFile(logFile, "utf8");
    const line = log.split("\n").find((one) => one.includes('"msg":"ready"'));
    if (line !== undefined) {
      const { grpc, http } = JSON.parse(line);
      return { address: grpc, http };
    }
    await sleep(50);
  }
  throw new Error(`the service did not start: ${(await readFile(logFile, "utf8")).slice(-2_000)}`);
}
