import { readFile } from "node:fs/promises";
import { eventually } from "../../support/eventually.js";
import type { ServiceProcess } from "../../support/service-process.js";

/** The memory of a process over time, as the system counts it. */
export interface MemoryWatch {
  /** The most since the last time that this was asked, in MiB. */
  peak(): number;
  now(): Promise<number>;
  stop(): void;
}

const PERIOD_MS = 50;

export function watchMemory(pid: number): MemoryWatch {
  let highest = 0;
  const read = async (): Promise<number> => {
    const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
    const resident = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) / 1024;
    highest = Math.max(highest, resident);
    return Math.round(resident);
  };
  const timer = setInterval(() => void read(), PERIOD_MS);
  return {
    peak() {
      const peak = Math.round(highest);
      highest = 0;
      return peak;
    },
    now: read,
    stop: () => clearInterval(timer),
  };
}

/** What a service has to be started with, so that {@link memoryHeld} can ask it. */
export const askable = { NODE_OPTIONS: `--import ${new URL("collect-garbage.mjs", import.meta.url)}` };

/** What a service still holds when its garbage is collected, in MiB. */
export async function memoryHeld(service: ServiceProcess): Promise<number> {
  const answers = () => service.lines().filter(({ msg }) => msg === "memory held");
  const before = answers().length;
  service.kill("SIGUSR2");
  const answer = await eventually("it tells what it holds", () => answers()[before]);
  return Math.round((answer.bytes as number) / 1024 / 1024);
}

/** One well-behaved caller among others of another kind: how it fares. */
export interface Probe {
  /** The longest that a call has taken since the last time that this was asked, in milliseconds. */
  worst(): number;
  readonly failures: readonly string[];
  readonly calls: number;
  stop(): Promise<void>;
}

export function startProbe(call: () => Promise<unknown>, everyMs = 50): Probe {
  let worst = 0;
  let stopped = false;
  let started = performance.now();
  let isUnderWay = false;
  const noteTime = (): void => {
    if (isUnderWay) worst = Math.max(worst, performance.now() - started);
  };
  const failures: string[] = [];
  let calls = 0;
  const running = (async () => {
    while (!stopped) {
      started = performance.now();
      isUnderWay = true;
      await call().catch((error: unknown) => failures.push(String(error)));
      calls += 1;
      noteTime();
      isUnderWay = false;
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
  })();
  return {
    failures,
    get calls() {
      return calls;
    },
    worst() {
      noteTime();
      const longest = Math.round(worst);
      worst = 0;
      return longest;
    },
    async stop() {
      stopped = true;
      await running;
    },
  };
}
