import type { AnyBulkWriteOperation, ClientSession } from "mongodb";
import { type Decide, type Decision, LookupNeeded, type Removal, type SessionState } from "../../domain/decision.js";
import { storageUnavailable } from "../../domain/errors.js";
import { messageKeyOf } from "../../domain/keys.js";
import type { MessageRecord, SessionRecord, UserRecord } from "../../domain/records.js";
import type { Database } from "../database.js";
import {
  isDuplicateKey,
  isLookupNeeded,
  labelledInCommit,
  labelledInTransaction,
  OPERATION_TIMEOUT_MS,
  translated,
} from "../driver-errors.js";
import { changeCopies, messagesOf, type UnderWay } from "../forks/copies.js";
import type { Outcome } from "../groups.js";
import { isAsKnown, setIfAsKnown } from "../known/assumption.js";
import type { KnownSessions } from "../known/sessions.js";
import { type StoreObserver, UNOBSERVED } from "../observer.js";
import { eraseVectorsOf } from "../vectors/vector-erasure.js";
import { type Later, readLater, takeAway } from "./rewinding.js";
import { changes } from "./update.js";

/** One call's change of one session: what has to be read for its decision, and the decision. */
export interface SessionChange<T> {
  /** The session's key. */
  readonly session: string;
  readonly decide: Decide<T>;
  /** Whether it only adds to a live session, and so can be decided on what is known of it, see known/assumption.ts. */
  readonly adds?: true;
  /** The keys of the users that the decision is sure to need, given the session as stored. */
  readonly users?: (session: SessionRecord | undefined) => readonly (string | undefined)[];
  /**
   * The users that its call names, whose documents it may write. Those that it may need besides those that it is sure to are read when
   * it says so. No two groups in flight name the same, so that they do not get in each other's way.
   */
  readonly namedUsers?: readonly (string | undefined)[];
  /** The ids of the messages that the decision is sure to need. */
  readonly messages?: readonly string[];
  /** The ids of messages that it may need; they are read when it says so, or when one of them turns out to exist. */
  readonly perhapsMessages?: readonly string[];
  /** What else to read of the current memory. A change that needs any of these is alone on its session in a group. */
  readonly newest?: boolean;
  /** Those that are later than one, which is named in `messages`, too, where it is told by its id. */
  readonly later?: Later;
  readonly unmarkedCount?: boolean;
  readonly epochs?: boolean;
}

/** How often a group is decided anew, after it has read more or has met another's insert. */
const MAX_ATTEMPTS = 8;

/**
 * Runs a group of changes in one transaction: reads all that they need, decides one after the other, writes. A change
 * whose decision throws fails alone and changes nothing. Anything else that goes wrong fails the group, and nothing
 * is written; after UNAVAILABLE the transaction may have been committed all the same.
 *
 * As every change of a session writes its document, the database orders changes that race: the later one sees a
 * write conflict and is decided again.
 */
export async function applyChanges(
  database: Database,
  knownSessions: KnownSessions,
  group: readonly SessionChange<unknown>[],
  observer: StoreObserver = UNOBSERVED,
): Promise<Outcome<unknown>[]> {
  const giveUpAt = Date.now() + OPERATION_TIMEOUT_MS;
  const added = addedTo(group);
  const known = assumptions(knownSessions, added);
  let assumed = known;
  let wrong: readonly string[] = [];
  let thorough = false;
  for (let attempt = 1; ; attempt++) {
    try {
      const { outcomes, left } = await transaction(database, giveUpAt, async (tx) => {
        const work = await read(database, tx, group, thorough, assumed);
        if (assumed !== known) wrong = wrongOf(known, work.read());
        for (const key of wrong) knownSessions.distrust(key);
        const outcomes = group.map((change) => work.decide(change));
        await work.write(tx);
        return { outcomes, left: work.left() };
      });
      for (const { session, added } of left) knownSessions.learn(session, added);
      observer.cacheAsked("state", "hit", known.size - wrong.length);
      observer.cacheAsked("state", "stale", wrong.length);
      observer.cacheAsked("state", "miss", added.size - known.size);
      return outcomes;
    } catch (error) {
      // Nobody can tell what a transaction that failed has left.
      for (const { session } of group) knownSessions.forgetState(session);
      if (!(error instanceof AssumptionFailed || isLookupNeeded(error) || isDuplicateKey(error))) throw error;
      if (attempt === MAX_ATTEMPTS) throw storageUnavailable(error);
      thorough ||= !(error instanceof AssumptionFailed);
      assumed = NOTHING;
    }
  }
}

