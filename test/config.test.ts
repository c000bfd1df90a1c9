import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type Config, ConfigError, readConfig } from "../src/config/index.js";
import { temporaryFolder } from "./support/temporary-folder.js";

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
    corsOrigins: [],
    tls: undefined,
    retentionMs: 30 * DAY,
    purgeIntervalMs: 60 * SECOND,
    memoryWindow: 50,
    cacheBytes: 67_108_864,
    searchCacheBytes: 134_217_728,
    shutdownGraceMs: 10 * SECOND,
    workers: 1,
    zepApi: true,
    maxCalls: 1_000,
    maxStreams: 1_000,
    maxWatchers: 2_000,
    maxRequestBytes: 256 * MIB,
    logLevel: "info",
    logFormat: "json",
    traces: false,
  });
});

it("logs for people on a terminal, and as it is told anywhere", () => {
  expect(read({}, true).logFormat).toBe("pretty");
  expect(read({ SESSIONS_LOG_FORMAT: "json" }, true).logFormat).toBe("json");
  expect(read({ SESSIONS_LOG_FORMAT: "pretty" }, false).logFormat).toBe("pretty");
});

it("traces calls where a variable of OpenTelemetry says where to, unless one says not to", () => {
  const wanted = (env: Environment) => read(env).traces;
  expect(wanted({ OTEL_TRACES_EXPORTER: "otlp" })).toBe(true);
  expect(wanted({ OTEL_EXPORTER_OTLP_ENDPOINT: "http://collector:4318" })).toBe(true);
  expect(wanted({ OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://collector:4318/v1/traces" })).toBe(true);
  expect(wanted({ OTEL_TRACES_EXPORTER: "otlp", OTEL_SDK_DISABLED: "True" })).toBe(false);
  expect(wanted({ OTEL_TRACES_EXPORTER: "none", OTEL_EXPORTER_OTLP_ENDPOINT: "http://collector:4318" })).toBe(false);
  expect(wanted({ OTEL_TRACES_EXPORTER: "", OTEL_EXPORTER_OTLP_ENDPOINT: " " })).toBe(false);
  expect(wanted({ OTEL_SERVICE_NAME: "memory", OTEL_RESOURCE_ATTRIBUTES: "a=b", OTEL_PROPAGATORS: "b3" })).toBe(false);
  expect(wanted({ OTEL_METRICS_EXPORTER: "otlp", OTEL_EXPORTER_OTLP_LOGS_ENDPOINT: "http://collector:4318" })).toBe(
    false,
  );
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
  ["SESSIONS_ZEP_API", "false", "zepApi", false],
  ["SESSIONS_ZEP_API", "true", "zepApi", true],
  ["SESSIONS_CORS_ORIGINS", "*", "corsOrigins", "*"],
  ["SESSIONS_CORS_ORIGINS", "https://a.example, http://b:81", "corsOrigins", ["https://a.example", "http://b:81"]],
  ["SESSIONS_RETENTION", "0s", "retentionMs", 0],
  ["SESSIONS_RETENTION", "1ms", "retentionMs", 1],
  ["SESSIONS_RETENTION", "90s", "retentionMs", 90 * SECOND],
  ["SESSIONS_RETENTION", "2m", "retentionMs", 120 * SECOND],
  ["SESSIONS_RETENTION", "36h", "retentionMs", 1.5 * DAY],
  ["SESSIONS_RETENTION", "365d", "retentionMs", 365 * DAY],
  ["SESSIONS_RETENTION", "36500d", "retentionMs", 36_500 * DAY],
  ["SESSIONS_PURGE_INTERVAL", "100ms", "purgeIntervalMs", 100],
  ["SESSIONS_PURGE_INTERVAL", "1h", "purgeIntervalMs", 3_600 * SECOND],
  ["SESSIONS_DEFAULT_IDLE_TTL", "", "defaultIdleTtlMs", undefined],
  ["SESSIONS_DEFAULT_IDLE_TTL", "1ms", "defaultIdleTtlMs", 1],
  ["SESSIONS_DEFAULT_IDLE_TTL", "90d", "defaultIdleTtlMs", 90 * DAY],
  ["SESSIONS_DEFAULT_IDLE_TTL", "36500d", "defaultIdleTtlMs", 36_500 * DAY],
  ["SESSIONS_MEMORY_WINDOW", "1", "memoryWindow", 1],
  ["SESSIONS_MEMORY_WINDOW", "1000", "memoryWindow", 1000],
  ["SESSIONS_CACHE_MIB", "0", "cacheBytes", 0],
  ["SESSIONS_CACHE_MIB", "2", "cacheBytes", 2_097_152],
  ["SESSIONS_SEARCH_CACHE_MIB", "1", "searchCacheBytes", 1_048_576],
  ["SESSIONS_SHUTDOWN_GRACE", "0ms", "shutdownGraceMs", 0],
  ["SESSIONS_SHUTDOWN_GRACE", "2m", "shutdownGraceMs", 120 * SECOND],
  ["SESSIONS_WORKERS", "4", "workers", 4],
  ["SESSIONS_MAX_CALLS", "1", "maxCalls", 1],
  ["SESSIONS_MAX_STREAMS", "1000000", "maxStreams", 1_000_000],
  ["SESSIONS_MAX_WATCHERS", "10000", "maxWatchers", 10_000],
  ["SESSIONS_MAX_REQUEST_MIB", "16", "maxRequestBytes", 16 * MIB],
  ...["trace", "debug", "info", "warn", "error", "fatal", "silent"].map(
    (level): [string, string, keyof Config, unknown] => ["SESSIONS_LOG_LEVEL", level, "logLevel", level],
  ),
];

describe("who may call", () => {
  const file = async (content: string): Promise<string> => {
    const path = join(await temporaryFolder(), "secret");
    await writeFile(path, content);
    return path;
  };
  const SECRET = "x".repeat(32);
  const OPEN = { SESSIONS_GRPC_LISTEN: "0.0.0.0:50051" };

  it("is whoever reaches it, on this machine, where nothing is said", () => {
    expect(read({}).auth).toBeUndefined();
    expect(read({ SESSIONS_AUTH: "none" }).auth).toBeUndefined();
  });

  it("has to be said where others than this machine can reach it", () => {
    for (const env of [OPEN, { ...OPEN, SESSIONS_AUTH: "none" }, { SESSIONS_HTTP_LISTEN: "[::]:8080" }]) {
      expect(mistakes(env)).toEqual([expect.stringMatching(/^SESSIONS_AUTH: required to listen on /)]);
      expect(mistakes({ ...env, SESSIONS_ALLOW_ANONYMOUS: "true" })).toEqual([]);
    }
    expect(mistakes({ ...OPEN, SESSIONS_AUTH: "keys" })).toEqual([]);
    for (const host of ["127.0.0.1", "127.8.9.1", "localhost", "[::1]"]) {
      expect(mistakes({ SESSIONS_GRPC_LISTEN: `${host}:0` })).toEqual([]);
    }
  });

  it("is who has a key, and first of all an admin whose secret is in a file", async () => {
    expect(read({ SESSIONS_AUTH: "keys" }).auth).toEqual({ keys: { adminKey: undefined }, tokens: undefined });
    for (const end of ["", "\n", "\r\n"]) {
      const env = { SESSIONS_AUTH: "keys", SESSIONS_ADMIN_KEY_FILE: await file(SECRET + end) };
      expect(read(env).auth?.keys).toEqual({ adminKey: SECRET });
    }
  });

  it("is who has a token", async () => {
    const env = { SESSIONS_AUTH: "keys,jwt", SESSIONS_JWT_SECRET_FILE: await file(`${SECRET}\n`) };
    const rules = {
      signedBy: { secret: Buffer.from(SECRET) },
      issuer: undefined,
      audience: undefined,
      claims: { project: "project", role: "role", user: "user_id" },
      defaultRole: "reader",
      allowEternal: false,
    };
    expect(read(env).auth).toEqual({ keys: { adminKey: undefined }, tokens: rules });
    const other = {
      SESSIONS_AUTH: "jwt",
      SESSIONS_JWKS_URL: "https://issuer.example/keys",
      SESSIONS_JWT_ISSUER: "https://issuer.example",
      SESSIONS_JWT_AUDIENCE: "sessions",
      SESSIONS_JWT_CLAIM_PROJECT: "team",
      SESSIONS_JWT_CLAIM_ROLE: "scope",
      SESSIONS_JWT_CLAIM_USER: "sub",
      SESSIONS_JWT_DEFAULT_ROLE: "writer",
      SESSIONS_JWT_ALLOW_ETERNAL: "true",
    };
    expect(read(other).auth).toEqual({
      keys: undefined,
      tokens: {
        signedBy: { jwksUrl: "https://issuer.example/keys" },
        issuer: "https://issuer.example",
        audience: "sessions",
        claims: { project: "team", role: "scope", user: "sub" },
        defaultRole: "writer",
        allowEternal: true,
      },
    });
    expect(mistakes({ SESSIONS_AUTH: "jwt", SESSIONS_JWKS_URL: "http://localhost:9/keys" })).toEqual([]);
  });

  it("is not half said: every part that is missing or means nothing is named", async () => {
    const [good, short, odd] = [await file(SECRET), await file("x".repeat(31)), await file(`${SECRET}\nmore`)];
    const cases: [Environment, ...RegExp[]][] = [
      [{ SESSIONS_AUTH: "jwt" }, /^SESSIONS_AUTH: jwt takes SESSIONS_JWT_SECRET_FILE or SESSIONS_JWKS_URL/],
      [
        { SESSIONS_AUTH: "jwt", SESSIONS_JWT_SECRET_FILE: good, SESSIONS_JWKS_URL: "https://a.example" },
        /^SESSIONS_JWT_SECRET_FILE and SESSIONS_JWKS_URL: set one/,
      ],
      [{ SESSIONS_ADMIN_KEY_FILE: good }, /^SESSIONS_ADMIN_KEY_FILE: means nothing unless SESSIONS_AUTH has keys/],
      [
        { SESSIONS_AUTH: "keys", SESSIONS_JWKS_URL: "https://a.example", SESSIONS_JWT_ISSUER: "a" },
        /^SESSIONS_JWKS_URL: means nothing unless SESSIONS_AUTH has jwt/,
        /^SESSIONS_JWT_ISSUER: means nothing/,
      ],
      [{ SESSIONS_AUTH: "keys", SESSIONS_ADMIN_KEY_FILE: "/nowhere" }, /cannot be read: ENOENT/],
      [{ SESSIONS_AUTH: "keys", SESSIONS_ADMIN_KEY_FILE: "/" }, /cannot be read: EISDIR/],
      [{ SESSIONS_AUTH: "keys", SESSIONS_ADMIN_KEY_FILE: short }, /holds 31 characters; at least 32/],
      [{ SESSIONS_AUTH: "keys", SESSIONS_ADMIN_KEY_FILE: odd }, /more than one line of printable ASCII/],
      [{ SESSIONS_AUTH: "jwt", SESSIONS_JWT_SECRET_FILE: short }, /holds 31 bytes; at least 32/],
      [{ SESSIONS_AUTH: "jwt", SESSIONS_JWKS_URL: "http://issuer.example/keys" }, /^SESSIONS_JWKS_URL: an https/],
      [{ SESSIONS_AUTH: "jwt", SESSIONS_JWKS_URL: "nowhere" }, /^SESSIONS_JWKS_URL: an https/],
      [
        { SESSIONS_AUTH: "jwt", SESSIONS_JWKS_URL: "https://ann:secret@issuer.example/" },
        /^SESSIONS_JWKS_URL: a URL without/,
      ],
      [{ SESSIONS_AUTH: "passwords" }, /^SESSIONS_AUTH="passwords": one of none; keys; jwt; keys,jwt/],
      [
        { SESSIONS_AUTH: "keys", SESSIONS_ALLOW_ANONYMOUS: "true" },
        /^SESSIONS_ALLOW_ANONYMOUS=true: nobody is anonymous/,
      ],
      [{ SESSIONS_ALLOW_ANONYMOUS: "yes" }, /^SESSIONS_ALLOW_ANONYMOUS="yes": true or false/],
      [
        { SESSIONS_AUTH: "jwt", SESSIONS_JWT_DEFAULT_ROLE: "root", SESSIONS_RETENTION: "long" },
        /^SESSIONS_RETENTION/,
        /^SESSIONS_AUTH: jwt takes/,
        /^SESSIONS_JWT_DEFAULT_ROLE="root": one of reader, writer, admin/,
      ],
      [{ SESSIONS_PROJECT_RATE: "0" }, /^SESSIONS_PROJECT_RATE="0"/],
      [{ SESSIONS_COMPRESS_ABOVE: "64KiB" }, /^SESSIONS_COMPRESS_ABOVE="64KiB"/],
    ];
    for (const [env, ...expected] of cases) {
      expect(mistakes(env), JSON.stringify(env)).toEqual(expected.map((one) => expect.stringMatching(one)));
    }
  });

  it("shows no secret in what it complains of", async () => {
    const url = "ftp://user:hunter2@issuer.example";
    expect(mistakes({ SESSIONS_AUTH: "jwt", SESSIONS_JWKS_URL: url }).join()).not.toContain("hunter2");
    const [short] = mistakes({ SESSIONS_AUTH: "keys", SESSIONS_ADMIN_KEY_FILE: await file("hunter2") });
    expect(short).not.toContain("hunter2");
  });

  it("may be limited in how often they call", () => {
    expect(read({}).compressAbove).toBeUndefined();
    expect(read({ SESSIONS_COMPRESS_ABOVE: "65536" }).compressAbove).toBe(65_536);
    expect(read({}).projectRate).toBeUndefined();
    expect(read({ SESSIONS_PROJECT_RATE: "50" }).projectRate).toBe(50);
  });
});

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
  ["SESSIONS_ZEP_API", ""],
  ["SESSIONS_ZEP_API", "no"],
  ["SESSIONS_SEARCH_CACHE_MIB", "0"],
  ["SESSIONS_CORS_ORIGINS", "app.example.com"],
  ["SESSIONS_CORS_ORIGINS", "https://app.example.com/"],
  ["SESSIONS_CORS_ORIGINS", "https://App.example.com"],
  ["SESSIONS_CORS_ORIGINS", "https://app.example.com:443"],
  ["SESSIONS_CORS_ORIGINS", "https://*.example.com"],
  ["SESSIONS_CORS_ORIGINS", "https://a.example,*"],
  ["SESSIONS_CORS_ORIGINS", "https://a.example,"],
  ["SESSIONS_CORS_ORIGINS", "null"],
  ["SESSIONS_DEFAULT_IDLE_TTL", "0s"],
  ["SESSIONS_DEFAULT_IDLE_TTL", "never"],
  ["SESSIONS_DEFAULT_IDLE_TTL", "36501d"],
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

describe("what turns texts into vectors", () => {
  const SET = {
    SESSIONS_EMBEDDINGS_URL: "https://api.example/v1/",
    SESSIONS_EMBEDDINGS_MODEL: "small",
    SESSIONS_EMBEDDINGS_DIMENSIONS: "384",
  };
  const withKey = async (content: string) => {
    const path = join(await temporaryFolder(), "key");
    await writeFile(path, content);
    return { ...SET, SESSIONS_EMBEDDINGS_KEY_FILE: path };
  };

  it("is nothing, unless all of it is said; the key may be left out", async () => {
    expect(read({}).embeddings).toBeUndefined();
    const endpoint = { url: "https://api.example/v1", model: "small", dimensions: 384 };
    expect(read(SET).embeddings).toEqual(endpoint);
    expect(read(await withKey("a-key\n")).embeddings).toEqual({ ...endpoint, key: "a-key" });
    for (const name of Object.keys(SET)) {
      expect(mistakes({ ...SET, [name]: "" })).toEqual([expect.stringMatching(new RegExp(`^${name}: required`))]);
    }
    expect(mistakes({ SESSIONS_EMBEDDINGS_KEY_FILE: "/key" })).toHaveLength(4);
  });

  it.each([
    ["SESSIONS_EMBEDDINGS_URL", "api.example/v1"],
    ["SESSIONS_EMBEDDINGS_URL", "ftp://api.example/v1"],
    ["SESSIONS_EMBEDDINGS_URL", "https://ann:hunter2@api.example/v1"],
    ["SESSIONS_EMBEDDINGS_URL", "https://api.example/v1/embeddings"],
    ["SESSIONS_EMBEDDINGS_URL", "https://api.example/v1?key=hunter2"],
    ["SESSIONS_EMBEDDINGS_MODEL", " "],
    ["SESSIONS_EMBEDDINGS_DIMENSIONS", "0"],
    ["SESSIONS_EMBEDDINGS_DIMENSIONS", "9000"],
    ["SESSIONS_EMBEDDINGS_DIMENSIONS", "many"],
    ["SESSIONS_EMBEDDINGS_KEY_FILE", "/nowhere/at/all"],
  ])("cannot be %s=%s", (name, text) => {
    const told = mistakes({ ...SET, [name]: text });
    expect(told).toEqual([expect.stringMatching(new RegExp(`^${name}`))]);
    expect(told.join()).not.toContain("hunter2");
  });

  it("is shown a key of one line, and that over TLS or on this machine only", async () => {
    expect(mistakes(await withKey("two\nlines"))).toHaveLength(1);
    const plain = { ...(await withKey("a-key")), SESSIONS_EMBEDDINGS_URL: "http://embeddings.example/v1" };
    expect(mistakes(plain)).toEqual([expect.stringMatching(/^SESSIONS_EMBEDDINGS_KEY_FILE: a key goes without TLS/)]);
    expect(mistakes({ ...plain, SESSIONS_EMBEDDINGS_URL: "http://localhost:11434/v1" })).toEqual([]);
    expect(mistakes({ ...plain, SESSIONS_EMBEDDINGS_KEY_FILE: "" })).toEqual([]);
  });
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
    SESSIONS_ZEP_API: "perhaps",
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
