import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { onTestFinished } from "vitest";
import { eventually } from "./eventually.js";
import type { LogLine } from "./observed-service.js";

/** The service as its users run it: a process of its own. `npm test` builds it first. */
export interface ServiceProcess {
  readonly pid: number;
  /** All that it wrote so far. */
  output(): { readonly stdout: string; readonly stderr: string };
  /** The lines of its log so far, which is JSON. */
  lines(): LogLine[];
  /** The line that says that it can be called, and where. */
  ready(): Promise<LogLine & { readonly grpc: string; readonly http: string; readonly database: string }>;
  line(msg: string | RegExp): Promise<LogLine>;
  readonly exited: Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>;
  kill(signal: NodeJS.Signals): void;
}

const MAIN = resolve("dist/src/main.js");

/** Starts it with these settings and none of this process's own, on a free port. It does not outlive the test. */
export function runService(env: Readonly<Record<string, string>>): ServiceProcess {
  if (!existsSync(MAIN)) throw new Error(`there is no ${MAIN}: run npm run build`);
  const child: ChildProcess = spawn(process.execPath, ["--enable-source-maps", MAIN], {
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      SESSIONS_GRPC_LISTEN: "127.0.0.1:0",
      SESSIONS_HTTP_LISTEN: "",
      ...env,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const exited = once(child, "close").then(([code, signal]) => ({ code, signal }));
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await exited;
  });
  const complete = () => stdout.slice(0, stdout.lastIndexOf("\n") + 1);
  const lines = (): LogLine[] =>
    complete()
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line));
  const line = (msg: string | RegExp): Promise<LogLine> =>
    eventually(
      `it logs ${msg}`,
      () => {
        const found = lines().find((one) => (typeof msg === "string" ? one.msg === msg : msg.test(one.msg)));
        if (!found && child.exitCode !== null) throw new Error(`it ended with ${child.exitCode}: ${stdout}${stderr}`);
        return found;
      },
      180_000,
    );
  return {
    pid: child.pid as number,
    output: () => ({ stdout, stderr }),
    lines,
    line,
    ready: () => line("ready") as ReturnType<ServiceProcess["ready"]>,
    exited,
    kill: (signal) => void child.kill(signal),
  };
}