/** The sessions that were not as they were known. */
function wrongOf(
  known: ReadonlyMap<string, SessionRecord>,
  found: ReadonlyMap<string, SessionRecord>,
): readonly string[] {
  return [...known].flatMap(([key, session]) => (isAsKnown(session, found.get(key)) ? [] : [key]));
}

/** Thrown when what is known of a session turns out not to be so, or does not do for a decision: it has to be read. */
class AssumptionFailed extends Error {}

const NOTHING: ReadonlyMap<string, SessionRecord> = new Map();

/** The sessions that are only added to. */
function addedTo(group: readonly SessionChange<unknown>[]): ReadonlySet<string> {
  const read = new Set(group.filter(({ adds }) => !adds).map(({ session }) => session));
  return new Set(group.map(({ session }) => session).filter((session) => !read.has(session)));
}

/** Those of the sessions that need not be read, as they are known. */
function assumptions(known: KnownSessions, sessions: ReadonlySet<string>): ReadonlyMap<string, SessionRecord> {
  return new Map(
    [...sessions].flatMap((session): [string, SessionRecord][] => {
      const record = known.state(session);
      return record ? [[session, record]] : [];
    }),
  );
}

/** Runs a function in a transaction, again and again while others are in its way, until it must give up. */
export function transaction<T>(
  { client }: Database,
  giveUpAt: number,
  run: (tx: ClientSession) => Promise<T>,
): Promise<T> {
  return translated(() =>
    client.withSession({ defaultTransactionOptions: { readConcern: { level: "snapshot" } } }, (session) => {
      const commit = session.commitTransaction.bind(session);
      session.commitTransaction = () =>
        commit().catch((error: unknown) => {
          throw labelledInCommit(error);
        });
      return session.withTransaction(async (tx) => {
        // The driver's own bound, 120 s, is not what callers wait.
        if (Date.now() > giveUpAt) throw storageUnavailable(new Error("too many write conflicts"));
        try {
          return await run(tx);
        } catch (error) {
          throw labelledInTransaction(error);
        }
      });
    }),
  );
}

async function read(
  database: Database,
  tx: ClientSession,
  group: readonly SessionChange<unknown>[],
  thorough: boolean,
  assumed: ReadonlyMap<string, SessionRecord>,
): Promise<Workspace> {
  const keys = new Set(group.map((change) => change.session));
  const sessions = await readSessions(
    database,
    tx,
    [...keys].filter((key) => !assumed.has(key)),
  );
  for (const [key, record] of assumed) sessions.set(key, { record, now: database.now() });

  const userKeys = new Set<string>();
  const messageKeys = new Set<string>();
  for (const change of group) {
    const session = sessions.get(change.session)?.record;
    const users = [
      ...(change.users?.(session) ?? []),
      ...(thorough ? [...(change.namedUsers ?? []), session?.user] : []),
    ];
    for (const key of users) if (key) userKeys.add(key);
    const messages = [...(change.messages ?? []), ...(thorough ? (change.perhapsMessages ?? []) : [])];
    if (session) for (const id of messages) messageKeys.add(messageKeyOf(session.epoch, id));
  }

  const users = new Map<string, UserRecord | null>([...userKeys].map((key) => [key, null]));
  if (userKeys.size > 0) {
    const found = database.users.find({ _id: { $in: [...userKeys] } }, { session: tx });
    for await (const user of found) users.set(user._id, user);
  }
  const messages = new Map<string, MessageRecord>();
  if (messageKeys.size > 0) {
    const found = database.messages.find(
      { _id: { $in: [...messageKeys] }, session: { $in: [...sessions.keys()] } },
      { session: tx },
    );
    for await (const message of found) messages.set(message._id, message);
  }

  const extras = new Map<string, Extras>();
  for (const change of group) {
    const session = sessions.get(change.session)?.record;
    if (session && needsExtras(change))
      extras.set(change.session, await readExtras(database, tx, session, change, messages));
  }
  return workspace(database, { sessions, assumed, users, messages, extras }, thorough);
}

type Extras = Pick<SessionState, "newest" | "later" | "unmarkedCount" | "epochs">;

export function needsExtras({ newest, later, unmarkedCount, epochs }: SessionChange<unknown>): boolean {
  return newest === true || later !== undefined || unmarkedCount === true || epochs === true;
}

