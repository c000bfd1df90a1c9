import { randomUUID } from "node:crypto";
import type { ChannelCredentials } from "@grpc/grpc-js";
import { pino } from "pino";
import { inject } from "vitest";
import { type RunningServer, type ServerDeps, startServer } from "../../src/server.js";
import { type Database, openDatabase } from "../../src/store/database.js";
import { type Api, connect } from "./api.js";

export interface TestService extends Api {
  readonly address: string;
  readonly server: RunningServer;
  /** For looking at what is stored, and for commands of the tests' own; not the service's own connection. */
  readonly database: Database;
  stop(): Promise<void>;
}

export interface TestServiceOptions extends Partial<Omit<ServerDeps, "database">> {
  /** Several services on one database: give them the same name. */
  readonly databaseName?: string;
  readonly mongodbUri?: string;
  /** The client's. */
  readonly credentials?: ChannelCredentials;
}

/** The defaults of the configuration. */
export const CACHE_BYTES = 64 * 1024 * 1024;
export const LIMITS = { maxCalls: 1_000, maxStreams: 1_000, maxWatchers: 2_000, maxRequestBytes: 256 * 1024 * 1024 };

/** A real server on a free port over the run's real MongoDB, and a stock client to it. */
export async function startService(options: TestServiceOptions = {}): Promise<TestService> {
  const { databaseName = `test-${randomUUID()}`, mongodbUri = inject("mongodbUri"), credentials, ...deps } = options;
  const open = (): Database => openDatabase({ uri: mongodbUri, database: databaseName });
  const server = await startServer(
    {
      database: open(),
      log: pino({ level: "silent" }),
      retentionMs: 30 * 86_400_000,
      purgeIntervalMs: 60_000,
      memoryWindow: 50,
      cacheBytes: CACHE_BYTES,
      searchCacheBytes: 2 * CACHE_BYTES,
      shutdownGraceMs: 5_000,
      limits: LIMITS,
      ...deps,
    },
    { host: "127.0.0.1", port: 0 },
  );
  await server.firstContact;
  const database = open();
  const api = connect(server.address, undefined, credentials);
  return {
    ...api,
    address: server.address,
    server,
    database,
    async stop() {
      api.close();
      await server.stop();
      await database.db.dropDatabase().catch(() => {});
      await database.close();
    },
  };
}
