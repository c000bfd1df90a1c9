import { writeSync } from "node:fs";

/** What a fault test did, in figures: what it tried, what was acknowledged, what it broke, what it found. */
export interface Figures {
  readonly tried: number;
  readonly acknowledged: number;
  readonly faults: number;
  /** What was found to be wrong. Shown as their number; the test that reports them lists them when it fails. */
  readonly violations: readonly unknown[];
  readonly [other: string]: unknown;
}

/** One line a test, straight to the run's output: vitest would put a heading above what goes through the console. */
export function report(name: string, figures: Figures): void {
  const parts = Object.entries(figures).map(([key, value]) => `${key}=${Array.isArray(value) ? value.length : value}`);
  writeSync(1, `faults: ${name}: ${parts.join(", ")}\n`);
}