/** The sessions with the database's clock: all times that decide about erasure go by it. */
async function readSessions(database: Database, tx: ClientSession, keys: string[]) {
  const sessions = new Map<string, { record: SessionRecord; now: Date }>();
  if (keys.length === 0) return sessions;
  const found = database.sessions.aggregate<SessionRecord & { now: Date }>(
    // Of a summary, which can be large, no more than that there is one: that is enough to take it away.
    [
      { $match: { _id: { $in: keys } } },
      { $set: { now: "$$NOW" } },
      { $unset: ["summary.content", "summary.metadata"] },
    ],
    { session: tx },
  );
  for await (const { now, ...record } of found) sessions.set(record._id, { record, now });
  return sessions;
}

async function readExtras(
  database: Database,
  tx: ClientSession,
  { _id, epoch }: SessionRecord,
  change: SessionChange<unknown>,
  found: ReadonlyMap<string, MessageRecord>,
): Promise<Extras> {
  const { messages } = database;
  const memory = { session: _id, epoch };
  const newest = change.newest
    ? await messages
        .find({ ...memory, deleted: { $exists: false } }, { session: tx, sort: { sequence: -1 }, limit: 2 })
        .toArray()
    : [];
  const { than } = change.later ?? {};
  const after = typeof than === "string" ? found.get(messageKeyOf(epoch, than))?.sequence : than;
  const later =
    change.later && after !== undefined ? await readLater(database, tx, memory, after, change.later) : undefined;
  const unmarkedCount = change.unmarkedCount
    ? await messages.countDocuments(
        { ...memory, deleted: { $exists: false }, expireAt: { $exists: false } },
        { session: tx },
      )
    : 0;
  const epochs = change.epochs
    ? await messages
        .aggregate<{ _id: string }>([{ $match: await messagesOf(database, _id, tx) }, { $group: { _id: "$epoch" } }], {
          session: tx,
        })
        .map((group) => group._id)
        .toArray()
    : [];
  return { newest, later, unmarkedCount, epochs };
}

interface Reading {
  readonly sessions: ReadonlyMap<string, { record: SessionRecord; now: Date }>;
  /** Those of the sessions that have not been read. */
  readonly assumed: ReadonlyMap<string, SessionRecord>;
  readonly users: ReadonlyMap<string, UserRecord | null>;
  readonly messages: ReadonlyMap<string, MessageRecord>;
  readonly extras: ReadonlyMap<string, Extras>;
}

interface Workspace {
  /** The sessions as they were read, or assumed to be. */
  read(): ReadonlyMap<string, SessionRecord>;
  /** The sessions as the decisions leave them, and what these have added to the memory that each has now. */
  left(): { session: SessionRecord; added: readonly MessageRecord[] }[];
  decide(change: SessionChange<unknown>): Outcome<unknown>;
  write(tx: ClientSession): Promise<void>;
}

