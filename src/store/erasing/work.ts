import type { AbstractCursor, Document, FindCursor, WithId } from "mongodb";
import type { Call } from "../../domain/call.js";
import { keyRange } from "../../domain/keys.js";
import type { UserRecord } from "../../domain/records.js";
import { type Database, databaseTime } from "../database.js";
import { OPERATION_TIMEOUT_MS, translated } from "../driver-errors.js";
import { messagesOf } from "../forks/copies.js";

/** Finds what the purger has to do. What is found may have changed by the time it is taken in hand. */
export interface Work {
  /** The database's clock, which all times of deletion go by. */
  now(): Promise<Date>;
  /** Sessions, of one user, of one project or of all, with messages that still have to get their time or may have lost it in vain. */
  sessionsToMark(of?: { readonly user?: string; readonly project?: string }): AsyncIterable<string>;
  /** Sessions with messages that are to be erased, and sessions whose own erasure has begun. */
  sessionsToErase(): AsyncIterable<string>;
  /** Copies of memories, by their epochs, with which nobody has gone on since a time. */
  copiesIdleSince(time: Date): AsyncIterable<string>;
  /** Copies, within a project, of memories that no live session has any more: no session is made of them. */
  copiesOfNothing(project: string): AsyncIterable<string>;
  usersWithTask(): AsyncIterable<UserRecord>;
  /** All sessions of a user, deleted or not. */
  sessionsOf(user: string): AsyncIterable<string>;
  /** The deleted sessions of a user that their deletion took along. */
  sessionsTakenWith(user: string, epoch: string): AsyncIterable<string>;
  /** Live sessions that are due to expire, the oldest first. */
  sessionsExpiring(now: Date): AsyncIterable<string>;
  /** Sessions, by now of others, with messages that are to be erased for the receipt of this user's erasure. */
  sessionsCountedFor(user: string): AsyncIterable<string>;
  sessionsDue(now: Date): AsyncIterable<string>;
  usersDue(now: Date): AsyncIterable<string>;
  sessionsDeleted(project: string, upTo: Date): AsyncIterable<string>;
  usersDeleted(project: string, upTo: Date): AsyncIterable<string>;
  /** How far the work is behind. */
  lag(): Promise<Lag>;
  /** How much of a project was deleted up to this time and is still there. */
  countDeleted(call: Call, upTo: Date): Promise<{ sessions: number; messages: number; users: number }>;
}

/** In milliseconds; 0 when nothing is due. */
export interface Lag {
  /** How long ago the oldest thing that is not erased yet was due. */
  readonly purge: number;
  /** How long ago the oldest session has expired that is still live. */
  readonly expiry: number;
}

const BATCH = 200;

/** Of how many sessions whose messages have not got their time yet it is looked when that is. */
const UNMARKED_LOOKED_AT = 100;

