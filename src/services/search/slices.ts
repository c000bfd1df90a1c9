import { setImmediate as nextTurn } from "node:timers/promises";

/** Lets long work be done a few milliseconds at a time, with everybody else's in between. */
export interface Slices {
  /** Does all of it. Rejects with the signal's reason when it is not wanted any more. */
  run<T>(work: Generator<void, T>): Promise<T>;
}

/** How long nobody else gets a turn: about as long as a short read takes. */
const SLICE_MS = 3;

export function createSlices(signal: AbortSignal): Slices {
  return {
    async run(work) {
      let started = performance.now();
      for (;;) {
        const { done, value } = work.next();
        if (done) return value;
        if (performance.now() - started < SLICE_MS) continue;
        await nextTurn();
        signal.throwIfAborted();
        started = performance.now();
      }
    },
  };
}
