import { Counter, Gauge, type MetricObjectWithValues, type MetricValue, Registry } from "prom-client";
import { QuickHistogram } from "./histogram.js";

/**
 * What operators look at, as Prometheus wants it. What happens at every call is counted in plain numbers and handed over when somebody
 * asks; so are figures that stand elsewhere anyway. Values of labels are few and known from the start: never ids, projects or users.
 */
export interface Metrics {
  /** Says which methods there are; all calls of others are counted as one. */
  knows(methods: readonly Method[]): void;
  readonly calls: CallRecorder;
  readonly store: StoreRecorder;
  readonly embeddings: EmbeddingsRecorder;
  readonly watching: WatchingRecorder;
  databaseIs(state: "reachable" | "unreachable"): void;
  /** In milliseconds. */
  lagIs(lag: { readonly purge: number; readonly expiry: number }): void;
  /** A session has been deleted because its moment had come. */
  sessionExpired(): void;
  /** In Prometheus' text format. */
  text(): Promise<string>;
  /** For putting together with those of other processes, see {@link textOfAll}. */
  report(): Promise<Report>;
}

export interface Method {
  readonly path: string;
  readonly streams: boolean;
}

/** A path is that of a method in the HTTP/2 sense, `/package.Service/Method`, whether there is such a method or not. */
export interface CallRecorder {
  began(path: string): void;
  /** `code` is the name of a gRPC status. */
  ended(path: string, code: string, seconds: number): void;
  /** One that neither began nor ends. */
  refused(path: string, error: Refusal & { readonly code: string }): void;
}

/** What a caller is told: one of the reasons of the API, and what there was too much of. */
interface Refusal {
  readonly reason: string;
  readonly metadata: { readonly limited?: string };
}

export interface StoreRecorder {
  groupEnded(kind: (typeof GROUPS)[number], calls: number, seconds: number): void;
  cacheAsked(of: (typeof CACHES)[number], outcome: (typeof OUTCOMES)[number], times: number): void;
  erased(kind: (typeof ERASED)[number], count: number): void;
}

export interface EmbeddingsRecorder {
  lagIs(ms: number): void;
  embedded(messages: number): void;
  failed(failure: (typeof EMBEDDINGS_FAILURES)[number]): void;
}

export interface WatchingRecorder {
  /** Events have been told, the last of them so many seconds after its commit. */
  told(events: number, seconds: number): void;
  ended(reason: (typeof WATCH_ENDS)[number]): void;
}

/** The type of the text. */
export const CONTENT_TYPE: string = Registry.PROMETHEUS_CONTENT_TYPE;

export type Report = readonly MetricObjectWithValues<MetricValue<string>>[];

export interface MetricsOptions {
  readonly version: string;
  /** Asked for at each look. */
  readonly figures: () => Figures;
  /** Figures of the process, see process-metrics.ts, where it serves nothing else. */
  readonly process?: Registry | undefined;
}

export interface Figures {
  readonly requestBytes: number;
  readonly cache: { readonly sessions: number; readonly bytes: number };
  /** Of the indexes that are kept for searches. */
  readonly searchIndexBytes: number;
  readonly watchers: { readonly atHead: number; readonly catchingUp: number };
}

const GROUPS = ["commit", "memory_read", "session_read", "search"] as const;
const CACHES = ["memory", "state", "index"] as const;
const OUTCOMES = ["hit", "partial", "stale", "miss"] as const;
const ERASED = ["sessions", "messages", "users"] as const;
const EMBEDDINGS_FAILURES = ["unreachable", "slow", "busy", "failing", "denied", "refused", "wrong answer"] as const;
const WATCH_ENDS = ["too slow", "expired"] as const;
/** What callers are most often told; other refusals appear when they happen. */
const REFUSALS: readonly Refusal[] = [
  ...["calls", "streams", "watchers", "request bytes"].map((limited) => ({
    reason: "OVERLOADED",
    metadata: { limited },
  })),
  { reason: "RATE_LIMITED", metadata: {} },
  { reason: "UNAUTHENTICATED", metadata: {} },
  { reason: "PERMISSION_DENIED", metadata: {} },
];
const KINDS = ["calls", "streams"] as const;

/** What calls of paths that are no method's are counted as: anybody can make up as many as they like. */
const UNKNOWN = "unknown";

const CALL_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
/** Streams last as long as their readers take. */
const STREAM_SECONDS = [0.01, 0.1, 1, 10, 60, 300, 1800];
const GROUP_SIZES = [1, 2, 4, 8, 16, 32, 64, 128];

