import cluster, { type Worker } from "node:cluster";
import { remainder, textOfAll } from "./merge.js";
import type { Report } from "./metrics.js";

/**
 * With several processes on one address a look comes to any of them, and is to tell of all. So the one that is asked asks the process
 * that has started them, which asks each. Everything is bounded in time: what one of them does not tell soon enough is taken from
 * what it told last.
 */

type Message =
  | { readonly metrics: "wanted"; readonly id: number }
  | { readonly metrics: "text"; readonly id: number; readonly text: string }
  | { readonly metrics: "asked"; readonly id: number }
  | { readonly metrics: "report"; readonly id: number; readonly report: Report };

/** How long the workers have to tell. One that has not by then is busy, or hangs. */
const REPORT_MS = 1_000;

/** How long the whole may take: an answer that comes later is none to Prometheus either. */
const TEXT_MS = 5_000;

/** In the process that has started the workers: has them asked when one of them wants to know. */
export function shareMetricsOfWorkers(): void {
  const reports = new Map<Worker, Report>();
  const waiting = new Map<Worker, () => void>();
  let gone: Promise<Report> = Promise.resolve([]);
  let gathering: Promise<string> | undefined;
  let rounds = 0;

  const reportOf = (worker: Worker, id: number): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, REPORT_MS);
      waiting.set(worker, () => {
        clearTimeout(timer);
        resolve();
      });
      send(worker, { metrics: "asked", id });
    });

  const gather = async (): Promise<string> => {
    rounds += 1;
    const workers = Object.values(cluster.workers ?? {}).filter((worker) => worker?.isConnected());
    await Promise.all(workers.map((worker) => worker && reportOf(worker, rounds)));
    const present = [...reports.values()];
    return textOfAll([await gone, ...present]);
  };

  cluster.on("message", (worker, message: Message) => {
    if (message.metrics === "report") {
      reports.set(worker, message.report);
      if (message.id === rounds) waiting.get(worker)?.();
    }
    if (message.metrics === "wanted") {
      gathering ??= gather().finally(() => {
        gathering = undefined;
      });
      // Who gets no text has waited long enough some time later, and says so.
      gathering.then(
        (text) => send(worker, { metrics: "text", id: message.id, text }),
        () => {},
      );
    }
  });
  cluster.on("exit", (worker) => {
    waiting.get(worker)?.();
    waiting.delete(worker);
    const last = reports.get(worker);
    reports.delete(worker);
    if (last) gone = gone.then((before) => remainder([before, last]));
  });
}

/** In a worker: tells this process's own figures when asked, and gives the text of all. Rejects when there is no answer in time. */
export function metricsOfAllWorkers(report: () => Promise<Report>): () => Promise<string> {
  const waiting = new Map<number, (text: string) => void>();
  let asked = 0;
  process.on("message", (message: Message) => {
    if (message.metrics === "asked") {
      report().then(
        (own) => tell({ metrics: "report", id: message.id, report: own }),
        () => {},
      );
    }
    if (message.metrics === "text") waiting.get(message.id)?.(message.text);
  });
  return () =>
    new Promise((resolve, reject) => {
      const id = asked++;
      const settle = (act: () => void): void => {
        clearTimeout(timer);
        waiting.delete(id);
        act();
      };
      const timer = setTimeout(() => settle(() => reject(new Error("no figures of all workers in time"))), TEXT_MS);
      waiting.set(id, (text) => settle(() => resolve(text)));
      tell({ metrics: "wanted", id });
    });
}

/** To one that is just going nothing can be told. */
function send(worker: Worker, message: Message): void {
  worker.send(message, () => {});
}

function tell(message: Message): void {
  process.send?.(message, undefined, undefined, () => {});
}
