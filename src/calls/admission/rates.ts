/** How many calls a second a project may make. What it has not used it can make up for, up to a second's worth. */
export interface Rates {
  /** Counts a call, if it may be made: the answer is 0 then, else after how many milliseconds it is worth to try again. */
  take(project: string): number;
}

/** Projects that have been quiet for a second have all they can have, and need not be kept in mind. */
const FULL_MS = 1_000;

export function createRates(perSecond: number, now: () => number = () => performance.now()): Rates {
  const buckets = new Map<string, { left: number; at: number }>();
  return {
    take(project) {
      const time = now();
      const { left, at } = buckets.get(project) ?? { left: perSecond, at: time };
      const filled = Math.min(perSecond, left + ((time - at) * perSecond) / 1_000);
      const isAllowed = filled >= 1;
      buckets.delete(project);
      buckets.set(project, { left: isAllowed ? filled - 1 : filled, at: time });
      for (const [other, bucket] of buckets) {
        if (time - bucket.at <= FULL_MS) break;
        buckets.delete(other);
      }
      return isAllowed ? 0 : Math.ceil(((1 - filled) * 1_000) / perSecond);
    },
  };
}
