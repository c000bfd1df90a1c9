import { setTimeout } from "node:timers/promises";
import { type ClientSession, type Collection, type Db, MongoClient } from "mongodb";
import { type Call, lateness, timeLeft } from "../domain/call.js";
import type {
  EmbeddedRecord,
  ErasureRecord,
  ForkRecord,
  KeyRecord,
  MessageRecord,
  SessionRecord,
  SweepRecord,
  UserRecord,
  VectorRecord,
} from "../domain/records.js";
import type { Traces } from "../domain/traces.js";
import { followCommands } from "./commands.js";
import { OPERATION_TIMEOUT_MS, translate, translated } from "./driver-errors.js";
import type { LeaseRecord } from "./erasing/lease.js";
import { ensureIndexes, type IndexConflict } from "./indexes.js";

const CLOSE_PATIENCE_MS = 1_000;

/** More connections gain nothing and cost the database: its CPU and everybody's p99. */
const POOL_SIZE = 20;

export interface Database {
  readonly client: MongoClient;
  readonly db: Db;
  readonly sessions: Collection<SessionRecord>;
  readonly messages: Collection<MessageRecord>;
  readonly users: Collection<UserRecord>;
  readonly forks: Collection<ForkRecord>;
  readonly keys: Collection<KeyRecord>;
  readonly erasures: Collection<ErasureRecord>;
  readonly leases: Collection<LeaseRecord>;
  readonly vectors: Collection<VectorRecord>;
  readonly embedded: Collection<EmbeddedRecord>;
  readonly sweeps: Collection<SweepRecord>;
  /** What follows the calls that it is asked for, if anything does. */
  readonly traces: Traces | undefined;
  /**
   * Creates the indexes that are missing, and replaces those that differ, telling of each. Throws UNAVAILABLE while the database
   * is away.
   */
  prepare(onConflict?: (conflict: IndexConflict) => void): Promise<void>;
  /** Runs reads that all see one moment. Throws what the driver throws. */
  withSnapshot<T>(run: (session: ClientSession) => Promise<T>): Promise<T>;
  /** Resolves when a primary has answered. Throws UNAVAILABLE when none does. */
  ping(): Promise<void>;
  /** About what the database's clock says, by the pings so far: the clocks of two processes may differ. */
  now(): Date;
  /** Ends what is still under way, too. */
  close(): Promise<void>;
}

/** Opens no connection yet, so the service can start while the database is away: the first ping that succeeds does. */
export function openDatabase(options: {
  uri: string;
  database: string;
  monitorCommands?: boolean;
  traces?: Traces | undefined;
}): Database {
  const { traces } = options;
  const client = new MongoClient(options.uri, {
    appName: "sessions",
    maxPoolSize: POOL_SIZE,
    // A connection attempt that hangs must not keep the next one waiting: the service is back soon after its database is.
    connectTimeoutMS: 2_000,
    serverSelectionTimeoutMS: OPERATION_TIMEOUT_MS,
    waitQueueTimeoutMS: OPERATION_TIMEOUT_MS,
    socketTimeoutMS: OPERATION_TIMEOUT_MS,
    heartbeatFrequencyMS: 2_000,
    ignoreUndefined: true,
    promoteBuffers: true,
    readPreference: "primary",
    readConcern: { level: "majority" },
    writeConcern: { w: "majority", journal: true },
    // To tell of its commands the driver decodes every answer as a whole.
    monitorCommands: options.monitorCommands ?? traces !== undefined,
  });
  if (traces) followCommands(client, traces);
  const db = client.db(options.database);
  let connected = false;
  let clockAheadMs: number | undefined;
  const database: Database = {
    client,
    db,
    sessions: db.collection("sessions"),
    messages: db.collection("messages"),
    users: db.collection("users"),
    forks: db.collection("forks"),
    keys: db.collection("keys"),
    erasures: db.collection("erasures"),
    leases: db.collection("leases"),
    traces,
    vectors: db.collection("vectors"),
    embedded: db.collection("embedded"),
    sweeps: db.collection("embedded"),
    async prepare(onConflict) {
      // However long the indexes take.
      await ensureIndexes(database, onConflict).catch((error: unknown) => {
        throw translate(error);
      });
    },
    async withSnapshot(run) {
      // For a snapshot the driver asks whether the servers are new enough before it waits for one, and takes those that it has
      // never reached for too old. Any other operation waits for them, and fails as one does while the database is away.
      if (!connected) await db.command({ hello: 1 });
      return client.withSession({ snapshot: true }, run);
    },
    ping: () =>
      translated(async () => {
        // Once connected, the driver reconnects by itself; after a first attempt that failed it does not.
        if (!connected) await client.connect();
        connected = true;
        const asked = Date.now();
        const { localTime } = await db.command({ hello: 1 });
        // It was read at some time between the two: an answer that took long says little, and must not shift what one that
        // was quick has told.
        const atLeast = localTime.getTime() - Date.now();
        const atMost = localTime.getTime() - asked;
        clockAheadMs = Math.min(Math.max(clockAheadMs ?? (atLeast + atMost) / 2, atLeast), atMost);
      }),
    now: () => new Date(Date.now() + (clockAheadMs ?? 0)),
    async close() {
      // Politely ending its sessions takes the driver its full timeout when nobody answers.
      const patience = new AbortController();
      await Promise.race([client.close(), setTimeout(CLOSE_PATIENCE_MS, undefined, { signal: patience.signal })]);
      patience.abort();
    },
  };
  return database;
}

/** What the driver has against a URI, in words that repeat nothing secret; undefined when it takes it. */
export function uriFault(uri: string): string | undefined {
  try {
    new MongoClient(uri);
    return undefined;
  } catch (error) {
    const fault = error instanceof Error ? error.message : String(error);
    return fault.includes("://") ? "not a valid MongoDB URI." : `${fault}.`;
  }
}

/** Makes the database stop working on an operation when its caller's time is over. Throws when it is already. */
export function bounded(call: Call): { maxTimeMS: number } {
  const left = Math.min(timeLeft(call), OPERATION_TIMEOUT_MS);
  if (left < 1) throw lateness(call);
  return { maxTimeMS: Math.ceil(left) };
}

/** The same for what several callers wait for: the most patient one decides. */
export function boundedForAll(works: readonly { readonly call: Call }[]): { maxTimeMS: number } {
  return bounded(works.map(({ call }) => call).reduce((a, b) => (a.deadline > b.deadline ? a : b)));
}

/** The database's own clock, which the TTL index goes by too: the clocks of two processes may differ. */
export async function databaseTime({ db }: Database): Promise<Date> {
  const { localTime } = await db.command({ hello: 1 });
  return localTime as Date;
}
