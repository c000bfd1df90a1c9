import { setTimeout as sleep } from "node:timers/promises";
import { type Api, failure } from "../../support/api.js";

/** How one call ended: with its answer, with a reason against it, or nobody knows whether it took effect. */
export type Outcome<T> = { readonly answer: T } | { readonly refused: string } | { readonly unknown: string };

/** What a load has done so far. */
export interface Tally {
  tried: number;
  acknowledged: number;
  unknown: number;
  readonly violations: string[];
  /** The longest that one change had to be repeated until its outcome was known, in milliseconds. */
  longestMs: number;
}

export function createTally(): Tally {
  return { tried: 0, acknowledged: 0, unknown: 0, violations: [], longestMs: 0 };
}

/** The codes after which a caller does not know what has happened, or knows that nothing has and it may try again. */
const UNKNOWN = new Set(["UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"]);

export async function attempt<T>(tally: Tally, call: Promise<T>): Promise<Outcome<T>> {
  tally.tried += 1;
  try {
    const answer = await call;
    tally.acknowledged += 1;
    return { answer };
  } catch {
    const { code, reason, message } = await failure(call);
    if (UNKNOWN.has(code)) {
      tally.unknown += 1;
      return { unknown: code };
    }
    if (reason === "") return { refused: `${code} without a reason: ${message}` };
    tally.acknowledged += 1;
    return { refused: reason };
  }
}

/** Longer than all faults of a test together last. */
const PATIENCE_MS = 120_000;

/** Repeats a call, at any of the services, until its outcome is known. */
export async function insist<T>(
  tally: Tally,
  anyService: () => Promise<Api>,
  what: string,
  call: (api: Api) => Promise<T>,
): Promise<({ readonly answer: T } | { readonly refused: string }) & { readonly isRepeated: boolean }> {
  const began = performance.now();
  for (let isRepeated = false; ; isRepeated = true) {
    const outcome = await attempt(tally, call(await anyService()));
    const ms = performance.now() - began;
    tally.longestMs = Math.max(tally.longestMs, Math.round(ms));
    if (!("unknown" in outcome)) return { ...outcome, isRepeated };
    if (ms > PATIENCE_MS) throw new Error(`${what} did not come through within ${PATIENCE_MS} ms`);
    await sleep(50);
  }
}
