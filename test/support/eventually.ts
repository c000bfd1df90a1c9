/**
 * Waits until a condition holds, looking often. The time is for a test that would fail anyway, and far beyond what a slow machine
 * takes: only where it is what is to be shown does a test set one of its own.
 */
export async function eventually<T>(
  what: string,
  look: () => T | Promise<T>,
  withinMs = 120_000,
): Promise<Exclude<T, false | undefined>> {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const found = await look();
    if (found !== false && found !== undefined) return found as Exclude<T, false | undefined>;
    if (Date.now() > deadline) throw new Error(`not within ${withinMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** What a promise gives, and after how many milliseconds. */
export async function timed<T>(promise: Promise<T>): Promise<{ result: T; ms: number }> {
  const started = performance.now();
  const result = await promise;
  return { result, ms: performance.now() - started };
}
