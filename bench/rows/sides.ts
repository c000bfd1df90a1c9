import type { Side } from "../harness/row.js";
import type { Step } from "../load/generator.js";
import type { Loaded, LoopOptions } from "../load/loop.js";
import type { Poster } from "../load/poster.js";
import { startChild } from "../setup/child.js";
import type { Stage } from "../setup/stage.js";

/** Sides that most rows are made of. */

/** How many calls at a time, where a row does not say otherwise. */
export const MANY = 64;

/** Who puts load on a service. */
export type Loading = Pick<Stage, "generator">;

/** A service under load: requests in turn, so many in flight. */
export function serviceSpeed(loading: Loading, { path, requests, ...measured }: ServiceLoad): Promise<Side> {
  return stepsSpeed(loading, [{ path, requests }], measured);
}

/** The same where several calls, one after the other, count as one. */
export async function stepsSpeed({ generator }: Loading, steps: readonly Step[], measured: Measuring): Promise<Side> {
  const load = await generator.call("load", ...steps);
  return speedOf((options) => generator.call("run", load, options), measured);
}

/** The same over HTTP, with as many connections, each kept: requests as they go over the wire, see http1.ts. */
export async function postingSpeed(stage: Stage, address: string, requests: readonly Uint8Array[]): Promise<Side> {
  const poster = startChild<Poster>("poster");
  stage.onStop(poster.stop);
  await poster.call("load", address, MANY, requests);
  return speedOf((options) => poster.call("run", options));
}

export interface ServiceLoad extends Step, Measuring {}

export interface Measuring {
  readonly inFlight?: number;
  /** What one call counts for. */
  readonly itemsACall?: number;
}

/** How long one call takes when there is no other: the median, in milliseconds. */
export async function serviceLatency(
  { generator }: Loading,
  path: string,
  requests: readonly Uint8Array[],
): Promise<Side> {
  const load = await generator.call("load", { path, requests });
  return async (ms) => (await generator.call("run", load, { inFlight: 1, ms })).medianMs;
}

/** The same for something else under the same load. */
export function speedOf(
  run: (options: LoopOptions) => Promise<Loaded>,
  { inFlight = MANY, itemsACall = 1 }: Measuring = {},
): Side {
  return async (ms) => {
    const { calls, seconds } = await run({ inFlight, ms });
    return (calls * itemsACall) / seconds;
  };
}

/** That each answer has as many items as the baseline's: fewer would be quick. And what was asked for is known from then on. */
export async function expectItems({ generator }: Loading, { path, requests }: Step, count: number): Promise<void> {
  for (const request of requests) {
    const { items } = await generator.call("list", path, request);
    if (items !== count) throw new Error(`${path} answered ${items} items, not ${count}`);
  }
}
