import type { Collection, Document, OptionalUnlessRequiredId } from "mongodb";
import type { SessionRecord, UserRecord } from "../../src/domain/records.js";
import type { Database } from "../../src/store/database.js";
import { filled, messageRecord, type Said, sessionRecord, userRecord } from "./records.js";

/** Puts data into the service's collections, past the service, which would take minutes for as much. */

const BATCH = 2_000;
const IN_FLIGHT = 4;

/** Without waiting for the disk; `settle` does that once, at the end. */
export async function insert<T extends Document>(collection: Collection<T>, documents: Iterable<T>): Promise<void> {
  const batches = batchesOf(documents);
  const writer = async (): Promise<void> => {
    for (const batch of batches) {
      await collection.insertMany(batch as OptionalUnlessRequiredId<T>[], {
        ordered: false,
        writeConcern: { w: 1, journal: false },
      });
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, writer));
}

/** Has all of it on disk and visible to majority reads, so that none of that work falls into what is measured next. */
export async function settle(database: Database): Promise<void> {
  const { client, db } = database;
  await db.collection("bench_settled").insertOne({}, { writeConcern: { w: "majority", journal: true } });
  await client.db("admin").command({ fsync: 1 });
}

function* batchesOf<T>(documents: Iterable<T>): Generator<T[]> {
  let batch: T[] = [];
  for (const document of documents) {
    batch.push(document);
    if (batch.length < BATCH) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}

/** Sessions `prefix-0`, `prefix-1` and so on, each with so many messages. The answer is their ids and documents. */
export async function seedSessions(database: Database, options: SessionSeed): Promise<SessionRecord[]> {
  const { prefix, count, messages = 0, said } = options;
  const sayOf = typeof said === "function" ? said : () => said;
  const sessions = Array.from({ length: count }, (_, index) =>
    filled(sessionRecord(`${prefix}-${index}`, index, options.owned?.(index)), messages),
  );
  await insert(database.sessions, sessions);
  await insert(
    database.messages,
    (function* () {
      for (const [index, session] of sessions.entries()) {
        for (let sequence = 1; sequence <= messages; sequence++)
          yield messageRecord(session, sequence, sayOf(index * messages + sequence - 1));
      }
    })(),
  );
  await settle(database);
  return sessions;
}

/** What the driver needs to know of sessions whose memories it reads and writes. */
export function memoriesOf(sessions: readonly SessionRecord[]): Pick<SessionRecord, "_id" | "epoch">[] {
  return sessions.map(({ _id, epoch }) => ({ _id, epoch }));
}

export interface SessionSeed {
  readonly prefix: string;
  readonly count: number;
  readonly messages?: number;
  /** What each of them says, or each by its number among all of them, when not what it usually is. */
  readonly said?: Said | ((number: number) => Said);
  readonly owned?: (index: number) => Parameters<typeof sessionRecord>[2];
}

/** A user `id` with so many messages, shared out among some sessions. The answer is these. */
export async function seedScope(database: Database, id: string, options: ScopeSeed): Promise<SessionRecord[]> {
  const { sessions, messages, said } = options;
  const user = userRecord(id, 0, sessions);
  await insert(database.users, [user]);
  const each = Math.ceil(messages / sessions);
  return seedSessions(database, { prefix: id, count: sessions, messages: each, said, owned: () => ({ user }) });
}

export interface ScopeSeed {
  readonly sessions: number;
  readonly messages: number;
  readonly said: (number: number) => Said;
}

export async function seedUsers(database: Database, count: number, sessionsEach: number): Promise<UserRecord[]> {
  const users = Array.from({ length: count }, (_, index) => userRecord(`user-${index}`, index, sessionsEach));
  await insert(database.users, users);
  return users;
}
