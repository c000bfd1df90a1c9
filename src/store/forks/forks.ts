import type { ClientSession } from "mongodb";
import type { Call } from "../../domain/call.js";
import type { Decision } from "../../domain/decision.js";
import { sessionNotFound, storageUnavailable } from "../../domain/errors.js";
import { type Copied, copyOf, type Extent, type Fork, type ForkState } from "../../domain/fork.js";
import { idOf, messageKeyOf } from "../../domain/keys.js";
import { NO_TIME, type SessionRecord, type UserRecord } from "../../domain/records.js";
import { transaction } from "../changes/transaction.js";
import { changes } from "../changes/update.js";
import { bounded, type Database } from "../database.js";
import { OPERATION_TIMEOUT_MS } from "../driver-errors.js";
import { LIVE } from "../messages.js";
import { findRaw } from "../raw.js";
import { isVisible } from "../sessions.js";
import { withoutFork } from "./copies.js";

/**
 * Makes a session that begins as a copy of another one's memory. The messages are copied in bounded batches, under an epoch that no
 * session has yet, and the last transaction makes the session which has it: so nobody sees it before it is whole.
 *
 * While it is under way a record says so, which every step writes, and its source names it. Whoever changes messages of the source
 * changes their copies in the same transaction, see copies.ts; whoever erases the source, or finds that nobody goes on with the copy,
 * erases it by its record. So all of them are ordered by the database: a copy is at all times what its source is, nothing is copied
 * behind an erasure, and no session is made of what is not there any more.
 */
export interface ForkStore {
  /** Notes what is to be copied. Throws what `decide` throws, and notes nothing then. */
  begin(call: Call, fork: Fork, decide: (state: ForkState) => Extent): Promise<Copy>;
  /** Copies some more. Nothing when the source has another memory by now. */
  copy(call: Call, copy: Copy): Promise<Copy | undefined>;
  /** Makes the session. Throws what `decide` throws; then, or when its result is nothing, nothing is changed. */
  publish(
    call: Call,
    copy: Copy,
    decide: (state: ForkState, copied: Copied) => Decision<SessionRecord | undefined>,
  ): Promise<SessionRecord | undefined>;
}

/** How far a copy is. */
export interface Copy {
  readonly fork: Fork;
  readonly extent: Extent;
  /** The sequence up to which all messages are copied. */
  readonly to: number;
  /** How many of those that come next are about as many bytes as are copied at a time. */
  readonly limit: number;
}

/** What is copied at a time: so little that others hardly notice. */
const BATCH_MESSAGES = 500;
const BATCH_BYTES = 512 * 1024;
/** Until something is known of their sizes. */
const FIRST_MESSAGES = 100;

