import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Answer, Handlers, Question } from "../load/serve.js";

/** A process of its own that does as it is told, so that neither side of a comparison shares its thread with anything. */
export interface Child<H extends Handlers> {
  readonly call: <K extends keyof H & string>(
    method: K,
    ...args: Parameters<H[K]>
  ) => Promise<Awaited<ReturnType<H[K]>>>;
  stop(): Promise<void>;
}

export type Script = "generator" | "poster" | "driver" | "watchers" | "rest" | "echo" | "mastra" | "langchain";

/** The longest thing that is asked takes a minute or two; a bench that hangs tells nobody why. */
const PATIENCE_MS = 5 * 60_000;

export function startChild<H extends Handlers>(script: Script): Child<H> {
  const child: ChildProcess = fork(fileURLToPath(new URL(`../load/${script}.js`, import.meta.url)), {
    execArgv: ["--enable-source-maps"],
    // Buffers arrive as Buffers.
    serialization: "advanced",
    // Standard output is for the result alone.
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const exited = once(child, "exit");
  const waiting = new Map<number, { resolve: (result: unknown) => void; reject: (error: Error) => void }>();
  let last = 0;
  child.on("message", (answer: Answer) => {
    const { resolve, reject } = waiting.get(answer.id) ?? {};
    if ("error" in answer) reject?.(new Error(`${script}: ${answer.error}`));
    else resolve?.(answer.result);
  });
  child.on("exit", (code, signal) => {
    const error = new Error(`the ${script} process ended (${signal ?? code})`);
    for (const { reject } of waiting.values()) reject(error);
  });
  const ask = async (method: string, args: readonly unknown[]): Promise<unknown> => {
    if (!child.connected) throw new Error(`the ${script} process is gone`);
    const question: Question = { id: ++last, method, args };
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise((resolve, reject) => {
        waiting.set(question.id, { resolve, reject });
        timer = setTimeout(() => reject(new Error(`${script}: no answer to ${method}`)), PATIENCE_MS);
        child.send(question);
      });
    } finally {
      clearTimeout(timer);
      waiting.delete(question.id);
    }
  };
  return {
    call: (method, ...args) => ask(method, args) as Promise<never>,
    async stop() {
      if (child.connected) child.disconnect();
      await exited;
    },
  };
}
