import { describe, expect, it } from "vitest";
import { type Config, ConfigError, readConfig } from "../src/config.js";

type Environment = Record<string, string | undefined>;

const read = (env: Environment, isTerminal = false): Config => readConfig(env, isTerminal);

function mistakes(env: Environment): readonly string[] {
  try {
    read(env);
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    return (error as ConfigError).mistakes;
  }
  return [];
}

const SECOND = 1_000;
const MIB = 1024 * 1024;
const DAY = 86_400 * SECOND;

it("starts with nothing set: a local MongoDB, reachable from this machine only", () => {
  expect(read({})).toEqual({
    mongodbUri: undefined,
    mongodbDatabase: "sessions",
    dataDir: ".data",
    grpcListen: { host: "127.0.0.1", port: 50051 },
    httpListen: { host: "127.0.0.1", port: 8080 },
    retentionMs: 30 * DAY,
    purgeIntervalMs: 60 * SECOND,
    memoryWindow: 50,
    cacheBytes: 67_108_864,
    shutdownGraceMs: 10 * SECOND,
    workers: 1,
    maxCalls: 1_000,
    maxStreams: 1_000,
    maxRequestBytes: 256 * MIB,
    logLevel: "info",
    logFormat: "json",
  });
});

it("logs for people on a terminal, and as it is told anywhere", () => {
  expect(read({}, true).logFormat).toBe("pretty");
  expect(read({ SESSIONS_LOG_FORMAT: "json" }, true).logFormat).toBe("json");
  expect(read({ SESSIONS_LOG_FORMAT: "pretty" }, false).logFormat).toBe("pretty");
});

it("cannot be changed once it is read", () => {
  const config = read({}) as { memoryWindow: number };
  expect(() => {
    config.memoryWindow = 1;
  }).toThrow(TypeError);
});

it("does not care about variables of others", () => {
  expect(() => read({ PATH: "", SESSIONS_UNHEARD_OF: "x", HOME: "/" })).not.toThrow();
});

const good: [name: string, text: string, key: keyof Config, value: unknown][] = [
  ["MONGODB_URI", "", "mongodbUri", undefined],
  ["MONGODB_URI", "mongodb://u:p@a:1,b:2/?replicaSet=rs", "mongodbUri", "mongodb://u:p@a:1,b:2/?replicaSet=rs"],
  ["MONGODB_URI", "mongodb+srv://cluster.example", "mongodbUri", "mongodb+srv://cluster.example"],
  ["MONGODB_DATABASE", "x", "mongodbDatabase", "x"],
  ["MONGODB_DATABASE", "a".repeat(63), "mongodbDatabase", "a".repeat(63)],
  ["SESSIONS_DATA_DIR", "/var/lib/a folder", "dataDir", "/var/lib/a folder"],
  ["SESSIONS_GRPC_LISTEN", "0.0.0.0:0", "grpcListen", { host: "0.0.0.0", port: 0 }],
  ["SESSIONS_GRPC_LISTEN", "[::1]:65535", "grpcListen", { host: "[::1]", port: 65_535 }],
  ["SESSIONS_GRPC_LISTEN", "my-host.example:443", "grpcListen", { host: "my-host.example", port: 443 }],
  ["SESSIONS_HTTP_LISTEN", "localhost:1", "httpListen", { host: "localhost", port: 1 }],
  ["SESSIONS_HTTP_LISTEN", "", "httpListen", undefined],
  ["SESSIONS_RETENTION", "0s", "retentionMs", 0],
  ["SESSIONS_RETENTION", "1ms", "retentionMs", 1],
  ["SESSIONS_RETENTION", "90s", "retentionMs", 90 * SECOND],
  ["SESSIONS_RETENTION", "2m", "retentionMs", 120 * SECOND],
  ["SESSIONS_RETENTION", "36h", "retentionMs", 1.5 * DAY],
  ["SESSIONS_RETENTION", "365d", "retentionMs", 365 * DAY],
  ["SESSIONS_RETENTION", "36500d", "retentionMs", 36_500 * DAY],
  ["SESSIONS_PURGE_INTERVAL", "100ms", "purgeIntervalMs", 100],
  ["SESSIONS_PURGE_INTERVAL", "1h", "purgeIntervalMs", 3_600 * SECOND],
  ["SESSIONS_MEMORY_WINDOW", "1", "memoryWindow", 1],
  ["SESSIONS_MEMORY_WINDOW", "1000", "memoryWindow", 1000],
  ["SESSIONS_CACHE_MIB", "0", "cacheBytes", 0],
  ["SESSIONS_CACHE_MIB", "2", "cacheBytes", 2_097_152],
  ["SESSIONS_SHUTDOWN_GRACE", "0ms", "shutdownGraceMs", 0],
  ["SESSIONS_SHUTDOWN_GRACE", "2m", "shutdownGraceMs", 120 * SECOND],
  ["SESSIONS_WORKERS", "4", "workers", 4],
  ["SESSIONS_MAX_CALLS", "1", "maxCalls", 1],
  ["SESSIONS_MAX_STREAMS", "1000000", "maxStreams", 1_000_000],
  ["SESSIONS_MAX_REQUEST_MIB", "16", "maxRequestBytes", 16 * MIB],
  ...["trace", "debug", "info", "warn", "error", "fatal", "silent"].map(
    (level): [string, string, keyof Config, unknown] => ["SESSIONS_LOG_LEVEL", level, "logLevel", level],
  ),
];

