import type { AnyBulkWriteOperation, ClientSession } from "mongodb";
import type { MessageRecord, SessionRecord, SweepRecord, VectorRecord } from "../../domain/records.js";
import { transaction } from "../changes/transaction.js";
import { type Database, databaseTime } from "../database.js";
import { OPERATION_TIMEOUT_MS, translated } from "../driver-errors.js";
import { LIVE, type MemoryKey } from "../messages.js";

/**
 * The vectors of messages, for whoever makes them. What is still to be embedded stands on the session documents, so it is neither lost
 * nor forgotten, whoever dies when.
 *
 * Vectors are written in a transaction that also writes the session document, like every change of its memory, and only of messages
 * that live then and are what was read of them. So a vector and the deletion of its message are ordered by the database: none is
 * left behind.
 */
export interface VectorStore {
  /** Sessions with messages to be embedded, some of each, those first that wait longest: about so many messages altogether. */
  next(about: number): Promise<readonly Portion[]>;
  /** Writes what was made of a portion, by the keys of its messages: undefined where there is nothing to embed. How many were written. */
  write(portion: Portion, made: ReadonlyMap<string, Uint8Array | undefined>): Promise<number>;
  /** Since when the first session waits; a time that is to come when nobody has just added what it waits for. */
  firstWaiting(): Promise<Date | undefined>;
  /** By the database's clock. */
  now(): Promise<Date>;
  /** Begins to look for sessions that nobody knows to be unembedded, anew unless a search of this model has not ended yet. */
  beginSweep(): Promise<void>;
  /** The sweep that was begun last; undefined when it is of another model. */
  lastSweep(): Promise<SweepRecord | undefined>;
  /** Looks at some more sessions. */
  sweep(): Promise<void>;
}

/** Messages of a session that are to be embedded, oldest first. */
export interface Portion extends MemoryKey {
  /** Those that have no vector of the model yet. */
  readonly messages: readonly Unembedded[];
  /** Up to which sequence the session was done before, and is with these. */
  readonly from: number;
  readonly to: number;
  /** How many messages live in between. */
  readonly count: number;
  /** Set when these are not in between, but some that have lost what was there before; with vectors that are of no message. */
  readonly repair?: { readonly orphans: readonly number[] };
}

export type Unembedded = Pick<MessageRecord, "_id" | "sequence" | "role" | "content" | "version">;

/** Of each session at a time where there are many, so that others have their turn. */
const MESSAGES_A_SESSION = 64;
const SESSIONS_AT_ONCE = 32;
/** How many messages are looked at at a time for one without a vector. */
const COMPARED_AT_ONCE = 1_000;
const SWEPT_AT_ONCE = 500;

/**
 * What nobody has just added waits in the same queue, behind all else: by a time that is to come. In milliseconds, and not the last
 * one that a date can have.
 */
const LATER_MS = 100_000_000_000_000;

type State = Pick<
  SessionRecord,
  "_id" | "epoch" | "deleted" | "purging" | "lastSequence" | "messageCount" | "unembedded"
>;

const STATE = {
  epoch: 1,
  deleted: 1,
  purging: 1,
  lastSequence: 1,
  messageCount: 1,
  unembedded: 1,
} as const;

