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
