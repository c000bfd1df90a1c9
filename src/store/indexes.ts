import type { IndexDescription } from "mongodb";
import type { Database } from "./database.js";

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
    ttl,
  ],
  messages: [
    { name: "memory", key: { session: 1, epoch: 1, sequence: 1 } },
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
  leases: [{ name: "expiry", key: { until: 1 }, expireAfterSeconds: 86_400 }],
} as const satisfies Record<string, readonly IndexDescription[]>;

/**
 * Creates what is missing; what is there already, and the same, is left alone. Collections are made here, one after the
 * other, and not by the first writes: those may come together, which the Windows build of MongoDB does not survive under Wine.
 */
export async function ensureIndexes(database: Database): Promise<void> {
  await database.sessions.createIndexes([...INDEXES.sessions]);
  await database.messages.createIndexes([...INDEXES.messages]);
  await database.users.createIndexes([...INDEXES.users]);
  await database.leases.createIndexes([...INDEXES.leases]);
}
