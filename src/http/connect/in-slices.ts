import { setImmediate } from "node:timers/promises";

/**
 * Work that can be broken off at each `yield`, done a few milliseconds at a time. A thousand messages take tens of milliseconds to turn
 * into JSON, and meanwhile nobody else would be served.
 */
export async function inSlices<T>(work: Generator<void, T>): Promise<T> {
  let since = performance.now();
  for (;;) {
    const step = work.next();
    if (step.done) return step.value;
    if (performance.now() - since < SLICE_MS) continue;
    await setImmediate();
    since = performance.now();
  }
}

const SLICE_MS = 5;
