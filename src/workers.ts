import cluster, { type Worker } from "node:cluster";
import type { Logger } from "pino";
import { shareMetricsOfWorkers } from "./observability/all-workers.js";

/** Several processes that serve one address, for a machine with several cores: the first one starts them and minds them. */
export interface Workers {
  /** What the workers have told when all could be called. Rejects when one of them could not start. */
  readonly ready: Promise<Ready>;
  /** Has each of them stop as a process by itself would, and waits for it. */
  stop(): Promise<void>;
}

/** What a worker tells when it can be called. All of them listen on the same address, whichever port was free. */
export interface Ready {
  readonly grpc: string;
  readonly http?: string | undefined;
  readonly tls: boolean;
  readonly database: string;
}

/** What workers tell besides is about metrics. */
interface Message {
  readonly ready?: Ready;
}

/** How long after its end a worker is replaced: one that cannot start must not be started without pause. */
const PAUSE_MS = 1_000;

/** `env` is added to this process's own environment. */
export function startWorkers(count: number, env: Readonly<Record<string, string>>, log: Logger): Workers {
  const running = new Set<Worker>();
  shareMetricsOfWorkers();
  let stopping = false;

  const start = (): Promise<Ready> =>
    new Promise((resolve, reject) => {
      const worker = cluster.fork(env);
      let isReady = false;
      running.add(worker);
      worker.on("message", ({ ready }: Message) => {
        if (!ready) return;
        isReady = true;
        resolve(ready);
      });
      worker.once("exit", (code, signal) => {
        running.delete(worker);
        if (!isReady) reject(new Error(`a worker has ended with ${signal ?? code}: its own line says why`));
        else if (!stopping) {
          log.error({ worker: worker.id, code, signal }, "a worker has ended by itself; another one takes its place");
          setTimeout(replace, PAUSE_MS);
        }
      });
    });

  const replace = (): void => {
    if (stopping) return;
    start().catch((error: unknown) => {
      log.error({ err: error }, "no worker could take its place; another attempt follows");
      setTimeout(replace, PAUSE_MS);
    });
  };

  // One after the other: the first one makes the indexes.
  const startAll = async (): Promise<Ready> => {
    const first = await start();
    for (let n = 1; n < count; n++) await start();
    return first;
  };

  return {
    ready: startAll(),
    async stop() {
      stopping = true;
      await Promise.all(
        [...running].map(
          (worker) =>
            new Promise<void>((resolve) => {
              worker.once("exit", () => resolve());
              worker.process.kill("SIGTERM");
            }),
        ),
      );
    },
  };
}

export function isWorker(): boolean {
  return cluster.isWorker;
}

/** Tells the process that started this one, if this is a worker. Whether it is. */
export function tellReady(ready: Ready): boolean {
  if (cluster.isWorker) process.send?.({ ready } satisfies Message);
  return cluster.isWorker;
}