export function createWork(database: Database): Work {
  const { sessions, messages, users, forks } = database;
  const sessionKeys = (filter: Document) => keys(sessions.find(filter, { projection: { _id: 1 }, batchSize: BATCH }));
  const userKeys = (filter: Document) => keys(users.find(filter, { projection: { _id: 1 }, batchSize: BATCH }));
  return {
    now: () => translated(() => databaseTime(database)),
    sessionsToMark: (of = {}) =>
      sessionKeys({
        retired: { $exists: true },
        "retired.task": { $in: ["mark", "unmark"] },
        ...of,
      }),
    sessionsToErase: async function* () {
      yield* sessionKeys({ retired: { $exists: true }, "retired.task": "erase" });
      yield* sessionKeys({ purging: true });
    },
    copiesIdleSince: (time) =>
      keys(forks.find({ aliveTime: { $lte: time } }, { projection: { _id: 1 }, batchSize: BATCH })),
    async *copiesOfNothing(project) {
      const { from, to } = keyRange(project);
      for await (const { _id, source, sourceEpoch } of each(forks.find({ session: { $gte: from, $lt: to } }))) {
        const live = { _id: source, epoch: sourceEpoch, deleted: false, purging: { $exists: false } };
        if (!(await translated(() => sessions.findOne(live, { projection: { _id: 1 } })))) yield _id;
      }
    },
    usersWithTask: () =>
      each(users.find({ task: { $exists: true }, "task.kind": { $exists: true } }, { batchSize: BATCH })),
    sessionsOf: (user) => sessionKeys({ user }),
    sessionsTakenWith: (user, takenBy) => sessionKeys({ user, deleted: true, takenBy }),
    sessionsExpiring: (now) =>
      keys(
        sessions.find(
          { expiresAt: { $lte: now } },
          { sort: { expiresAt: 1 }, projection: { _id: 1 }, batchSize: BATCH },
        ),
      ),
    sessionsCountedFor: (user) =>
      sessionKeys({ retired: { $exists: true }, "retired.task": "erase", "retired.counted.user": user }),
    sessionsDue: (now) => sessionKeys({ purgeTime: { $lte: now }, purging: { $exists: false } }),
    usersDue: (now) => userKeys({ purgeTime: { $lte: now } }),
    sessionsDeleted: (project, upTo) =>
      sessionKeys({ project, deleteTime: { $lte: upTo }, purging: { $exists: false } }),
    usersDeleted: (project, upTo) => userKeys({ project, deleteTime: { $lte: upTo } }),
    async lag() {
      const now = database.now();
      const bound = { limit: 1, maxTimeMS: OPERATION_TIMEOUT_MS };
      const [expiring, session, user, message, unmarked] = await translated(() =>
        Promise.all([
          sessions.find({ expiresAt: { $lte: now } }, { ...bound, ...oldestBy("expiresAt") }).next(),
          sessions.find({ purgeTime: { $lte: now } }, { ...bound, ...oldestBy("purgeTime") }).next(),
          users.find({ purgeTime: { $lte: now } }, { ...bound, ...oldestBy("purgeTime") }).next(),
          messages.find({ expireAt: { $lte: now } }, { ...bound, ...oldestBy("expireAt") }).next(),
          sessions
            .find(
              { retired: { $exists: true }, "retired.task": "mark" },
              {
                ...bound,
                limit: UNMARKED_LOOKED_AT,
                projection: { _id: 0, "retired.purgeTime": 1, "retired.task": 1 },
              },
            )
            .toArray(),
        ]),
      );
      const times = [
        session?.purgeTime,
        user?.purgeTime,
        message?.expireAt,
        ...unmarked
          .flatMap(({ retired = [] }) => retired.filter(({ task }) => task === "mark"))
          .map((entry) => entry.purgeTime),
      ];
      const since = (...times: (Date | undefined)[]) =>
        Math.max(0, ...times.flatMap((time) => (time ? [now.getTime() - time.getTime()] : [])));
      return { purge: since(...times), expiry: since(expiring?.expiresAt) };
    },
    async countDeleted({ project, signal }, upTo) {
      const goners = new Set<string>();
      let messageCount = 0;
      for await (const key of sessionKeys({ project, deleteTime: { $lte: upTo }, purging: { $exists: false } })) {
        signal.throwIfAborted();
        goners.add(key);
        messageCount += await translated(async () => messages.countDocuments(await messagesOf(database, key)));
      }
      const { from, to } = keyRange(project);
      const deletedMessages = messages.aggregate<{ _id: string; count: number }>([
        { $match: { deleteTime: { $lte: upTo }, session: { $gte: from, $lt: to } } },
        { $group: { _id: "$session", count: { $sum: 1 } } },
      ]);
      for await (const { _id, count } of each(deletedMessages)) if (!goners.has(_id)) messageCount += count;
      const userCount = await translated(() => users.countDocuments({ project, deleteTime: { $lte: upTo } }));
      return { sessions: goners.size, messages: messageCount, users: userCount };
    },
  };
}

async function* keys(cursor: FindCursor<WithId<{ _id: string }>>): AsyncGenerator<string> {
  for await (const { _id } of each(cursor)) yield _id;
}

/** The index alone answers it. */
const oldestBy = (time: string) => ({ sort: { [time]: 1 as const }, projection: { _id: 0, [time]: 1 } });

/** A cursor's documents; leaving the loop closes the cursor. */
async function* each<R>(cursor: AbstractCursor<R>): AsyncGenerator<R> {
  try {
    for (;;) {
      const next = await translated(() => cursor.next());
      if (next === null) return;
      yield next;
    }
  } finally {
    await cursor.close().catch(() => {});
  }
}
