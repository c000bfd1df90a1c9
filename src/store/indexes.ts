import type { Collection, Db, IndexDescription } from "mongodb";
import type { Database } from "./database.js";
import { isIndexConflict, isIndexGone } from "./driver-errors.js";

/**
 * Each query of this service has its index here. Listings read the index in the order that they answer in, so the sort key and
 * `_id`, which makes it unique, come last. The TTL indexes are partial: a live document is in none of them.
 */
const ORDERS = ["createTime", "updateTime", "lastMessageTime"] as const;

const ttl: IndexDescription = {
  name: "expiry",
  key: { expireAt: 1 },
  expireAfterSeconds: 0,
  partialFilterExpression: { expireAt: { $exists: true } },
};

export const INDEXES = {
  sessions: [
    ...ORDERS.map(
      (order): IndexDescription => ({
        name: `project_by_${order}`,
        key: { project: 1, deleted: 1, [order]: 1, _id: 1 },
      }),
    ),
    ...ORDERS.map(
      (order): IndexDescription => ({
        name: `user_by_${order}`,
        key: { user: 1, deleted: 1, [order]: 1, _id: 1 },
        partialFilterExpression: { user: { $exists: true } },
      }),
    ),
    {
      name: "metadata_by_createTime",
      key: { terms: 1, deleted: 1, createTime: 1, _id: 1 },
      partialFilterExpression: { terms: { $exists: true } },
    },
    // The work lists of the purger, and what it is to erase next.
    { name: "retired", key: { "retired.task": 1 }, partialFilterExpression: { retired: { $exists: true } } },
    { name: "purging", key: { purging: 1 }, partialFilterExpression: { purging: { $exists: true } } },
    { name: "deleted", key: { project: 1, deleteTime: 1 }, partialFilterExpression: { deleteTime: { $exists: true } } },
    { name: "due", key: { purgeTime: 1 }, partialFilterExpression: { purgeTime: { $exists: true } } },
    // What expires by itself, see domain/expiry.ts. Named by its field: "expiry" is the TTL index of what is to be erased.
    { name: "expiresAt", key: { expiresAt: 1 }, partialFilterExpression: { expiresAt: { $exists: true } } },
    // Whose messages wait to be embedded, those first that wait longest.
    { name: "unembedded", key: { unembedded: 1 }, partialFilterExpression: { unembedded: { $exists: true } } },
    ttl,
  ],
  messages: [
    { name: "memory", key: { session: 1, epoch: 1, sequence: 1 } },
    {
      name: "group",
      key: { session: 1, epoch: 1, groupId: 1, sequence: 1 },
      partialFilterExpression: { groupId: { $exists: true } },
    },
    { name: "deleted", key: { deleteTime: 1 }, partialFilterExpression: { deleteTime: { $exists: true } } },
    ttl,
  ],
  users: [
    { name: "project_by_createTime", key: { project: 1, deleted: 1, createTime: 1, _id: 1 } },
    { name: "task", key: { "task.kind": 1 }, partialFilterExpression: { task: { $exists: true } } },
    { name: "deleted", key: { project: 1, deleteTime: 1 }, partialFilterExpression: { deleteTime: { $exists: true } } },
    { name: "due", key: { purgeTime: 1 }, partialFilterExpression: { purgeTime: { $exists: true } } },
    ttl,
  ],
  forks: [
    { name: "source", key: { source: 1 } },
    { name: "session", key: { session: 1 } },
    { name: "aliveTime", key: { aliveTime: 1 } },
  ],
  keys: [
    // Not unique: a sharded collection would have to be sharded by it. 256 random bits do not come twice.
    { name: "hash", key: { hash: 1 } },
    { name: "project_by_createTime", key: { project: 1, createTime: 1, _id: 1 } },
  ],
  vectors: [{ name: "memory", key: { session: 1, epoch: 1, model: 1, sequence: 1 } }],
  erasures: [{ name: "project_by_endTime", key: { project: 1, endTime: 1, _id: 1 } }],
  leases: [{ name: "expiry", key: { until: 1 }, expireAfterSeconds: 86_400 }],
} as const satisfies Record<string, readonly IndexDescription[]>;

/** An index that stands where one of ours is to be, and is another. */
export interface IndexConflict {
  readonly collection: string;
  readonly index: string;
  /** What the database has there. */
  readonly found: IndexDescription;
}

/**
 * Creates what is missing; what is there already, and the same, is left alone. One of ours that differs, as another version has
 * made it, is dropped and built anew, each told to `onConflict` before; other indexes stay. Collections are made here, one after
 * the other, and not by the first writes: those may come together, which the Windows build of MongoDB does not survive under Wine.
 */
export async function ensureIndexes(
  database: Database,
  onConflict: (conflict: IndexConflict) => void = () => {},
): Promise<void> {
  for (const [collection, indexes] of Object.entries(INDEXES)) {
    await ensureIndexesOf(database.db, collection, indexes, onConflict);
  }
}

/** Several processes may do this at a time: one may drop what the other is building, or has just seen. */
const ATTEMPTS = 5;

async function ensureIndexesOf(
  db: Db,
  collection: string,
  indexes: readonly IndexDescription[],
  onConflict: (conflict: IndexConflict) => void,
): Promise<void> {
  let missing = indexes;
  for (let attempt = 1; ; attempt++) {
    try {
      // The usual case: everything is there, or nothing is.
      if (missing.length > 0) await db.collection(collection).createIndexes([...missing]);
      return;
    } catch (error) {
      if (!isIndexConflict(error) || attempt === ATTEMPTS) throw error;
      missing = await dropConflicting(db.collection(collection), indexes, onConflict);
    }
  }
}

/** Drops what is in the way of these indexes; answers those that are to be created then. */
async function dropConflicting(
  collection: Collection,
  indexes: readonly IndexDescription[],
  onConflict: (conflict: IndexConflict) => void,
): Promise<IndexDescription[]> {
  const existing: IndexDescription[] = await collection.listIndexes().toArray();
  const missing: IndexDescription[] = [];
  for (const index of indexes) {
    // Under another name it serves as well, and the database takes no second one.
    if (existing.some((found) => entries(found) === entries(index) && lifetime(found) === lifetime(index))) continue;
    missing.push(index);
    for (const found of existing) {
      if (found.name !== index.name && entries(found) !== entries(index)) continue;
      onConflict({ collection: collection.collectionName, index: String(index.name), found });
      await collection.dropIndex(String(found.name)).catch((error: unknown) => {
        if (!isIndexGone(error)) throw error;
      });
    }
  }
  return missing;
}

/** What is in an index: all that tells two indexes apart to the database. */
const entries = ({ key, partialFilterExpression, unique, sparse, collation }: IndexDescription): string =>
  JSON.stringify([Object.entries(key), partialFilterExpression, unique ?? false, sparse ?? false, collation]);

const lifetime = ({ expireAfterSeconds }: IndexDescription): number | undefined => expireAfterSeconds;