/** @param model Which model makes the vectors, see {@link VectorRecord}; @param maxCharacters how much of each message is read */
export function createVectorStore(database: Database, model: string, maxCharacters: number): VectorStore {
  const { sessions, messages, vectors, embedded, sweeps } = database;

  /** How far a session is; at its beginning when its memory, or the model, was another. */
  const progress = async ({ _id, epoch }: State, tx?: ClientSession) => {
    const row = await embedded.findOne({ _id }, { session: tx });
    return row?.epoch === epoch && row.model === model ? row : { to: 0, count: 0 };
  };

  const withVectors = async (session: string, keys: readonly string[], tx?: ClientSession): Promise<Set<string>> => {
    const options = { projection: { _id: 1 }, session: tx };
    const found = vectors.find({ _id: { $in: [...keys] }, session, model }, options);
    return new Set(await found.map(({ _id }) => _id).toArray());
  };

  const portionOf = async (state: State, limit: number): Promise<Portion> => {
    const { _id: session, epoch, lastSequence } = state;
    const { to: from, count } = await progress(state);
    const memory = { session, epoch };
    const range = { $gt: from, $lte: lastSequence };
    const found = await messages
      .find<Unembedded>({ ...memory, sequence: range, ...LIVE }, { sort: { sequence: 1 }, limit, projection })
      .toArray();
    const to = found.length === limit ? (found.at(-1)?.sequence ?? from) : lastSequence;
    if (found.length === 0 && count !== state.messageCount) {
      const { missing, orphans } = await compare(memory, from);
      return { ...memory, from, to, count: 0, messages: missing, repair: { orphans } };
    }
    const there = await withVectors(
      session,
      found.map(({ _id }) => _id),
    );
    return { ...memory, from, to, count: found.length, messages: found.filter(({ _id }) => !there.has(_id)) };
  };

  const projection = { sequence: 1, role: 1, version: 1, content: { $substrCP: ["$content", 0, maxCharacters] } };

  /** Some of the messages that have been done before, and have no vector; and of the vectors that are of no message. */
  const compare = async (memory: MemoryKey, upTo: number): Promise<{ missing: Unembedded[]; orphans: number[] }> => {
    const keys: string[] = [];
    const orphans: number[] = [];
    for (let after = 0; after < upTo && keys.length < MESSAGES_A_SESSION; ) {
      const some = await messages
        .find(
          { ...memory, sequence: { $gt: after, $lte: upTo }, ...LIVE },
          { sort: { sequence: 1 }, limit: COMPARED_AT_ONCE, projection: { sequence: 1 } },
        )
        .toArray();
      const last = some.length < COMPARED_AT_ONCE ? upTo : (some.at(-1)?.sequence ?? upTo);
      const range = { $gt: after, $lte: last };
      const options = { projection: { _id: 0, sequence: 1 } };
      const found = await vectors.find({ ...memory, model, sequence: range }, options).toArray();
      const there = new Set(found.map(({ sequence }) => sequence));
      keys.push(...some.filter(({ sequence }) => !there.has(sequence)).map(({ _id }) => _id));
      const live = new Set(some.map(({ sequence }) => sequence));
      orphans.push(...found.map(({ sequence }) => sequence).filter((sequence) => !live.has(sequence)));
      after = last;
    }
    const first = { _id: { $in: keys.slice(0, MESSAGES_A_SESSION) }, session: memory.session, ...LIVE };
    const missing = keys.length === 0 ? [] : await messages.find<Unembedded>(first, { projection }).toArray();
    return { missing, orphans: orphans.slice(0, COMPARED_AT_ONCE) };
  };

  const write = (portion: Portion, made: ReadonlyMap<string, Uint8Array | undefined>): Promise<number> =>
    transaction(database, Date.now() + OPERATION_TIMEOUT_MS, async (tx) => {
      const { session, epoch, from, to, repair } = portion;
      // First of all, so that whatever adds to this session meanwhile comes after it: those come again and again, and this would never end.
      const state = await sessions.findOneAndUpdate(
        { _id: session, epoch, deleted: false, purging: { $exists: false }, unembedded: { $exists: true } },
        [{ $set: { unembedded: LATER } }],
        { session: tx, returnDocument: "after", projection: STATE },
      );
      // Another memory by now, or done by another process: it is looked at again, if it still waits.
      if (!state) return 0;
      const before = await progress(state, tx);
      if (before.to !== from) return 0;

      const keys = [...made.keys()];
      const there = await withVectors(session, keys, tx);
      const live = new Map(
        await messages
          .find({ _id: { $in: keys }, session, ...LIVE }, { projection: { version: 1 }, session: tx })
          .map(({ _id, version }) => [_id, version] as const)
          .toArray(),
      );
      const fresh = portion.messages.filter(
        ({ _id, version }) => live.has(_id) && live.get(_id) === version && !there.has(_id),
      );
      const writes = fresh.map(({ _id, sequence }): AnyBulkWriteOperation<VectorRecord> => {
        const vector = made.get(_id);
        const replacement = { session, epoch, sequence, model, ...(vector && { vector }) };
        return { replaceOne: { filter: { _id, session }, replacement, upsert: true } };
      });
      if (writes.length > 0) await vectors.bulkWrite(writes, { session: tx });
      if (repair && repair.orphans.length > 0) {
        // A message that is gone does not come back under its epoch.
        await vectors.deleteMany({ session, epoch, model, sequence: { $in: [...repair.orphans] } }, { session: tx });
      }

      const count = await countAfter(portion, before.count, fresh.length, tx);
      if (count > 0) {
        await embedded.replaceOne({ _id: session }, { epoch, model, to, count }, { upsert: true, session: tx });
      } else await embedded.deleteOne({ _id: session }, { session: tx });
      const isDone = to >= state.lastSequence && count === state.messageCount;
      if (isDone) await sessions.updateOne({ _id: session }, { $unset: { unembedded: true } }, { session: tx });
      return fresh.length;
    });

  /** How many vectors there are then; counted where that does not follow from what was known. */
  const countAfter = async (portion: Portion, before: number, fresh: number, tx: ClientSession): Promise<number> => {
    const { session, epoch, from, to, count, repair } = portion;
    if (repair) return vectors.countDocuments({ session, epoch, model }, { session: tx });
    const range = { session, epoch, model, sequence: { $gt: from, $lte: to } };
    return before + (fresh === count ? fresh : await vectors.countDocuments(range, { session: tx }));
  };

  /** The first that wait. A session that was deleted waits for nothing any more, until it comes back. */
  const liveOnes = async (): Promise<State[]> => {
    for (;;) {
      const waiting = await sessions
        .find(
          { unembedded: { $exists: true } },
          { sort: { unembedded: 1 }, limit: SESSIONS_AT_ONCE, projection: STATE },
        )
        .toArray();
      const gone = waiting.filter(({ deleted }) => deleted).map(({ _id }) => _id);
      if (gone.length === 0) return waiting;
      await sessions.updateMany({ _id: { $in: gone }, deleted: true }, { $unset: { unembedded: true } });
    }
  };

  return {
    next: (about) =>
      translated(async () => {
        const waiting = await liveOnes();
        const limit = Math.max(MESSAGES_A_SESSION, Math.ceil(about / waiting.length));
        const portions: Portion[] = [];
        let found = 0;
        for (const state of waiting) {
          if (found >= about || (isLater(state) && portions.length > 0 && !isLater(waiting[0]))) break;
          const portion = await portionOf(state, limit);
          portions.push(portion);
          found += portion.messages.length;
        }
        return portions;
      }),
    write,
    firstWaiting: () =>
      translated(async () => {
        const first = await sessions.findOne(
          { unembedded: { $exists: true } },
          { sort: { unembedded: 1 }, projection: { unembedded: 1 } },
        );
        return first?.unembedded;
      }),
    now: () => translated(() => databaseTime(database)),
    beginSweep: () =>
      translated(async () => {
        const last = await sweeps.findOne({ _id: "sweep" });
        if (last?.model === model && !last.endTime) return;
        await sweeps.replaceOne({ _id: "sweep" }, { model, after: "" }, { upsert: true });
      }),
    lastSweep: () => translated(async () => (await sweeps.findOne({ _id: "sweep", model })) ?? undefined),
    sweep: () =>
      translated(async () => {
        const sweep = await sweeps.findOne({ _id: "sweep", model });
        if (!sweep || sweep.endTime) return;
        const some = await sessions
          .find({ _id: { $gt: sweep.after } }, { sort: { _id: 1 }, limit: SWEPT_AT_ONCE, projection: STATE })
          .toArray();
        const rows = new Map(
          await embedded
            .find({ _id: { $in: some.map(({ _id }) => _id) } })
            .map((row) => [row._id, row] as const)
            .toArray(),
        );
        const isDone = ({ _id, epoch, messageCount }: State): boolean => {
          const row = rows.get(_id);
          if (!row) return messageCount === 0;
          return row.epoch === epoch && row.model === model && row.count === messageCount;
        };
        const undone = some.filter((state) => !state.deleted && !state.unembedded && !isDone(state));
        if (undone.length > 0) {
          const theirs = { _id: { $in: undone.map(({ _id }) => _id) }, deleted: false, unembedded: { $exists: false } };
          const now = await databaseTime(database);
          await sessions.updateMany(theirs, { $set: { unembedded: new Date(now.getTime() + LATER_MS) } });
        }
        const last = some.at(-1);
        const end =
          last && some.length === SWEPT_AT_ONCE ? { after: last._id } : { endTime: await databaseTime(database) };
        await sweeps.updateOne({ _id: "sweep", model }, { $set: end });
      }),
  };
}

const isLater = (state: Pick<State, "unembedded"> | undefined): boolean =>
  (state?.unembedded?.getTime() ?? 0) >= LATER_MS;

/** Behind those that wait, in the same queue; and another time than before, so that it is a change of the document. */
const LATER = {
  $max: [
    { $add: ["$unembedded", 1] },
    { $cond: [{ $gte: ["$unembedded", new Date(LATER_MS)] }, { $add: ["$$NOW", LATER_MS] }, "$$NOW"] },
  ],
};