export function createMetrics({ version, figures, process }: MetricsOptions): Metrics {
  const own = new Registry();
  const registers = [own];

  const gauge = (name: string, help: string, more: Partial<ConstructorParameters<typeof Gauge>[0]> = {}) =>
    new Gauge({ name, help, registers, ...more });

  gauge("sessions_build_info", "Always 1, with the version of the service.", {
    labelNames: ["version"],
    aggregator: "first",
  }).set({ version }, 1);

  const databaseReachable = gauge("sessions_database_reachable", "1 while the database answers, else 0.", {
    aggregator: "min",
  });
  const purgeLag = gauge(
    "sessions_purge_lag_seconds",
    "For how long the oldest session, user or message has been due for erasure that is not erased yet; 0 if none is.",
    { aggregator: "max" },
  );
  const expiryLag = gauge(
    "sessions_expiry_lag_seconds",
    "For how long the oldest session has been due to expire that is not deleted yet; 0 if none is.",
    { aggregator: "max" },
  );
  gauge("sessions_request_in_flight_bytes", "Bytes of the requests of all calls in flight.", {
    collect() {
      this.set(figures().requestBytes);
    },
  });
  gauge("sessions_cache_bytes", "What the messages take that are kept to answer GetMemory.", {
    collect() {
      this.set(figures().cache.bytes);
    },
  });
  gauge("sessions_search_index_bytes", "What the indexes take that are kept for searches.", {
    collect() {
      this.set(figures().searchIndexBytes);
    },
  });
  gauge("sessions_cache_sessions", "Sessions of which something is kept in memory.", {
    collect() {
      this.set(figures().cache.sessions);
    },
  });

  const expired = counter(own, {
    name: "sessions_expired_total",
    help: "Sessions that this process has deleted because they had expired.",
    labelNames: [],
  })({});
  gauge("sessions_watchers", "Those who watch, at the head of what happens or on their way there.", {
    labelNames: ["place"],
    collect() {
      this.set({ place: "head" }, figures().watchers.atHead);
      this.set({ place: "catching up" }, figures().watchers.catchingUp);
    },
  });

  const { knows, ...calls } = callRecorder(own);
  const store = storeRecorder(own);
  const embeddings = embeddingsRecorder(own);
  const watching = watchingRecorder(own);
  // Of what is in them now.
  const registry = process ? Registry.merge([own, process]) : own;
  return {
    knows,
    calls,
    store,
    embeddings,
    watching,
    databaseIs: (state) => databaseReachable.set(state === "reachable" ? 1 : 0),
    lagIs({ purge, expiry }) {
      purgeLag.set(purge / 1000);
      expiryLag.set(expiry / 1000);
    },
    sessionExpired() {
      expired.value += 1;
    },
    text: () => registry.metrics(),
    report: () => registry.getMetricsAsJSON(),
  };
}

function callRecorder(registry: Registry): CallRecorder & Pick<Metrics, "knows"> {
  const count = counter(registry, {
    name: "sessions_calls_total",
    help: "Calls that have been answered, refusals among them, by method and gRPC code.",
    labelNames: ["method", "code"],
  });
  const durations = {
    calls: new QuickHistogram({
      name: "sessions_call_duration_seconds",
      help: "How long calls took, streams aside.",
      label: "method",
      buckets: CALL_SECONDS,
      registry,
    }),
    streams: new QuickHistogram({
      name: "sessions_stream_duration_seconds",
      help: "How long streams took, readers included.",
      label: "method",
      buckets: STREAM_SECONDS,
      registry,
    }),
  };
  const countRefused = counter(registry, {
    name: "sessions_calls_refused_total",
    help: "Calls that were turned away before anything was done for them, by the reason that their callers were told.",
    labelNames: ["reason", "limited"],
  });

  const inFlight = { calls: 0, streams: 0 };
  new Gauge({
    name: "sessions_calls_in_flight",
    help: "Calls and streams in flight.",
    labelNames: ["kind"],
    registers: [registry],
    collect() {
      for (const kind of KINDS) this.set({ kind }, inFlight[kind]);
    },
  });

  const figuresOf = (method: string, kind: (typeof KINDS)[number]) => ({
    kind,
    method,
    byCode: new Map([["OK", count({ method, code: "OK" })]]),
    duration: durations[kind].series({ method }),
  });
  const unknown = figuresOf(UNKNOWN, "calls");
  const byPath = new Map<string, typeof unknown>();
  const refused = new Map<string, Count>();
  const countRefusal = ({ reason, metadata: { limited = "" } }: Refusal, times: number): void => {
    const key = `${reason} ${limited}`;
    const counted = refused.get(key) ?? countRefused({ reason, limited });
    refused.set(key, counted);
    counted.value += times;
  };
  for (const refusal of REFUSALS) countRefusal(refusal, 0);

  const countCode = ({ method, byCode }: typeof unknown, code: string): void => {
    let counted = byCode.get(code);
    if (!counted) {
      counted = count({ method, code });
      byCode.set(code, counted);
    }
    counted.value += 1;
  };

  return {
    knows(methods) {
      for (const { path, streams } of methods) {
        if (!byPath.has(path)) byPath.set(path, figuresOf(path.slice(1), streams ? "streams" : "calls"));
      }
    },
    began(path) {
      inFlight[(byPath.get(path) ?? unknown).kind] += 1;
    },
    ended(path, code, seconds) {
      const figures = byPath.get(path) ?? unknown;
      inFlight[figures.kind] -= 1;
      countCode(figures, code);
      figures.duration.observe(seconds);
    },
    refused(path, error) {
      countCode(byPath.get(path) ?? unknown, error.code);
      countRefusal(error, 1);
    },
  };
}

