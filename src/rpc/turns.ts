/** Lets only so many at a time do something; the others wait for their turn, in order, until they are no longer wanted. */
export interface Turns {
  take<T>(signal: AbortSignal, act: () => Promise<T>): Promise<T>;
}

export function createTurns(atATime: number): Turns {
  const waiting = new Set<() => void>();
  let taken = 0;
  const next = (): void => {
    const [first] = waiting;
    if (!first || taken >= atATime) return;
    waiting.delete(first);
    taken += 1;
    first();
  };
  const turn = (signal: AbortSignal): Promise<void> =>
    new Promise((resolve, reject) => {
      const leave = (): void => {
        waiting.delete(enter);
        reject(signal.reason);
      };
      const enter = (): void => {
        signal.removeEventListener("abort", leave);
        resolve();
      };
      if (signal.aborted) {
        reject(signal.reason);
        return;
      }
      signal.addEventListener("abort", leave, { once: true });
      waiting.add(enter);
      next();
    });
  return {
    async take(signal, act) {
      await turn(signal);
      try {
        return await act();
      } finally {
        taken -= 1;
        next();
      }
    },
  };
}
