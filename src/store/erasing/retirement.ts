import { keyOf, keyRange, projectOf } from "../../domain/keys.js";
import type { ErasureRecord, RetiredEpoch, SessionRecord, UserRecord, UserTask } from "../../domain/records.js";
import { unclaimed } from "../../domain/session.js";
import { receiptOf } from "../../domain/user.js";
import { transaction } from "../changes/transaction.js";
import type { Database } from "../database.js";
import { OPERATION_TIMEOUT_MS, translated } from "../driver-errors.js";
import { eraseCopiesOf, eraseCopy } from "../forks/copies.js";
import { type StoreObserver, UNOBSERVED } from "../observer.js";
import { eraseVectors } from "../vectors/vector-erasure.js";
import { createErasureCount } from "./erasure-count.js";
import { eraseMessages } from "./message-erasure.js";
import { withWorkList } from "./work-list.js";

/**
 * What follows a deletion: messages of retired epochs get the time at which the TTL index erases them, or lose it again, or
 * are erased; sessions of deleted users are retired. What is to be done stands on the documents themselves. It is done in
 * bounded batches, can be broken off after each of them, and can be done by several processes at once.
 */
export interface Retirement {
  /** Gives the messages of the session's retired epochs their time, as far as that is still to be done. */
  mark(session: string): Promise<void>;
  /** Takes the time off the messages that a restoration has claimed. Stops when the claim is lost. */
  unmark(session: string, token: string): Promise<void>;
  /** Erases what is condemned in a session, and the session too if it is. The answer is how many messages. */
  erase(session: string): Promise<number>;
  /** Erases messages deleted up to this time, out of sessions that live on. The answer is how many. */
  eraseMessages(project: string, deletedUpTo: Date): Promise<number>;
  /** Erases the copy of a memory that is not to become a session: in any case, or if nobody has gone on with it since a time. */
  eraseCopy(epoch: string, idleSince?: Date): Promise<void>;
  /** Soft-deletes the live sessions that the user had when they were deleted. */
  retireSessionsOf(user: UserRecord): Promise<void>;
  /** Ends the retirement of a deleted user: the TTL index may erase them once all their sessions carry their time too. */
  release(user: UserRecord): Promise<void>;
  /**
   * Erases the document of a user, at the end of this erasure of theirs. The answer is the receipt, if it leaves one, whoever has written
   * it.
   */
  eraseUser(user: string, task: UserTask): Promise<ErasureRecord | undefined>;
}

const BATCH = 1000;

/** A restoration that takes longer than this has been abandoned, by a crash say, or will have to begin again. */
const CLAIM_MS = 60_000;

