import type { Call } from "../domain/call.js";
import { storageUnavailable } from "../domain/errors.js";
import type { UserRecord, UserTask } from "../domain/records.js";
import { changes } from "./changes/update.js";
import { bounded, type Database } from "./database.js";
import { isDuplicateKey, translated } from "./driver-errors.js";
import { createKeyRead } from "./key-reads.js";
import { afterTime, readPage } from "./paging.js";

export interface UserStore {
  /** The user's document, live or soft-deleted. */
  get(call: Call, key: string): Promise<UserRecord | undefined>;
  /** The next live users after a position, by their create time. */
  page(call: Call, after: readonly [number, string] | undefined, limit: number): Promise<UserRecord[]>;
  /** Stores a new user. False when the id is taken. */
  insert(call: Call, user: UserRecord): Promise<boolean>;
  /**
   * Changes a user as `decide` says, which sees the stored document and the database's clock, and is asked again when another
   * change came between. Nothing is written when it returns nothing or throws.
   */
  change<U extends UserRecord | undefined>(
    call: Call,
    key: string,
    decide: (user: UserRecord | undefined, now: Date) => U,
  ): Promise<U>;
  /** Notes that a task is done, unless another has taken its place. */
  finish(key: string, task: UserTask): Promise<void>;
}

export function createUserStore({ users, traces }: Database): UserStore {
  return {
    get: createKeyRead({ name: "read users", traces }, async (keys, bound) => {
      const found = await translated(() => users.find({ _id: { $in: [...keys] } }, bound).toArray());
      return new Map(found.map((user) => [user._id, user]));
    }),
    page: (call, after, limit) =>
      readPage(users, call, {
        filter: {
          project: call.project,
          deleted: false,
          ...(after && afterTime("createTime", after, false)),
        },
        sort: { createTime: 1, _id: 1 },
        limit,
      }),
    insert: (call, user) =>
      translated(async () => {
        try {
          await users.insertOne(user, bounded(call));
          return true;
        } catch (error) {
          if (isDuplicateKey(error)) return false;
          throw error;
        }
      }),
    async change(call, key, decide) {
      const pipeline = [{ $match: { _id: key } }, { $set: { now: "$$NOW" } }];
      while (!call.signal.aborted) {
        const read = () => users.aggregate<UserRecord & { now: Date }>(pipeline, bounded(call)).toArray();
        const [found] = await translated(read);
        const { now = new Date(), ...before } = found ?? {};
        const after = decide(found && (before as UserRecord), now);
        const update = found && after && changes(before as UserRecord, after);
        if (!update) return after;
        // Sessions that come and go move sessionCount without a new version; only a deletion and its opposite set it.
        const setsCount = found.deleted !== after.deleted;
        const unchanged = { _id: key, version: found.version, ...(setsCount && { sessionCount: found.sessionCount }) };
        const { matchedCount } = await translated(() => users.updateOne(unchanged, update, bounded(call)));
        if (matchedCount === 1) return after;
      }
      throw storageUnavailable(call.signal.reason);
    },
    finish: (key, task) =>
      translated(async () => {
        await users.updateOne(
          { _id: key, "task.kind": task.kind, "task.epoch": task.epoch },
          { $unset: { task: true } },
        );
      }),
  };
}