/** What was read, as the decisions of the group change it one after the other. */
function workspace(database: Database, reading: Reading, thorough: boolean): Workspace {
  const sessions = new Map([...reading.sessions].map(([key, { record }]) => [key, record]));
  const users = new Map(reading.users);
  const messages = new Map(reading.messages);
  // By their keys, for what one call has inserted or changed the next one of the group may change again.
  const inserted = new Set<string>();
  const changed = new Set<string>();
  const removals: Removal[] = [];
  const copiesOf = (key: string): UnderWay => {
    const before = reading.sessions.get(key)?.record;
    return {
      epochs: before?.forks ?? [],
      moves: (sessions.get(key)?.memoryVersion ?? 0) - (before?.memoryVersion ?? 0),
    };
  };
  const asLeft = (keys: Iterable<string>) => [...keys].map((key) => messages.get(key) as MessageRecord);

  const stateOf = (change: SessionChange<unknown>): SessionState => {
    const session = sessions.get(change.session);
    const asked = change.messages ?? (thorough ? change.perhapsMessages : undefined);
    const found = asked?.flatMap((id): [string, MessageRecord][] => {
      const message = session && messages.get(messageKeyOf(session.epoch, id));
      return message ? [[id, message]] : [];
    });
    return {
      session,
      users,
      messages: found && new Map(found),
      newest: [],
      unmarkedCount: 0,
      epochs: [],
      ...reading.extras.get(change.session),
      now: reading.sessions.get(change.session)?.now ?? database.now(),
    };
  };

  const apply = (decision: Decision<unknown>): void => {
    // Added by a call before it in the group: whether this one repeats it is to be decided on what that one has added.
    if (decision.inserted?.some(({ _id }) => messages.has(_id))) throw new LookupNeeded();
    if (decision.session) sessions.set(decision.session._id, decision.session);
    for (const user of decision.users ?? []) users.set(user._id, user);
    for (const message of decision.inserted ?? []) {
      inserted.add(message._id);
      messages.set(message._id, message);
    }
    for (const message of decision.changed ?? []) {
      if (!inserted.has(message._id)) changed.add(message._id);
      messages.set(message._id, message);
    }
    if (decision.removed) removals.push(decision.removed);
  };

  const decide = (change: SessionChange<unknown>): Outcome<unknown> => {
    try {
      const decision = change.decide(stateOf(change));
      apply(decision);
      return { result: decision.result };
    } catch (error) {
      // Reading more makes the whole group anew; whatever else a decision throws concerns its own call alone.
      if (error instanceof LookupNeeded && !thorough) throw error;
      return { error };
    }
  };

  return {
    read: () => new Map([...reading.sessions].map(([key, { record }]) => [key, record])),
    left: () => {
      const bySession = new Map<string, MessageRecord[]>();
      for (const message of asLeft(inserted)) {
        const added = bySession.get(message.session);
        if (added) added.push(message);
        else bySession.set(message.session, [message]);
      }
      return [...sessions.values()].map((session) => {
        const added = bySession.get(session._id) ?? [];
        return { session, added: added.filter(({ epoch, deleted }) => epoch === session.epoch && !deleted) };
      });
    },
    decide(change) {
      const before = sessions.get(change.session);
      const outcome = decide(change);
      // Only a write finds out whether an assumption holds: what is answered without one must have been read.
      const isWritten = "result" in outcome && sessions.get(change.session) !== before;
      if (!isWritten && reading.assumed.has(change.session)) throw new AssumptionFailed();
      return outcome;
    },
    async write(tx) {
      const sessionWrites = [...sessions].flatMap(([key, after]): AnyBulkWriteOperation<SessionRecord>[] => {
        const before = reading.sessions.get(key)?.record;
        if (before === after) return [];
        if (before === undefined) return [{ insertOne: { document: after } }];
        const update = changes(before, after);
        if (!update) return [];
        if (!reading.assumed.has(key)) return [{ updateOne: { filter: { _id: key }, update } }];
        if (update.$unset) throw new AssumptionFailed();
        return [{ updateOne: { filter: { _id: key }, update: setIfAsKnown(before, update.$set ?? {}) } }];
      });
      if (sessionWrites.length > 0) {
        const { modifiedCount, insertedCount } = await database.sessions.bulkWrite(sessionWrites, { session: tx });
        const isAllWritten = modifiedCount + insertedCount === sessionWrites.length;
        if (reading.assumed.size > 0 && !isAllWritten) throw new AssumptionFailed();
      }

      const userWrites = [...users].flatMap(([key, after]) => {
        const before = reading.users.get(key);
        const update = before && after && changes(before, after);
        return update ? [{ updateOne: { filter: { _id: key }, update } }] : [];
      });
      if (userWrites.length > 0) await database.users.bulkWrite(userWrites, { session: tx });

      if (inserted.size > 0) await database.messages.insertMany(asLeft(inserted), { session: tx });
      const messageWrites = asLeft(changed).flatMap((after) => {
        const before = reading.messages.get(after._id);
        const update = before && changes(before, after);
        return update ? [{ updateOne: { filter: { _id: after._id, session: after.session }, update } }] : [];
      });
      if (messageWrites.length > 0) await database.messages.bulkWrite(messageWrites, { session: tx });
      for (const [key, { record }] of changed.size > 0 ? reading.sessions : []) {
        const theirs = record.forks ? asLeft(changed).filter(({ session }) => session === key) : [];
        if (theirs.length > 0) await changeCopies(database, tx, copiesOf(key), theirs);
      }
      const voided = asLeft(changed).filter(
        ({ _id, content, deleted }) => deleted || content !== reading.messages.get(_id)?.content,
      );
      if (voided.length > 0) await eraseVectorsOf(database, tx, voided);

      for (const removal of removals) {
        await takeAway(database, tx, removal, copiesOf(removal.places[0]?.session ?? ""));
      }
    },
  };
}
