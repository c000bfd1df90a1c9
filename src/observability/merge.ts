import { type Aggregator, AggregatorRegistry } from "prom-client";
import type { Report } from "./metrics.js";

/**
 * How figures of several processes that serve one address make one figure where that is neither the sum, nor what the metric itself
 * says: prom-client's own takes the average of what it measures of the event loop, which hides the one that hangs.
 */
const AGGREGATORS: Readonly<Record<string, Aggregator>> = {
  process_start_time_seconds: "min",
  process_max_fds: "min",
  nodejs_eventloop_lag_seconds: "max",
  nodejs_eventloop_lag_mean_seconds: "max",
  nodejs_eventloop_lag_stddev_seconds: "max",
  nodejs_eventloop_lag_p50_seconds: "max",
  nodejs_eventloop_lag_p90_seconds: "max",
  nodejs_eventloop_lag_p99_seconds: "max",
};

/** The reports of several processes as one text. */
export function textOfAll(reports: readonly Report[]): Promise<string> {
  const withAggregators = reports.map((report) =>
    report.map((metric) => ({ ...metric, aggregator: AGGREGATORS[metric.name] ?? metric.aggregator })),
  );
  return AggregatorRegistry.aggregate(withAggregators).metrics();
}

/**
 * What stays of reports when their processes are gone: what only ever grows. Without it a sum would go back when a process ends, which
 * Prometheus takes for a restart, and everything that the others have ever counted for new.
 */
export async function remainder(reports: readonly Report[]): Promise<Report> {
  const growing = reports.map((report) => report.filter(({ type }) => GROWING.has(String(type))));
  return AggregatorRegistry.aggregate(growing).getMetricsAsJSON();
}

const GROWING: ReadonlySet<string> = new Set(["counter", "histogram"]);
