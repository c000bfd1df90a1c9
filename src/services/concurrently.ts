/** Acts on items a few at a time, as they come. Rejects with the first failure, when those under way have settled. */
export async function concurrently<T>(
  items: AsyncIterable<T>,
  limit: number,
  act: (item: T) => Promise<unknown>,
): Promise<void> {
  const underWay = new Set<Promise<void>>();
  let failure: { readonly error: unknown } | undefined;
  try {
    for await (const item of items) {
      if (failure) break;
      const run = act(item)
        .then(
          () => {},
          (error: unknown) => {
            failure ??= { error };
          },
        )
        .finally(() => underWay.delete(run));
      underWay.add(run);
      if (underWay.size >= limit) await Promise.race(underWay);
    }
  } finally {
    await Promise.all(underWay);
  }
  if (failure) throw failure.error;
}

/**
 * The same, but what fails on one item is told and left, unless nothing succeeds any more: it rejects when more have failed one after
 * the other than are under way at a time.
 */
export function leavingFailures<T>(
  items: AsyncIterable<T>,
  limit: number,
  act: (item: T) => Promise<unknown>,
  onFailure: (error: unknown) => void,
): Promise<void> {
  let failuresInARow = 0;
  return concurrently(items, limit, async (item) => {
    try {
      await act(item);
      failuresInARow = 0;
    } catch (error) {
      failuresInARow += 1;
      if (failuresInARow > limit) throw error;
      onFailure(error);
    }
  });
}
