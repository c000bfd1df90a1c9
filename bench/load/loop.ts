import { median, p99 } from "../harness/statistics.js";

export interface LoopOptions {
  readonly inFlight: number;
  readonly ms: number;
  /** Ends the loop early, when there is nothing left to do. */
  readonly maxCalls?: number | undefined;
}

export interface Loaded {
  readonly calls: number;
  readonly seconds: number;
  readonly medianMs: number;
  readonly p99Ms: number;
}

/** Keeps this many operations in flight for so long. The same loop for every side, so that what it costs cancels out. */
export async function loop(operation: (index: number) => Promise<unknown>, options: LoopOptions): Promise<Loaded> {
  const { inFlight, ms, maxCalls = Number.POSITIVE_INFINITY } = options;
  const times: number[] = [];
  let started = 0;
  const begin = performance.now();
  const runner = async (): Promise<void> => {
    while (started < maxCalls) {
      const from = performance.now();
      if (from - begin >= ms) return;
      await operation(started++);
      times.push(performance.now() - from);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, runner));
  const seconds = (performance.now() - begin) / 1_000;
  return { calls: times.length, seconds, medianMs: median(times), p99Ms: p99(times) };
}
