import type { Side } from "../harness/row.js";
import type { Loaded, LoopOptions } from "../load/loop.js";
import type { Stage } from "../setup/stage.js";

/** Sides that most rows are made of. */

/** How many calls at a time, where a row does not say otherwise. */
export const MANY = 64;

/** Our service under load: requests in turn, so many in flight. */
export async function serviceSpeed(stage: Stage, options: ServiceLoad): Promise<Side> {
  const { path, requests, inFlight = MANY, itemsACall = 1 } = options;
  const load = await stage.generator.call("load", path, requests);
  return async (ms) => speed(await stage.generator.call("run", load, { inFlight, ms }), itemsACall);
}

export interface ServiceLoad {
  readonly path: string;
  readonly requests: readonly Uint8Array[];
  readonly inFlight?: number;
  /** What one call counts for. */
  readonly itemsACall?: number;
}

/** How long one call takes when there is no other: the median, in milliseconds. */
export async function serviceLatency(
  { generator }: Stage,
  path: string,
  requests: readonly Uint8Array[],
): Promise<Side> {
  const load = await generator.call("load", path, requests);
  return async (ms) => (await generator.call("run", load, { inFlight: 1, ms })).medianMs;
}

/** The same for something else under the same load. */
export function speedOf(
  run: (options: LoopOptions) => Promise<Loaded>,
  { inFlight = MANY, itemsACall = 1 }: Pick<ServiceLoad, "inFlight" | "itemsACall"> = {},
): Side {
  return async (ms) => speed(await run({ inFlight, ms }), itemsACall);
}

function speed({ calls, seconds }: Loaded, itemsACall: number): number {
  return (calls * itemsACall) / seconds;
}

/** That an answer has as many items as the baseline's: fewer would be quick. */
export async function expectItems(
  { generator }: Stage,
  { path, requests }: Pick<ServiceLoad, "path" | "requests">,
  count: number,
): Promise<void> {
  for (const request of requests.slice(0, 3)) {
    const { items } = await generator.call("list", path, request);
    if (items !== count) throw new Error(`${path} answered ${items} items, not ${count}`);
  }
}
