import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { delimiter, join } from "node:path";
import type { Environment } from "./environment.js";

export interface CommandResult {
  readonly ok: boolean;
  readonly stdout: string;
  /** The last line that it said, or why it could not be run at all. */
  readonly complaint: string;
}

export interface CommandOptions {
  readonly env: Environment;
  readonly timeoutMs: number;
  readonly cwd?: string;
  /** Called every few seconds while the command runs, so that a long step is not a silent one. */
  readonly onWait?: (seconds: number) => void;
}

const WAIT_REPORT_MS = 5_000;

/** Runs a program to its end; a failure is an answer, not an exception. */
export function run(command: string, args: readonly string[], options: CommandOptions): Promise<CommandResult> {
  return new Promise((resolve) => {
    const started = Date.now();
    const reports = setInterval(() => options.onWait?.(Math.round((Date.now() - started) / 1000)), WAIT_REPORT_MS);
    execFile(
      command,
      args,
      {
        env: { ...options.env },
        cwd: options.cwd,
        timeout: options.timeoutMs,
        killSignal: "SIGKILL",
        maxBuffer: 64 * 1024 * 1024,
      },
      (error, stdout, stderr) => {
        clearInterval(reports);
        resolve({ ok: error === null, stdout, complaint: complaintOf(error, stdout, stderr) });
      },
    );
  });
}

function complaintOf(error: (Error & { killed?: boolean }) | null, stdout: string, stderr: string): string {
  if (error?.killed) return "it took too long";
  const lines = `${stdout}\n${stderr}`.split("\n").map((line) => line.trim());
  return lines.findLast((line) => line !== "") ?? error?.message.split("\n", 1)[0] ?? "";
}

export async function findOnPath(program: string, env: Environment): Promise<string | undefined> {
  for (const folder of (env.PATH ?? "").split(delimiter)) {
    // An empty entry means the working directory: no place to take a database server from.
    if (folder === "") continue;
    const candidate = join(folder, program);
    if (await isExecutable(candidate)) return candidate;
  }
  return undefined;
}

export async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}
