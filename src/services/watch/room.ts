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
  /** In the order in which they came. */
  const waiting = new Map<Call, { readonly bytes: number; enter(): void }>();
  let taken = 0;
  let timer: NodeJS.Timeout | undefined;

  const isFree = (bytes: number): boolean => taken === 0 || taken + bytes <= maxBytes;

  const hold = (call: Call, bytes: number): void => {
    holders.set(call, { bytes, since: performance.now() });
    taken += bytes;
  };

  const letIn = (): void => {
    for (const [call, { bytes, enter }] of waiting) {
      if (!isFree(bytes)) break;
      waiting.delete(call);
      hold(call, bytes);
      enter();
    }
  };

  const endSlow = (): void => {
    timer = undefined;
    const now = performance.now();
    for (const [call, { since }] of holders) {
      if (now - since < atMostMs || waiting.size === 0) break;
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
    letIn();
  };

  return {
    async take(call, bytes) {
      call.signal.throwIfAborted();
      if (waiting.size === 0 && isFree(bytes)) {
        hold(call, bytes);
        return;
      }
      await new Promise<void>((resolve, reject) => {
        const leave = (): void => {
          waiting.delete(call);
          reject(call.signal.reason);
        };
        const enter = (): void => {
          call.signal.removeEventListener("abort", leave);
          resolve();
        };
        waiting.set(call, { bytes, enter });
        call.signal.addEventListener("abort", leave, { once: true });
        watch();
      });
    },
    give,
  };
}