it.each(good)("takes %s=%s", (name, text, key, value) => {
  const env = { [name]: text, ...(name === "SESSIONS_GRPC_LISTEN" && { SESSIONS_ALLOW_ANONYMOUS: "true" }) };
  expect(read(env)[key]).toEqual(value);
});

const bad: [name: string, text: string][] = [
  ["MONGODB_URI", "localhost:27017"],
  ["MONGODB_URI", "mongodb://"],
  ["MONGODB_URI", "http://localhost"],
  ["MONGODB_URI", "mongodb://a b"],
  ["MONGODB_DATABASE", ""],
  ["MONGODB_DATABASE", "a.b"],
  ["MONGODB_DATABASE", "a b"],
  ["MONGODB_DATABASE", "$a"],
  ["MONGODB_DATABASE", "a/b"],
  ["MONGODB_DATABASE", "a".repeat(64)],
  // The limit is one of bytes.
  ["MONGODB_DATABASE", "é".repeat(40)],
  // MongoDB's own, in which there are no transactions.
  ["MONGODB_DATABASE", "local"],
  ["MONGODB_DATABASE", "admin"],
  ["MONGODB_DATABASE", "config"],
  ["SESSIONS_DATA_DIR", ""],
  ["SESSIONS_GRPC_LISTEN", ""],
  ["SESSIONS_GRPC_LISTEN", "50051"],
  ["SESSIONS_GRPC_LISTEN", ":50051"],
  ["SESSIONS_GRPC_LISTEN", "localhost"],
  ["SESSIONS_GRPC_LISTEN", "localhost:"],
  ["SESSIONS_GRPC_LISTEN", "localhost:65536"],
  ["SESSIONS_GRPC_LISTEN", "localhost:-1"],
  ["SESSIONS_GRPC_LISTEN", "localhost:1e3"],
  ["SESSIONS_GRPC_LISTEN", "::1:50051"],
  ["SESSIONS_GRPC_LISTEN", "http://localhost:50051"],
  ["SESSIONS_HTTP_LISTEN", "8080"],
  ["SESSIONS_RETENTION", ""],
  ["SESSIONS_RETENTION", "30"],
  ["SESSIONS_RETENTION", "d"],
  ["SESSIONS_RETENTION", "-1d"],
  ["SESSIONS_RETENTION", "1.5d"],
  ["SESSIONS_RETENTION", "1 d"],
  ["SESSIONS_RETENTION", "1D"],
  ["SESSIONS_RETENTION", "1d2h"],
  ["SESSIONS_RETENTION", "1w"],
  ["SESSIONS_RETENTION", "36501d"],
  ["SESSIONS_RETENTION", "99999999999999999999d"],
  ["SESSIONS_PURGE_INTERVAL", "99ms"],
  ["SESSIONS_PURGE_INTERVAL", "0s"],
  ["SESSIONS_CACHE_MIB", "-1"],
  ["SESSIONS_CACHE_MIB", "64MiB"],
  ["SESSIONS_CACHE_MIB", ""],
  ["SESSIONS_MEMORY_WINDOW", "0"],
  ["SESSIONS_MEMORY_WINDOW", "1001"],
  ["SESSIONS_MEMORY_WINDOW", "-5"],
  ["SESSIONS_MEMORY_WINDOW", "5.5"],
  ["SESSIONS_MEMORY_WINDOW", "5e1"],
  ["SESSIONS_MEMORY_WINDOW", ""],
  ["SESSIONS_SHUTDOWN_GRACE", "10"],
  ["SESSIONS_WORKERS", "0"],
  ["SESSIONS_MAX_CALLS", "0"],
  ["SESSIONS_MAX_STREAMS", "unlimited"],
  ["SESSIONS_MAX_REQUEST_MIB", "15"],
  ["SESSIONS_LOG_LEVEL", "INFO"],
  ["SESSIONS_LOG_LEVEL", "verbose"],
  ["SESSIONS_LOG_LEVEL", ""],
  ["SESSIONS_LOG_FORMAT", "text"],
];