function storeRecorder(registry: Registry): StoreRecorder {
  const size = new QuickHistogram({
    name: "sessions_group_calls",
    help: "How many calls went to the database together.",
    label: "kind",
    buckets: GROUP_SIZES,
    registry,
  });
  const duration = new QuickHistogram({
    name: "sessions_group_duration_seconds",
    help: "How long calls that went together were at the database.",
    label: "kind",
    buckets: CALL_SECONDS,
    registry,
  });
  const countAsked = counter(registry, {
    name: "sessions_cache_requests_total",
    help: "What was kept when it was wanted: of a session its newest messages or its state, of a scope its index for searches.",
    labelNames: ["cache", "outcome"],
  });
  const countErased = counter(registry, {
    name: "sessions_purged_total",
    help: "What this service has erased; what the database's TTL indexes erase is not in it.",
    labelNames: ["kind"],
  });

  const groups = forEach(GROUPS, (kind) => ({ size: size.series({ kind }), duration: duration.series({ kind }) }));
  const asked = forEach(CACHES, (cache) => forEach(OUTCOMES, (outcome) => countAsked({ cache, outcome })));
  const erased = forEach(ERASED, (kind) => countErased({ kind }));
  return {
    groupEnded(kind, calls, seconds) {
      groups[kind].size.observe(calls);
      groups[kind].duration.observe(seconds);
    },
    cacheAsked(cache, outcome, times) {
      asked[cache][outcome].value += times;
    },
    erased(kind, count) {
      erased[kind].value += count;
    },
  };
}

function embeddingsRecorder(registry: Registry): EmbeddingsRecorder {
  const lag = new Gauge({
    name: "sessions_embeddings_lag_seconds",
    help: "For how long the oldest message has been waiting that is not embedded yet; 0 if none is, or none is to be.",
    aggregator: "max",
    registers: [registry],
  });
  const countEmbedded = counter(registry, {
    name: "sessions_embedded_messages_total",
    help: "Messages that this process has embedded.",
    labelNames: [],
  })({});
  const countFailures = counter(registry, {
    name: "sessions_embeddings_failures_total",
    help: "Failures of the embeddings endpoint, for messages and for what is looked for, by what it did.",
    labelNames: ["failure"],
  });
  const failures = forEach(EMBEDDINGS_FAILURES, (failure) => countFailures({ failure }));
  return {
    lagIs: (ms) => lag.set(ms / 1000),
    embedded(messages) {
      countEmbedded.value += messages;
    },
    failed(failure) {
      failures[failure].value += 1;
    },
  };
}

function watchingRecorder(registry: Registry): WatchingRecorder {
  const delay = new QuickHistogram({
    name: "sessions_watch_delay_seconds",
    help: "How long after their commit changes were told to those who watch.",
    label: "place",
    buckets: CALL_SECONDS,
    registry,
  }).series({ place: "head" });
  const countTold = counter(registry, {
    name: "sessions_watch_events_total",
    help: "Events that were told at the head, each once, however many watch.",
    labelNames: [],
  })({});
  const countEnded = counter(registry, {
    name: "sessions_watchers_ended_total",
    help: "Watchers that were ended: they did not keep up, or what has happened could not be told in full any more.",
    labelNames: ["reason"],
  });
  const ended = forEach(WATCH_ENDS, (reason) => countEnded({ reason }));
  return {
    told(events, seconds) {
      countTold.value += events;
      delay.observe(seconds);
    },
    ended(reason) {
      ended[reason].value += 1;
    },
  };
}

interface Count {
  value: number;
}

/** A counter whose series are plain numbers until somebody looks: to count is to add one. */
function counter(
  registry: Registry,
  options: { name: string; help: string; labelNames: readonly string[] },
): (labels: Readonly<Record<string, string>>) => Count {
  const series: { readonly labels: Readonly<Record<string, string>>; value: number }[] = [];
  new Counter({
    ...options,
    registers: [registry],
    collect() {
      this.reset();
      for (const { labels, value } of series) this.inc(labels, value);
    },
  });
  return (labels) => {
    const count = { labels, value: 0 };
    series.push(count);
    return count;
  };
}

function forEach<K extends string, V>(keys: readonly K[], make: (key: K) => V): Record<K, V> {
  return Object.fromEntries(keys.map((key) => [key, make(key)])) as Record<K, V>;
}