export function createForkStore(database: Database): ForkStore {
  const { sessions, messages, users, forks } = database;
  const inTransaction = <T>({ deadline }: Call, run: (tx: ClientSession) => Promise<T>): Promise<T> =>
    transaction(database, Math.min(deadline, Date.now() + OPERATION_TIMEOUT_MS), run);

  return {
    begin: (call, fork, decide) =>
      inTransaction(call, async (tx) => {
        const { epoch, source, target } = fork;
        // First of all, so that whatever adds to the source meanwhile comes after it.
        await sessions.updateOne({ _id: source }, { $push: { forks: epoch } }, { session: tx });
        const extent = decide(await read(fork, tx));
        const { sourceEpoch, memoryVersion } = extent;
        const place = { session: target, source, sourceEpoch, memoryVersion };
        const record = { _id: epoch, ...place, messageCount: 0, aliveTime: database.now() };
        await forks.insertOne(record, { session: tx });
        return { fork, extent, to: 0, limit: FIRST_MESSAGES };
      }),

    copy: (call, copy) =>
      inTransaction(call, async (tx) => {
        const { fork, extent, to, limit } = copy;
        const { sourceEpoch, upTo } = extent;
        const state = { projection: { epoch: 1, deleted: 1, purging: 1 }, session: tx };
        const source = await sessions.findOne({ _id: fork.source }, state);
        if (!source || !isVisible(source)) throw sessionNotFound(idOf(fork.source));
        if (source.epoch !== sourceEpoch) return undefined;

        const range = { session: fork.source, epoch: sourceEpoch, sequence: { $gt: to, $lte: upTo }, ...LIVE };
        const query = { filter: range, sort: { sequence: 1 } as const, limit };
        const found = await findRaw(database, "messages", query, { ...bounded(call), session: tx });
        let bytes = 0;
        const end = found.documents.findIndex(({ size }) => {
          bytes += size;
          return bytes > BATCH_BYTES;
        });
        const some = end < 0 ? found.documents : found.documents.slice(0, Math.max(end, 1));
        const isAll = some.length < limit && some.length === found.documents.length && !found.mayBeCut;
        if (some.length > 0) {
          const records = some.map((document) => document.record());
          const progress = { $inc: { messageCount: records.length }, $currentDate: { aliveTime: true as const } };
          const own = { _id: fork.epoch, aliveTime: { $gt: NO_TIME } };
          const { matchedCount } = await forks.updateOne(own, progress, { session: tx });
          if (matchedCount === 0) throw abandoned();
          const place = { _id: fork.epoch, session: fork.target };
          await messages.insertMany(
            records.map((record) => copyOf(record, place)),
            { session: tx },
          );
        }
        const last = some.at(-1)?.pick("sequence").sequence ?? upTo;
        const average = found.bytes / Math.max(found.documents.length, 1);
        const next = Math.ceil(BATCH_BYTES / Math.max(average, 1));
        return { fork, extent, to: isAll ? upTo : last, limit: Math.min(next, BATCH_MESSAGES) };
      }),

    publish: (call, { fork, extent }, decide) =>
      inTransaction(call, async (tx) => {
        const { epoch, source, target } = fork;
        // First of all, as above; and nobody can erase the source meanwhile, or change what is copied of it.
        await sessions.updateOne({ _id: source, forks: epoch }, withoutFork(epoch), { session: tx });
        const record = await forks.findOneAndDelete({ _id: epoch, aliveTime: { $gt: NO_TIME } }, { session: tx });
        const state = await read(fork, tx);
        const newest = await messages.findOne(
          { session: target, epoch },
          { sort: { sequence: -1 }, projection: { createTime: 1 }, session: tx },
        );
        const { messageCount = 0, memoryVersion = extent.memoryVersion } = record ?? {};
        const lastMessageTime = newest?.createTime;
        const decision = decide(state, { ...extent, messageCount, memoryVersion, lastMessageTime });
        const { session: after } = decision;
        if (!after) throw new OtherMemory();
        if (!record) throw abandoned();
        const before = state.target.session;
        const update = before && changes(before, after);
        if (update) await sessions.updateOne({ _id: target }, update, { session: tx });
        else await sessions.insertOne(after, { session: tx });
        for (const user of decision.users ?? []) {
          const counted = changes(state.target.users.get(user._id) as UserRecord, user);
          if (counted) await users.updateOne({ _id: user._id }, counted, { session: tx });
        }
        return decision.result;
      }).catch((error: unknown) => {
        if (error instanceof OtherMemory) return undefined;
        throw error;
      }),
  };

  /** Both sessions with all that a decision about them needs. */
  async function read(fork: Fork, tx: ClientSession): Promise<ForkState> {
    const { source: sourceKey, target: targetKey, upToMessageId } = fork;
    const found = await sessions
      .aggregate<SessionRecord & { now: Date }>(
        [{ $match: { _id: { $in: [sourceKey, targetKey] } } }, { $set: { now: "$$NOW" } }],
        { session: tx },
      )
      .toArray();
    const recordOf = (key: string): SessionRecord | undefined => {
      const one = found.find(({ _id }) => _id === key);
      if (!one) return undefined;
      const { now, ...record } = one;
      return record;
    };
    const [source, target] = [recordOf(sourceKey), recordOf(targetKey)];
    const message =
      source &&
      upToMessageId !== undefined &&
      (await messages.findOne({ _id: messageKeyOf(source.epoch, upToMessageId), session: sourceKey }, { session: tx }));
    const owner = source && fork.owner(source);
    const user = owner === undefined ? null : await users.findOne({ _id: owner }, { session: tx });
    const state = {
      users: new Map(owner === undefined ? [] : [[owner, user]]),
      newest: [],
      unmarkedCount: 0,
      epochs: [],
      now: found[0]?.now ?? database.now(),
    };
    return {
      source: {
        ...state,
        session: source,
        messages: new Map(message && upToMessageId !== undefined ? [[upToMessageId, message]] : []),
      },
      target: { ...state, session: target, messages: undefined },
    };
  }
}

const abandoned = () => storageUnavailable(new Error("the copy took so long that it was taken for abandoned"));

/** Ends a transaction which is not to change anything. */
class OtherMemory extends Error {}