export function createRetirement(database: Database, observer: StoreObserver = UNOBSERVED): Retirement {
  const { sessions, messages, users, erasures } = database;
  const countErased = createErasureCount(database, observer);

  /**
   * One batch of one retired epoch, in a transaction that also writes the session document: so a batch of marking can
   * never meet a session that has been restored in between, nor the reverse.
   */
  const step = (session: string, task: "mark" | "unmark", select: (entry: RetiredEpoch, now: Date) => boolean) =>
    transaction(database, Date.now() + OPERATION_TIMEOUT_MS, async (tx): Promise<"more" | "done"> => {
      const [found] = await sessions
        .aggregate<Pick<SessionRecord, "deleted" | "purging" | "purgeTime" | "retired"> & { now: Date }>(
          [
            { $match: { _id: session } },
            { $project: { deleted: 1, purging: 1, purgeTime: 1, retired: 1, now: "$$NOW" } },
          ],
          { session: tx },
        )
        .toArray();
      const selected = found?.retired?.find((entry) => select(entry, found.now));
      if (!found?.retired || !selected) return "done";
      const entry = selected.task === task ? selected : unclaimed(selected);

      const batch = await messages
        .find(
          { session, epoch: entry.epoch, sequence: { $gt: entry.doneTo } },
          { sort: { sequence: 1 }, limit: BATCH, projection: { sequence: 1 }, session: tx },
        )
        .toArray();
      await messages.updateMany(
        { _id: { $in: batch.map(({ _id }) => _id) }, session, deleted: { $exists: false } },
        task === "mark"
          ? { $set: { deleteTime: entry.deleteTime, expireAt: entry.purgeTime } }
          : { $unset: { deleteTime: true, expireAt: true } },
        { session: tx },
      );

      const complete = batch.length < BATCH;
      if (task === "mark") {
        const upTo = complete ? undefined : batch.at(-1)?.sequence;
        await eraseVectors(database, tx, { session, epoch: entry.epoch }, { after: entry.doneTo, upTo });
      }
      const rest = found.retired.flatMap((other) => {
        if (other !== selected) return [other];
        if (complete && task === "mark") return [];
        const doneTo = batch.at(-1)?.sequence ?? entry.doneTo;
        return [{ ...entry, doneTo, ...(task === "unmark" && { claimTime: found.now }) }];
      });
      await sessions.updateOne({ _id: session }, withWorkList(found, rest), { session: tx });
      const nothingLeft = complete && (task === "unmark" || rest.length === 0);
      return nothingLeft ? "done" : "more";
    });

  return {
    async mark(session) {
      const isToMark = (entry: RetiredEpoch, now: Date): boolean =>
        entry.task === "mark" || (entry.task === "unmark" && isAbandoned(entry, now));
      while ((await step(session, "mark", isToMark)) === "more");
    },
    async unmark(session, token) {
      while ((await step(session, "unmark", (entry) => entry.token === token)) === "more");
    },
    async erase(session) {
      const find = () => sessions.findOne({ _id: session }, { projection: { purging: 1, retired: 1 } });
      const found = await translated(find);
      const retired = found?.retired ?? [];
      const condemned = retired.filter(({ task }) => task === "erase");
      let erased = 0;
      for (const { epoch, counted } of condemned) {
        // Also what of it is being copied at this moment: it would be there after all.
        await eraseCopiesOf(database, { session, epoch }, observer);
        erased += counted
          ? await countErased.messagesOf({ session, epoch })
          : await eraseMessages(database, { session, epoch }, observer);
        await translated(() => eraseVectors(database, undefined, { session, epoch }));
      }
      if (condemned.some(({ counted }) => counted)) {
        await countErased.session(session, new Set(condemned.map(({ epoch }) => epoch)));
        return erased;
      }
      // The document goes last, and only if nobody has made a new session of it meanwhile.
      if (found?.purging && condemned.length === retired.length) {
        const unchanged = { _id: session, purging: true as const, retired: found.retired ?? { $exists: false } };
        const { deletedCount } = await translated(() => sessions.deleteOne(unchanged));
        if (deletedCount === 1) {
          observer.erased("sessions", 1);
          return erased;
        }
      }
      const isDone = ({ task, epoch }: RetiredEpoch): boolean =>
        task === "erase" && condemned.some((entry) => entry.epoch === epoch);
      await transaction(database, Date.now() + OPERATION_TIMEOUT_MS, async (tx) => {
        const now = await sessions.findOne({ _id: session }, { session: tx });
        if (!now?.retired?.some(isDone)) return;
        const rest = now.retired.filter((entry) => !isDone(entry));
        await sessions.updateOne({ _id: session }, withWorkList(now, rest), { session: tx });
      });
      return erased;
    },
    eraseMessages(project, deletedUpTo) {
      const { from, to } = keyRange(project);
      const theirs = {
        deleteTime: { $lte: deletedUpTo },
        expireAt: { $exists: true },
        session: { $gte: from, $lt: to },
      };
      return eraseMessages(database, theirs, observer);
    },
    eraseCopy: (epoch, idleSince) =>
      eraseCopy(database, { _id: epoch, ...(idleSince && { aliveTime: { $lte: idleSince } }) }, observer),
    async retireSessionsOf(user) {
      const theirs = { user: user._id, deleted: false, userEpoch: user.epoch };
      for (;;) {
        const find = () => sessions.find(theirs, { limit: BATCH, projection: { _id: 1 } }).toArray();
        const batch = { _id: { $in: (await translated(find)).map(({ _id }) => _id) } };
        if (batch._id.$in.length === 0) return;
        await translated(() => sessions.updateMany({ ...batch, ...theirs }, [retirementWith(user)]));
      }
    },
    release: (user) =>
      translated(async () => {
        const unfinished = await sessions.findOne(
          { user: user._id, expireAt: { $exists: false } },
          { projection: { _id: 1 } },
        );
        if (unfinished) return;
        // A new version, so that an undelete that was decided on what was there before is decided again.
        await users.updateOne(
          { _id: user._id, version: user.version, "task.kind": "retire" },
          { $set: { expireAt: user.purgeTime, version: user.version + 1 }, $unset: { task: true } },
        );
      }),
    async eraseUser(user, { kind, epoch, erasure }) {
      const theirs = { _id: user, "task.kind": kind, "task.epoch": epoch };
      if (!erasure) {
        const { deletedCount } = await translated(() => users.deleteOne(theirs));
        observer.erased("users", deletedCount);
        return undefined;
      }
      const written = await transaction(database, Date.now() + OPERATION_TIMEOUT_MS, async (tx) => {
        const [found] = await users
          .aggregate<UserRecord & { now: Date }>([{ $match: theirs }, { $set: { now: "$$NOW" } }], { session: tx })
          .toArray();
        if (!found?.task?.erasure) return undefined;
        const receipt = receiptOf(found, found.task.erasure, found.now);
        await erasures.insertOne(receipt, { session: tx });
        await users.deleteOne(theirs, { session: tx });
        return receipt;
      });
      if (written) observer.erased("users", 1);
      const find = () => erasures.findOne({ _id: keyOf(projectOf(user), erasure.receipt) });
      return written ?? (await translated(find)) ?? undefined;
    },
  };
}

function isAbandoned({ claimTime }: RetiredEpoch, now: Date): boolean {
  return claimTime === undefined || now.getTime() - claimTime.getTime() > CLAIM_MS;
}

/**
 * What a deletion does to a session, as an update that the database makes by itself, one document at a time. When the user is being
 * erased, nothing gets a time: the TTL index, which would take it then, does not count what it takes.
 */
function retirementWith({ epoch, deleteTime, purgeTime, task }: UserRecord): { $set: object } {
  const isErased = task?.kind === "purge";
  const hasMemory = { $gt: ["$messageCount", 0] };
  const entry = { epoch: "$epoch", deleteTime, purgeTime, doneTo: 0, task: "mark" };
  return {
    $set: {
      deleted: true,
      deleteTime,
      purgeTime: isErased ? "$$REMOVE" : purgeTime,
      updateTime: deleteTime,
      version: { $add: ["$version", 1] },
      takenBy: epoch,
      retired: {
        $cond: [
          !isErased && hasMemory,
          { $concatArrays: [{ $ifNull: ["$retired", []] }, [entry]] },
          { $ifNull: ["$retired", "$$REMOVE"] },
        ],
      },
      expiresAt: "$$REMOVE",
      expireAt: isErased
        ? "$$REMOVE"
        : { $cond: [{ $or: [hasMemory, { $isArray: "$retired" }] }, "$$REMOVE", purgeTime] },
    },
  };
}
