import type { Scale } from "../options.js";
import type { Bench } from "../setup/bench.js";
import { type Row, type Side, Skipped, type Target } from "./row.js";
import { type Spread, spreadOf } from "./statistics.js";

export type Result = Measured | Unmeasured;

export interface Measured {
  readonly row: Row;
  readonly ours: Spread;
  readonly baseline: Spread | undefined;
  /** Ours by the baseline's, both medians; ours itself where the row has no baseline. */
  readonly ratio: number;
  readonly bounds: readonly MeasuredBound[];
  /** Undefined where the row has no target. */
  readonly isReached: boolean | undefined;
}

export interface MeasuredBound {
  readonly name: string;
  readonly spread: Spread;
  /** Ours by the bound's, both medians. */
  readonly ratio: number;
}

export interface Unmeasured {
  readonly row: Row;
  readonly how: "skipped" | "failed";
  readonly reason: string;
}

export async function measure(row: Row, bench: Bench): Promise<Result> {
  try {
    return await measured(row, bench);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    if (error instanceof Skipped) return { row, how: "skipped", reason };
    bench.say(error instanceof Error && error.stack !== undefined ? error.stack : reason);
    return { row, how: "failed", reason };
  }
}

async function measured(row: Row, bench: Bench): Promise<Measured> {
  const { target } = row;
  const { ours, baselines, bounds = [], maxRounds } = await row.prepare(bench);
  const sides = [ours, ...baselines, ...bounds.map(({ side }) => side)];
  const [own, ...others] = (await inRounds(sides, { ...bench.scale, maxRounds })).map(spreadOf);
  if (own === undefined) throw new Error("no side was measured");
  // The slower one: of times that is the longer, and of speeds the lower.
  const isTime = target !== undefined && "atMost" in target;
  const slowestFirst = others
    .slice(0, baselines.length)
    .sort((a, b) => (isTime ? b.median - a.median : a.median - b.median));
  const baseline = slowestFirst[0];
  const ratio = baseline === undefined ? own.median : own.median / baseline.median;
  const besides = others.slice(baselines.length);
  return {
    ...{ row, ours: own, baseline, ratio },
    bounds: besides.map((spread, index) => ({
      name: bounds[index]?.name ?? "",
      spread,
      ratio: own.median / spread.median,
    })),
    isReached: target && reaches(ratio, target),
  };
}

/**
 * One side after the other in every round: what else the machine does, and what heats it up, meets all of them alike. A first
 * round that is shorter warms up code, caches and connections and is not counted.
 */
async function inRounds(
  sides: readonly Side[],
  { rounds, roundMs, warmMs, maxRounds = rounds }: Scale & { maxRounds: number | undefined },
): Promise<number[][]> {
  for (const side of sides) await side(warmMs);
  const figures = sides.map((): number[] => []);
  for (let round = 0; round < Math.min(rounds, maxRounds); round++) {
    for (const [index, side] of sides.entries()) figures[index]?.push(await side(roundMs));
  }
  return figures;
}

function reaches(ratio: number, target: Target): boolean {
  return "atLeast" in target ? ratio >= target.atLeast : ratio <= target.atMost;
}
