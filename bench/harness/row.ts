import type { Bench } from "../setup/bench.js";

/** One line of the table: how to measure it, and what it should reach. */
export interface Row {
  readonly name: string;
  /** What several rows that are measured at once are asked for by. */
  readonly group?: string;
  readonly unit: string;
  /** Undefined where the row only says how it is. */
  readonly target: Target | undefined;
  /** Rows of one stage share a service and its data, and are measured one after the other. */
  readonly stage: StageName;
  /** Makes the data, and says how to measure each side over them. */
  prepare(bench: Bench): Promise<Sides>;
}

/** In the order in which they are measured. */
export const STAGES = ["calls", "listings", "depth", "cache", "search", "peers"] as const;
export type StageName = (typeof STAGES)[number];

/** What the ratio, or the figure itself where there is nothing to compare it with, should be. */
export type Target = { readonly atLeast: number } | { readonly atMost: number };

/** Measures for about this long and returns the figure, in the row's unit. */
export type Side = (ms: number) => Promise<number>;

export interface Sides {
  readonly ours: Side;
  /** What ours is compared with: the slower of them where there are several, nothing where there is none. */
  readonly baselines: readonly Side[];
  /**
   * What is shown beside; the target is not about it. The first may be a part of the job by itself: doing all of it call by call cannot
   * be quicker.
   */
  readonly bounds?: readonly Bound[];
  /** When a round takes long by itself. */
  readonly maxRounds?: number;
}

export interface Bound {
  /** Of what. */
  readonly name: string;
  readonly side: Side;
}

/** What cannot be measured here, through no fault of ours: the reason goes into the table, and the bench goes on. */
export class Skipped extends Error {
  override readonly name = "Skipped";
}
