import { spawn } from "node:child_process";
import { mkdir, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import type { Environment } from "./environment.js";
import { INSTEAD, LocalMongoError } from "./errors.js";
import { killIfThere } from "./process.js";
import type { MongodProgram } from "./program.js";

export interface MongodSpec {
  readonly program: MongodProgram;
  /** Its data, its log and whatever else it needs go in here; one `mongod` a folder. */
  readonly folder: string;
  readonly port: number;
  readonly replicaSet: string;
  readonly env: Environment;
  readonly ttlSeconds?: number;
  /** How far its log reaches back, about. */
  readonly oplogMb?: number;
}

/** One `mongod` that runs. It ends with this process, however that ends. */
export interface RunningMongod {
  readonly port: number;
  /** The process id of `mongod` itself: killing it is a crash of the database. */
  readonly pid: number;
  readonly logFile: string;
  /** Resolves with its exit code (128 and more: a signal) when it and all that belongs to it are gone. */
  readonly ended: Promise<number>;
  hasEnded(): boolean;
  kill(): void;
}

/**
 * What keeps `mongod` from outliving its owner: this shell's standard input is a pipe that only the owner writes to, so it
 * ends when the owner does, `kill -9` included. Being the parent of `mongod`, the shell can signal it without ever meeting
 * another process under its number.
 */
const SUPERVISE = `
signal=$1 log=$2; shift 2
exec 3<&0 </dev/null
"$@" >"$log" 2>&1 3<&- &
mongod=$!
{
  cat <&3
  kill -"$signal" "$mongod"
  tenths=0
  while kill -0 "$mongod" && [ "$tenths" -lt 100 ]; do sleep 0.1; tenths=$((tenths + 1)); done
  kill -KILL "$mongod"
} >/dev/null 2>&1 &
guard=$!
echo "$mongod"
wait "$mongod"
code=$?
kill "$guard"
[ -z "$AFTERWARDS" ] || $AFTERWARDS >/dev/null 2>&1
exit "$code"
`;

export async function startMongod(spec: MongodSpec): Promise<RunningMongod> {
  const dbPath = databaseFolder(spec.folder);
  await mkdir(dbPath, { recursive: true });
  const logFile = join(spec.folder, "mongod.log");
  await keepPrevious(logFile);
  const prepared = await spec.program.prepare(spec.folder, spec.env);

  const supervisor = spawn(
    "/bin/sh",
    [
      "-c",
      SUPERVISE,
      "mongod",
      prepared.orphanSignal,
      logFile,
      ...prepared.command,
      ...flags(spec, prepared.pathFor(dbPath)),
    ],
    {
      env: { ...prepared.env, AFTERWARDS: prepared.afterwards.join(" ") },
      stdio: ["pipe", "pipe", "ignore"],
      // Its own process group: Ctrl-C in a terminal is for us, and we end the database last.
      detached: true,
    },
  );
  supervisor.stdin.on("error", () => {});
  const closed = new Promise<number | null>((resolve) => {
    supervisor.once("error", () => resolve(127));
    supervisor.once("close", resolve);
  });
  const pid = await firstNumber(supervisor.stdout);
  let over = false;
  const ended = closed.then(async (code) => {
    over = true;
    supervisor.stdin.destroy();
    // Somebody killed the supervisor: what it kept watch over must not stay behind unwatched.
    if (code === null && pid !== undefined) killIfThere(pid);
    await prepared.dispose();
    return code ?? 137;
  });
  if (pid === undefined) {
    await ended;
    throw new LocalMongoError(`/bin/sh could not start ${spec.program.how}. ${INSTEAD}`);
  }
  return {
    port: spec.port,
    pid,
    logFile,
    ended,
    hasEnded: () => over,
    kill() {
      if (!over) killIfThere(pid);
    },
  };
}

export function databaseFolder(folder: string): string {
  return join(folder, "db");
}

function flags(spec: MongodSpec, dbPath: string): string[] {
  return [
    ...["--dbpath", dbPath],
    ...["--port", String(spec.port), "--bind_ip", "127.0.0.1"],
    ...["--replSet", spec.replicaSet],
    // For development and tests, several at a time: by default each would take half of the memory.
    ...["--wiredTigerCacheSizeGB", "0.5", "--oplogSize", String(spec.oplogMb ?? 512), "--quiet"],
    // Statistics for MongoDB's support, gathered every second: nobody reads those of a local one.
    ...["--setParameter", "diagnosticDataCollectionEnabled=false"],
    // By default a signal is obeyed 15 seconds later, for clients that might find another member.
    ...["--setParameter", "shutdownTimeoutMillisForSignaledShutdown=0"],
    // A service that is killed leaves its transactions open, and they hold their sessions until this limit, by default 60 s.
    ...["--setParameter", "transactionLifetimeLimitSeconds=10"],
    ...(spec.ttlSeconds === undefined ? [] : ["--setParameter", `ttlMonitorSleepSecs=${spec.ttlSeconds}`]),
  ];
}

/** The log of the run before is kept, as it may say why that one ended; older ones are not. */
async function keepPrevious(logFile: string): Promise<void> {
  await rename(logFile, `${logFile}.previous`).catch(() => {});
}

async function firstNumber(stream: NodeJS.ReadableStream): Promise<number | undefined> {
  for await (const chunk of stream) return Number.parseInt(String(chunk), 10);
  return undefined;
}

/** What the Windows build complains about at each start under Wine, as it is made to skip loading symbols. */
const NO_STACK_TRACES = 31443;

/** The last thing that `mongod` complained about, in one line. */
export async function lastComplaint(logFile: string): Promise<string> {
  const lines = (await readFile(logFile, "utf8").catch(() => "")).split("\n").filter((line) => line.trim() !== "");
  const said = lines.map((line) => {
    try {
      const entry = JSON.parse(line) as { s: string; id: number; msg: string; attr?: { error?: unknown } };
      const detail = entry.attr?.error === undefined ? "" : `: ${errorText(entry.attr.error)}`;
      return {
        bad: (entry.s === "E" || entry.s === "F") && entry.id !== NO_STACK_TRACES,
        text: `${entry.msg}${detail}`,
      };
    } catch {
      return { bad: true, text: line };
    }
  });
  return (said.findLast(({ bad }) => bad) ?? said.at(-1))?.text ?? "it said nothing";
}

function errorText(error: unknown): string {
  return typeof error === "string" ? error : JSON.stringify(error);
}