it.each(bad)("refuses %s=%s, and says which variable it is and what it should be", (name, text) => {
  const [mistake = "", ...more] = mistakes({ [name]: text });
  expect(more).toEqual([]);
  expect(mistake).toMatch(new RegExp(`^${name}\\b.*[a-z].*\\.?$`));
  expect(mistake).not.toContain("\n");
});

// Node's timers cannot wait longer than 24.8 days: a longer time would come out as a millisecond.
it.each(["SESSIONS_PURGE_INTERVAL", "SESSIONS_SHUTDOWN_GRACE"])("refuses a %s that no timer can wait for", (name) => {
  expect(mistakes({ [name]: "7d" })).toEqual([]);
  expect(mistakes({ [name]: "25d" })).toHaveLength(1);
});

it("tells every mistake at once", () => {
  const env = {
    MONGODB_URI: "localhost",
    MONGODB_DATABASE: "a.b",
    SESSIONS_DATA_DIR: "",
    SESSIONS_GRPC_LISTEN: "x",
    SESSIONS_HTTP_LISTEN: "y",
    SESSIONS_RETENTION: "1",
    SESSIONS_PURGE_INTERVAL: "1",
    SESSIONS_MEMORY_WINDOW: "many",
    SESSIONS_SHUTDOWN_GRACE: "soon",
    SESSIONS_LOG_LEVEL: "loud",
    SESSIONS_LOG_FORMAT: "nice",
  };
  const told = mistakes(env).map((mistake) => /^[A-Z_]+/.exec(mistake)?.[0]);
  expect(told.sort()).toEqual(Object.keys(env).sort());
});

describe("in production", () => {
  it("requires a database of one's own, along with all else", () => {
    expect(mistakes({ NODE_ENV: "production" })).toEqual([expect.stringMatching(/^MONGODB_URI: required/)]);
    expect(mistakes({ NODE_ENV: "production", MONGODB_URI: "", SESSIONS_RETENTION: "x" })).toHaveLength(2);
    expect(mistakes({ NODE_ENV: "production", MONGODB_URI: "mongodb://db" })).toEqual([]);
  });
});

it("does not repeat a password that stands in a mistaken URI", () => {
  const [mistake = ""] = mistakes({ MONGODB_URI: "mongodb:/sessions:pa55word@db.example" });
  expect(mistake).toMatch(/^MONGODB_URI/);
  expect(mistake).not.toContain("pa55word");
});
