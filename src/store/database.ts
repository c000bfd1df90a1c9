import { type Collection, type Db, MongoClient } from "mongodb";
import type { Call } from "../domain/call.js";
import { deadlineExceeded } from "../domain/errors.js";
import type { MessageRecord, SessionRecord, UserRecord } from "../domain/records.js";
import { translated } from "./driver-errors.js";
import { ensureIndexes } from "./indexes.js";
import type { LeaseRecord } from "./lease.js";

/**
 * No operation waits longer than this for the database, whatever its caller's deadline. The driver's own `timeoutMS` has no
 * effect as of 7.8, so each wait has its bound: for a server, for a connection, for bytes on it, for the server's work.
 */
export const OPERATION_TIMEOUT_MS = 10_000;

/** More connections gain nothing and cost the database: its CPU and everybody's p99. */
const POOL_SIZE = 20;

export interface Database {
  readonly client: MongoClient;
  readonly db: Db;
  readonly sessions: Collection<SessionRecord>;
  readonly messages: Collection<MessageRecord>;
  readonly users: Collection<UserRecord>;
  readonly leases: Collection<LeaseRecord>;
  /** Creates the indexes that are missing. Throws UNAVAILABLE while the database is away. */
  prepare(): Promise<void>;
  /** Resolves when a primary has answered. Throws UNAVAILABLE when none does. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Opens no connection yet: the driver connects with the first operation, and again after each failure, so the service can
 * start and stay while the database is away.
 */
export function openDatabase(options: { uri: string; database: string; monitorCommands?: boolean }): Database {
  const client = new MongoClient(options.uri, {
    appName: "sessions",
    maxPoolSize: POOL_SIZE,
    connectTimeoutMS: 5_000,
    serverSelectionTimeoutMS: OPERATION_TIMEOUT_MS,
    waitQueueTimeoutMS: OPERATION_TIMEOUT_MS,
    socketTimeoutMS: OPERATION_TIMEOUT_MS,
    heartbeatFrequencyMS: 2_000,
    ignoreUndefined: true,
    promoteBuffers: true,
    readPreference: "primary",
    readConcern: { level: "majority" },
    writeConcern: { w: "majority", journal: true },
    monitorCommands: options.monitorCommands ?? false,
  });
  const db = client.db(options.database);
  const database: Database = {
    client,
    db,
    sessions: db.collection("sessions"),
    messages: db.collection("messages"),
    users: db.collection("users"),
    leases: db.collection("leases"),
    prepare: () => translated(() => ensureIndexes(database)),
    ping: async () => {
      await translated(() => db.command({ ping: 1 }));
    },
    close: () => client.close(),
  };
  return database;
}

/** Makes the database stop working on an operation when its caller's time is over. Throws when it is already. */
export function bounded(call: Call): { maxTimeMS: number } {
  const left = Math.min(call.deadline - Date.now(), OPERATION_TIMEOUT_MS);
  if (left < 1) throw deadlineExceeded();
  return { maxTimeMS: Math.ceil(left) };
}

/** The database's own clock, which the TTL index goes by too: the clocks of two processes may differ. */
export async function databaseTime({ db }: Database): Promise<Date> {
  const { localTime } = await db.command({ hello: 1 });
  return localTime as Date;
}
