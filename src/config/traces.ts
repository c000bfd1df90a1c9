/** The variables of OpenTelemetry that say that traces are wanted: each says where they are to go. */
const DESTINATIONS = ["OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/**
 * Whether calls are to be traced. All else about it is for the SDK to read. Other variables of its alone do not mean it: they are often given
 * to every process of a cluster, and those for metrics and logs do not concern traces.
 */
export function wantsTraces(env: Readonly<Record<string, string | undefined>>): boolean {
  const isOff =
    env.OTEL_SDK_DISABLED?.trim().toLowerCase() === "true" || env.OTEL_TRACES_EXPORTER?.trim().toLowerCase() === "none";
  return !isOff && DESTINATIONS.some((name) => env[name]?.trim());
}
