import type { Address } from "../calls/door.js";
import { MAX_IDLE_TTL_MS } from "../domain/limits.js";
import type { EndpointSettings } from "../embeddings/endpoint.js";
import { uriFault } from "../store/database.js";
import type { TlsFiles } from "../tls/files.js";
import { type AuthSettings, readAuth } from "./auth.js";
import { readEmbeddings } from "./embeddings.js";
import { readTlsFiles } from "./tls.js";
import { wantsTraces } from "./traces.js";

/** The service's settings, all out of the environment and fixed from the start. */
export interface Config {
  /** The replica set or sharded cluster to use; undefined for a local MongoDB. */
  readonly mongodbUri: string | undefined;
  readonly mongodbDatabase: string;
  /** Where the local MongoDB keeps its files. */
  readonly dataDir: string;
  readonly grpcListen: Address;
  /** Undefined: there is no HTTP side. */
  readonly httpListen: Address | undefined;
  /** Whether the HTTP side has the legacy API. */
  readonly zepApi: boolean;
  /** Whose web pages may call the HTTP side: those of these origins, or anybody's. */
  readonly corsOrigins: "*" | readonly string[];
  /** Undefined: no encryption. */
  readonly tls: TlsFiles | undefined;
  /** How long deleted things stay restorable. */
  readonly retentionMs: number;
  readonly purgeIntervalMs: number;
  /** After which time without an addition new sessions expire that say nothing; undefined: never. */
  readonly defaultIdleTtlMs: number | undefined;
  /** How many messages GetMemory returns when it is not told. */
  readonly memoryWindow: number;
  /** What the memories that one process keeps may take. */
  readonly cacheBytes: number;
  /** What the search indexes that one process keeps may take. */
  readonly searchCacheBytes: number;
  readonly shutdownGraceMs: number;
  /** How many processes serve the one address. */
  readonly workers: number;
  /** What one process takes on at a time; more is refused with OVERLOADED. */
  readonly maxCalls: number;
  readonly maxStreams: number;
  readonly maxWatchers: number;
  readonly maxRequestBytes: number;
  /** How many calls a second one project may make of one process; undefined for as many as it likes. */
  readonly projectRate: number | undefined;
  /** What turns texts into vectors; undefined where nothing does. */
  readonly embeddings: EndpointSettings | undefined;
  /** Responses of so many bytes or more are compressed for those who take them so; undefined for none. */
  readonly compressAbove: number | undefined;
  /** Who may call; undefined for whoever reaches the service. */
  readonly auth: AuthSettings | undefined;
  readonly logLevel: LogLevel;
  readonly logFormat: "pretty" | "json";
  /** Whether OpenTelemetry is to be set up, by its own variables. */
  readonly traces: boolean;
}

export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Every mistake in the environment, a line each. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly mistakes: readonly string[];

  constructor(mistakes: readonly string[]) {
    super(mistakes.join("\n"));
    this.mistakes = mistakes;
  }
}

/** Reads the whole environment before it complains. Throws a ConfigError with every mistake. */
export function readConfig(env: Readonly<Record<string, string | undefined>>, isTerminal: boolean): Config {
  const mistakes: string[] = [];
  const read = <T>(name: string, fallback: string, parse: (text: string) => T): T => {
    const text = env[name] ?? fallback;
    try {
      return parse(text);
    } catch (error) {
      // A URI may hold a password.
      const shown = URIS.has(name) ? name : `${name}=${JSON.stringify(text)}`;
      mistakes.push(`${shown}: ${(error as Error).message}`);
      return undefined as T;
    }
  };

  const grpcListen = read("SESSIONS_GRPC_LISTEN", "127.0.0.1:50051", address);
  const httpListen = read("SESSIONS_HTTP_LISTEN", "127.0.0.1:8080", (text) =>
    text === "" ? undefined : address(text),
  );
  const hosts = [grpcListen, httpListen].flatMap((listen) => listen?.host ?? []);
  const config: Config = {
    mongodbUri: read("MONGODB_URI", "", mongodbUri),
    mongodbDatabase: read("MONGODB_DATABASE", "sessions", databaseName),
    dataDir: read("SESSIONS_DATA_DIR", ".data", nonEmpty),
    grpcListen,
    httpListen,
    zepApi: read("SESSIONS_ZEP_API", "true", oneOf(["true", "false"])) === "true",
    corsOrigins: read("SESSIONS_CORS_ORIGINS", "", origins),
    tls: readTlsFiles(env, mistakes),
    retentionMs: read("SESSIONS_RETENTION", "30d", duration(0, MAX_DURATION_MS)),
    purgeIntervalMs: read("SESSIONS_PURGE_INTERVAL", "60s", duration(100, MAX_TIMER_MS)),
    defaultIdleTtlMs: read("SESSIONS_DEFAULT_IDLE_TTL", "", (text) =>
      text === "" ? undefined : duration(1, MAX_IDLE_TTL_MS)(text),
    ),
    memoryWindow: read("SESSIONS_MEMORY_WINDOW", "50", wholeNumber(1, 1000)),
    cacheBytes: read("SESSIONS_CACHE_MIB", "64", wholeNumber(0, 1_000_000)) * MIB,
    searchCacheBytes: read("SESSIONS_SEARCH_CACHE_MIB", "128", wholeNumber(1, 1_000_000)) * MIB,
    shutdownGraceMs: read("SESSIONS_SHUTDOWN_GRACE", "10s", duration(0, MAX_TIMER_MS)),
    workers: read("SESSIONS_WORKERS", "1", wholeNumber(1, 256)),
    maxCalls: read("SESSIONS_MAX_CALLS", "1000", wholeNumber(1, 1_000_000)),
    maxStreams: read("SESSIONS_MAX_STREAMS", "1000", wholeNumber(1, 1_000_000)),
    maxWatchers: read("SESSIONS_MAX_WATCHERS", "2000", wholeNumber(1, 1_000_000)),
    // Less would refuse a single request of the size that is allowed.
    maxRequestBytes: read("SESSIONS_MAX_REQUEST_MIB", "256", wholeNumber(16, 1_000_000)) * MIB,
    projectRate: read("SESSIONS_PROJECT_RATE", "", (text) =>
      text === "" ? undefined : wholeNumber(1, 1_000_000)(text),
    ),
    embeddings: readEmbeddings(env, read, mistakes),
    compressAbove: read("SESSIONS_COMPRESS_ABOVE", "", (text) =>
      text === "" ? undefined : wholeNumber(0, 100_000_000)(text),
    ),
    auth: readAuth(env, hosts, read, mistakes),
    logLevel: read("SESSIONS_LOG_LEVEL", "info", oneOf(LOG_LEVELS)),
    logFormat: read("SESSIONS_LOG_FORMAT", isTerminal ? "pretty" : "json", oneOf(["pretty", "json"] as const)),
    traces: wantsTraces(env),
  };
  if (env.NODE_ENV === "production" && !env.MONGODB_URI) {
    mistakes.push("MONGODB_URI: required with NODE_ENV=production, where no local MongoDB is started.");
  }
  if (mistakes.length > 0) throw new ConfigError(mistakes);
  return Object.freeze(config);
}

