import { setImmediate } from "node:timers/promises";

/** How long work goes on before others have their turn: about as long as a short read takes. */
const SLICE_MS = 3;

/** Does work that stops every now and then, in slices between which everything else goes on, and returns what it returns. */
export async function inSlices<T>(work: Generator<void, T, undefined>, signal?: AbortSignal): Promise<T> {
  for (;;) {
    signal?.throwIfAborted();
    const end = performance.now() + SLICE_MS;
    do {
      const step = work.next();
      if (step.done) return step.value;
    } while (performance.now() < end);
    await setImmediate();
  }
}
