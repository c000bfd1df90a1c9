import type { Call } from "../../domain/call.js";
import { watcherTooSlow } from "../../domain/errors.js";
import { MAX_BEHIND_BYTES } from "./watcher.js";

/**
 * What is on its way to all who watch, which they may never take in: its bytes are bounded together. When others need the room, those are
 * ended who have had theirs for long.
 */
export interface Room {
  /** Waits until there is room for the next answer of a call. `give` has to follow when it has been taken in. */
  take(call: Call, bytes: number): Promise<void>;
  give(call: Call): void;
}

export function createRoom({ maxBytes, atMostMs }: { maxBytes: number; atMostMs: number }): Room {
  /** In the order in which they took it. */
  const holders = new Map<Call, { readonly bytes: number; readonly since: number }>();
  const waiting = new Set<() => void>();
  let taken = 0;
  let timer: NodeJS.Timeout | undefined;

  const isFree = (bytes: number): boolean => taken === 0 || taken + bytes <= maxBytes;

  const endSlow = (): void => {
    timer = undefined;
    const now = performance.now();
    for (const [call, { since }] of holders) {
      if (now - since < atMostMs) break;
      give(call);
      call.end?.(watcherTooSlow(MAX_BEHIND_BYTES));
    }
    watch();
  };

  const watch = (): void => {
    const [oldest] = holders.values();
    if (timer !== undefined || waiting.size === 0 || !oldest) return;
    timer = setTimeout(endSlow, Math.max(0, oldest.since + atMostMs - performance.now())).unref();
  };

  const give = (call: Call): void => {
    const held = holders.get(call);
    if (!held) return;
    holders.delete(call);
    taken -= held.bytes;
    for (const look of waiting) look();
  };

  return {
    async take(call, bytes) {
      while (!isFree(bytes)) {
        await new Promise<void>((resolve) => {
          const look = (): void => {
            waiting.delete(look);
            call.signal.removeEventListener("abort", look);
            resolve();
          };
          waiting.add(look);
          call.signal.addEventListener("abort", look, { once: true });
          watch();
        });
        call.signal.throwIfAborted();
      }
      holders.set(call, { bytes, since: performance.now() });
      taken += bytes;
    },
    give,
  };
}