const MIB = 1024 * 1024;

const URIS: ReadonlySet<string> = new Set(["MONGODB_URI", "SESSIONS_JWKS_URL", "SESSIONS_EMBEDDINGS_URL"]);

const UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** About 100 years: times further away are a mistake, and soon no valid dates any more. */
const MAX_DURATION_MS = 36_500 * UNITS.d;

/** Node's timers take any longer time for none at all. */
const MAX_TIMER_MS = 24 * UNITS.d;

function duration(atLeastMs: number, atMostMs: number): (text: string) => number {
  return (text) => {
    const [, amount, unit] = /^(\d+)(ms|s|m|h|d)$/.exec(text) ?? [];
    if (!amount || !unit) throw new Error("a duration is a whole number and one of ms, s, m, h, d, such as 30d.");
    const ms = Number(amount) * UNITS[unit as keyof typeof UNITS];
    if (ms < atLeastMs) throw new Error(`at least ${atLeastMs}ms.`);
    if (ms > atMostMs) throw new Error(`at most ${atMostMs / UNITS.d}d.`);
    return ms;
  };
}

function address(text: string): Address {
  const [, host, port] = /^(\[[0-9a-fA-F:.]+\]|[^:[\]\s]+):(\d{1,5})$/.exec(text) ?? [];
  if (!host || !port || Number(port) > 65_535) throw new Error("an address is host:port, such as 127.0.0.1:50051.");
  return { host, port: Number(port) };
}

function origins(text: string): "*" | readonly string[] {
  if (text === "*") return "*";
  const all = text === "" ? [] : text.split(",").map((part) => part.trim());
  const wrong = all.find((part) => !isOrigin(part));
  if (wrong === undefined) return all;
  throw new Error(
    `${JSON.stringify(wrong)} is no origin: https://app.example.com,http://localhost:3000, say, or * for all.`,
  );
}

/** As browsers send it: what is written in another way would never be the same. */
function isOrigin(text: string): boolean {
  return /^https?:[^*]*$/.test(text) && URL.canParse(text) && new URL(text).origin === text;
}

function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max)) throw new Error(`a whole number from ${min} to ${max}.`);
    return value;
  };
}

function oneOf<T extends string>(values: readonly T[]): (text: string) => T {
  return (text) => {
    if (!values.includes(text as T)) throw new Error(`one of ${values.join(", ")}.`);
    return text as T;
  };
}

function nonEmpty(text: string): string {
  if (text === "") throw new Error("must not be empty.");
  return text;
}

function mongodbUri(text: string): string | undefined {
  if (text === "") return undefined;
  if (!/^mongodb(\+srv)?:\/\/\S+$/.test(text))
    throw new Error("a MongoDB URI begins with mongodb:// or mongodb+srv://.");
  const fault = uriFault(text);
  if (fault) throw new Error(fault);
  return text;
}

/** What MongoDB allows on every platform, but for its own databases. */
function databaseName(text: string): string {
  if (!/^[^/\\. "$*<>:|?\0]+$/.test(text) || Buffer.byteLength(text) > 63) {
    throw new Error('1 to 63 bytes without any of /\\. "$*<>:|?');
  }
  if (["admin", "config", "local"].includes(text)) throw new Error("a database of MongoDB's own: choose another name.");
  return text;
}
