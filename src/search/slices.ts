import { setImmediate, setTimeout } from "node:timers/promises";

/** How long work goes on before others have their turn: about as long as a short read takes. */
const SLICE_MS = 3;

/** What others take of a turn when there are any. */
const BUSY_MS = 2;

/** Does work that stops every now and then, in slices between which everything else goes on, and returns what it returns. */
export async function inSlices<T>(work: Generator<void, T, undefined>, signal?: AbortSignal): Promise<T> {
  for (;;) {
    signal?.throwIfAborted();
    const end = performance.now() + SLICE_MS;
    do {
      const step = work.next();
      if (step.done) return step.value;
    } while (performance.now() < end);
    const paused = performance.now();
    await setImmediate();
    // Who is alone need not wait, and who is not gives the others as long as it has taken.
    if (performance.now() - paused > BUSY_MS) await setTimeout(SLICE_MS);
  }
}
