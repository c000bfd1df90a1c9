import { randomUUID } from "node:crypto";
import type { Document } from "mongodb";
import { type Logger, pino } from "pino";
import { inject } from "vitest";
import { type RunningServer, startServer } from "../../src/server.js";
import { type Database, openDatabase } from "../../src/store/database.js";
import { type Api, connect } from "./api.js";
import { CACHE_BYTES, LIMITS } from "./service.js";

/** A service whose every log line, and every answer of whose database, the test can see. */
export interface ObservedService extends Api {
  readonly address: string;
  readonly server: RunningServer;
  /** The service's own connection. */
  readonly database: Database;
  readonly lines: readonly LogLine[];
  /** The reads that have been sent to the database for documents of the API, in order. */
  readonly reads: readonly Read[];
  /** The documents that those reads have returned, once none is under way and no more of them come. */
  documentsReadAtRest(): Promise<number>;
  stop(): Promise<void>;
}

export interface LogLine {
  readonly msg: string;
  readonly method?: string;
  readonly code?: string;
  readonly duration_ms?: number;
  readonly session?: string;
  readonly request_id?: string;
  readonly [more: string]: unknown;
}

export interface Read {
  readonly command: string;
  readonly collection: string;
  /** How many it returned; undefined while it is under way. */
  documents: number | undefined;
}

export async function startObservedService(
  options: { mongodbUri?: string; databaseName?: string; shutdownGraceMs?: number; searchCacheBytes?: number } = {},
): Promise<ObservedService> {
  const database = openDatabase({
    uri: options.mongodbUri ?? inject("mongodbUri"),
    database: options.databaseName ?? `test-${randomUUID()}`,
    monitorCommands: true,
  });
  const reads: Read[] = [];
  const underWay = new Map<number, Read>();
  database.client.on("commandStarted", ({ requestId, commandName, command }) => {
    const collection = commandName === "getMore" ? command.collection : command[commandName];
    if (!["find", "getMore", "aggregate"].includes(commandName)) return;
    if (!["sessions", "messages"].includes(collection)) return;
    const read: Read = { command: commandName, collection, documents: undefined };
    reads.push(read);
    underWay.set(requestId, read);
  });
  database.client.on("commandSucceeded", ({ requestId, reply }) => {
    const read = underWay.get(requestId);
    const { firstBatch = [], nextBatch = [] } = (reply as { cursor?: Document }).cursor ?? {};
    if (read) read.documents = firstBatch.length + nextBatch.length;
  });
  database.client.on("commandFailed", ({ requestId }) => {
    const read = underWay.get(requestId);
    if (read) read.documents = 0;
  });

  const lines: LogLine[] = [];
  const log: Logger = pino(
    { level: "debug", base: undefined },
    { write: (line: string) => void lines.push(JSON.parse(line)) },
  );
  const server = await startServer(
    {
      database,
      log,
      retentionMs: 30 * 86_400_000,
      // Its own passes would be among the reads.
      purgeIntervalMs: 3_600_000,
      memoryWindow: 50,
      cacheBytes: CACHE_BYTES,
      searchCacheBytes: options.searchCacheBytes ?? 128 * 1024 * 1024,
      shutdownGraceMs: options.shutdownGraceMs ?? 5_000,
      limits: LIMITS,
      httpListen: { host: "127.0.0.1", port: 0 },
    },
    { host: "127.0.0.1", port: 0 },
  );
  await server.firstContact;
  const api = connect(server.address);
  return {
    ...api,
    address: server.address,
    server,
    database,
    lines,
    reads,
    async documentsReadAtRest() {
      for (;;) {
        const before = reads.length;
        for (let n = 0; n < 20; n++) await api.users.listUsers({});
        if (reads.length > before || reads.some(({ documents }) => documents === undefined)) continue;
        return reads.reduce((sum, { documents = 0 }) => sum + documents, 0);
      }
    },
    async stop() {
      api.close();
      await server.stop();
    },
  };
}
