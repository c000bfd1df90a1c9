import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";
import { type Api, connect } from "../../support/api.js";

/** The service as a process of its own, with a stock client to it, for tests that start and kill many of them. */
export interface RunningService extends Api {
  readonly pid: number;
  readonly address: string;
  /** What it logged as an error. */
  readonly errors: readonly string[];
  readonly exited: Promise<void>;
  /** `kill -9`, at once. */
  kill(): void;
}

const left = new Set<ChildProcess>();

/** For the end of a test file, however it ends. */
export function killProcesses(): void {
  for (const child of left) child.kill("SIGKILL");
}

const MAIN = resolve("dist/src/main.js");

/** Resolves when it can be called. `onSpawn` is for who wants to kill it before. */
export async function startProcess(
  env: Readonly<Record<string, string>>,
  onSpawn: (kill: () => void) => void = () => {},
): Promise<RunningService> {
  const child = spawn(process.execPath, [MAIN], {
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      SESSIONS_GRPC_LISTEN: "127.0.0.1:0",
      SESSIONS_HTTP_LISTEN: "",
      SESSIONS_LOG_FORMAT: "json",
      ...env,
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  left.add(child);
  onSpawn(() => void child.kill("SIGKILL"));
  const exited = once(child, "close").then(() => void left.delete(child));
  const errors: string[] = [];
  const address = await new Promise<string>((found, failed) => {
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      // Its log goes on, a line a call; of those only what went wrong is of interest.
      for (const line of text.split("\n")) if (/"level":[56]0/.test(line)) errors.push(line.slice(0, 1_000));
      if (output === READY) return;
      output += text;
      const ready = output
        .split("\n")
        .slice(0, -1)
        .map((line) => JSON.parse(line) as { msg: string; grpc: string })
        .find(({ msg }) => msg === READY);
      if (!ready) return;
      output = READY;
      found(ready.grpc);
    });
    void exited.then(() => failed(new Error(`a service ended before it was ready: ${output}`)));
  });
  const api = connect(address);
  return {
    ...api,
    pid: child.pid as number,
    address,
    errors,
    exited,
    kill() {
      child.kill("SIGKILL");
      api.close();
    },
  };
}

const READY = "ready";
