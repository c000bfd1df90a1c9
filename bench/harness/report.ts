import type { Measured, MeasuredBound, Result } from "./measure.js";
import type { Row } from "./row.js";
import type { Spread } from "./statistics.js";

const COLUMNS = ["name", "unit", "ours", "(min–max)", "baseline", "(min–max)", "ratio", "target", "bound", ""] as const;

export function table(results: readonly Result[], isJudged: boolean): string {
  const lines = [COLUMNS, ...results.map((result) => cells(result, isJudged))];
  const widths = COLUMNS.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  const pad = (line: readonly string[]): string =>
    line
      .map((cell, column) => {
        const width = widths[column] ?? 0;
        // Words to the left, figures to the right.
        return column < 2 || column >= COLUMNS.length - 2 ? cell.padEnd(width) : cell.padStart(width);
      })
      .join("  ")
      .trimEnd();
  const [head = COLUMNS, ...body] = lines;
  return [pad(head), "-".repeat(pad(head).length), ...body.map(pad)].join("\n");
}

function cells(result: Result, isJudged: boolean): string[] {
  const { name, unit } = result.row;
  const target = targetOf(result.row);
  if ("reason" in result) {
    return [name, unit, "–", "", "–", "", "–", target, "", `${result.how}: ${result.reason.split("\n")[0]}`];
  }
  return [
    name,
    unit,
    figure(result.ours.median),
    range(result.ours),
    result.baseline ? figure(result.baseline.median) : "–",
    result.baseline ? range(result.baseline) : "",
    figure(result.ratio),
    target,
    result.bounds.map(boundOf).join(", "),
    isJudged ? verdict(result) : "",
  ];
}

const boundOf = ({ name, ratio, spread }: MeasuredBound): string =>
  `${figure(ratio)} of ${name}'s ${figure(spread.median)}`;

function verdict({ isReached }: Measured): string {
  if (isReached === undefined) return "";
  return isReached ? "reached" : "NOT reached";
}

/** One line a row, for programs. */
export function jsonLine(result: Result): string {
  const { name, unit } = result.row;
  const target = result.row.target ? targetOf(result.row) : null;
  if ("reason" in result) {
    return JSON.stringify({
      ...{ name, ours: null, baseline: null, ratio: null, unit, target, bound: null },
      note: `${result.how}: ${result.reason}`,
    });
  }
  const { ours, baseline, ratio, bounds } = result;
  const [bound = null, ...others] = bounds.map(jsonBound);
  return JSON.stringify({
    name,
    ours: rounded(ours.median),
    baseline: baseline ? rounded(baseline.median) : null,
    ratio: rounded(ratio),
    unit,
    target,
    bound,
    ...(others.length > 0 && { others }),
  });
}

const jsonBound = ({ name, spread, ratio }: MeasuredBound) => ({
  name,
  figure: rounded(spread.median),
  ratio: rounded(ratio),
});

function targetOf({ target }: Row): string {
  if (target === undefined) return "–";
  return "atLeast" in target ? `≥ ${target.atLeast}` : `≤ ${target.atMost}`;
}

const range = ({ min, max }: Spread): string => `${figure(min)}–${figure(max)}`;

/** Three digits that count, or all before the point. */
function figure(value: number): string {
  return rounded(value).toLocaleString("en-US", { maximumFractionDigits: 3 });
}

function rounded(value: number): number {
  return Math.abs(value) >= 100 ? Math.round(value) : Number(value.toPrecision(3));
}
