import type { Lag, Work } from "../../store/erasing/work.js";

export interface PurgeLag {
  /** Begins to look; once is enough, more does no harm. */
  start(): void;
  stop(): Promise<void>;
}

export interface PurgeLagDeps {
  readonly work: Work;
  readonly intervalMs: number;
  readonly onLag: (lag: Lag) => void;
}

/**
 * Looks, as often as the purger, how far erasure and expiry are behind. Each process does, whosever turn it is: one that had the turn once and
 * never again would else tell for ever what it saw then. And it does not wait for a pass: one that takes an hour is what lag is about.
 */
export function watchPurgeLag({ work, intervalMs, onLag }: PurgeLagDeps): PurgeLag {
  let timer: NodeJS.Timeout | undefined;
  let looking: Promise<void> | undefined;

  const look = (): void => {
    // While the database is away the last one stands: that it is away has a figure of its own.
    looking ??= work
      .lag()
      .then(onLag, () => {})
      .finally(() => {
        looking = undefined;
      });
  };

  return {
    start() {
      if (timer !== undefined) return;
      look();
      timer = setInterval(look, intervalMs);
    },
    async stop() {
      clearInterval(timer);
      await looking;
    },
  };
}
