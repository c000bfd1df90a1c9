import type { ClientSession, Document, Filter } from "mongodb";
import type { MessagePlace } from "../../domain/decision.js";
import { copyOf } from "../../domain/fork.js";
import { messageIdOf, messageKeyOf } from "../../domain/keys.js";
import { type ForkRecord, type MessageRecord, NO_TIME } from "../../domain/records.js";
import type { Database } from "../database.js";
import { translated } from "../driver-errors.js";
import { eraseMessages } from "../erasing/message-erasure.js";
import type { MemoryKey } from "../messages.js";
import type { StoreObserver } from "../observer.js";

/**
 * Copies of messages that are under way to a session which is not there yet, see forks.ts. They are as much a part of the memory that
 * is copied as of the one that is to be: what is changed or erased there is changed or erased here, too.
 */

/** The copies of a memory that are under way, and by how much the change of it that is to be made to them moves its `memoryVersion`. */
export interface UnderWay {
  readonly epochs: readonly string[];
  readonly moves: number;
}

/**
 * Changes the copies of messages in the transaction that changes these, so that a copy is at all times what the source is, and what
 * was there before is gone with both.
 */
export async function changeCopies(
  database: Database,
  tx: ClientSession,
  { epochs, moves }: UnderWay,
  changed: readonly MessageRecord[],
): Promise<void> {
  const { messages } = database;
  for (const epoch of epochs) {
    const fork = await changeFork(database, tx, epoch, moves);
    if (!fork) continue;
    const gone = changed.filter(({ deleted }) => deleted);
    if (gone.length > 0) await eraseFrom(database, tx, fork, gone);
    const writes = changed
      .filter(({ deleted }) => !deleted)
      .map((message) => copyOf(message, fork))
      .map(({ _id, ...replacement }) => ({
        replaceOne: { filter: { _id, session: fork.session }, replacement },
      }));
    if (writes.length > 0) await messages.bulkWrite(writes, { session: tx });
  }
}

/** Erases the copies of messages in the transaction that takes these away. */
export async function takeCopiesAway(
  database: Database,
  tx: ClientSession,
  { epochs, moves }: UnderWay,
  places: readonly MessagePlace[],
): Promise<void> {
  for (const epoch of epochs) {
    const fork = await changeFork(database, tx, epoch, moves);
    if (fork) await eraseFrom(database, tx, fork, places);
  }
}

/** First of all, so that a batch which has read messages before a change of them is not written: it writes here, too. */
const changeFork = ({ forks }: Database, tx: ClientSession, epoch: string, moves: number): Promise<ForkRecord | null> =>
  forks.findOneAndUpdate({ _id: epoch }, { $inc: { memoryVersion: moves } }, { session: tx });

async function eraseFrom(
  { forks, messages }: Database,
  tx: ClientSession,
  { _id: epoch, session }: ForkRecord,
  gone: readonly MessagePlace[],
): Promise<void> {
  const copies = { _id: { $in: gone.map((message) => messageKeyOf(epoch, messageIdOf(message))) }, session };
  const { deletedCount } = await messages.deleteMany(copies, { session: tx });
  await forks.updateOne({ _id: epoch }, { $inc: { messageCount: -deletedCount } }, { session: tx });
}

/** Erases a copy that is not to become a session, if `isMeant` holds for it. Whoever is still at it goes no further. */
export async function eraseCopy(
  database: Database,
  isMeant: Filter<ForkRecord> & { readonly _id: string },
  observer: StoreObserver,
): Promise<void> {
  const { forks, sessions } = database;
  const fork = await translated(() => forks.findOneAndUpdate(isMeant, { $set: { aliveTime: NO_TIME } }));
  if (!fork) return;
  const { _id: epoch, session, source } = fork;
  await eraseMessages(database, { session, epoch }, observer);
  await translated(() => sessions.updateOne({ _id: source, forks: epoch }, withoutFork(epoch)));
  // Last of all: nothing else says what there is to be erased.
  await translated(() => forks.deleteOne({ _id: epoch }));
}

/** Erases all copies of a memory. */
export async function eraseCopiesOf(
  database: Database,
  { session, epoch }: MemoryKey,
  observer: StoreObserver,
): Promise<void> {
  const theirs = database.forks.find({ source: session, sourceEpoch: epoch }, { projection: { _id: 1 } });
  for (const { _id } of await translated(() => theirs.toArray())) await eraseCopy(database, { _id }, observer);
}

/** All messages of a session, whatever their epoch. Those that are to become another session of this key are none of them. */
export async function messagesOf(
  { forks }: Database,
  session: string,
  tx?: ClientSession,
): Promise<Filter<MessageRecord>> {
  const underWay = await forks.find({ session }, { projection: { _id: 1 }, session: tx }).toArray();
  return { session, ...(underWay.length > 0 && { epoch: { $nin: underWay.map(({ _id }) => _id) } }) };
}

/** The update that takes a fork off the session that it is of. */
export function withoutFork(epoch: string): Document[] {
  const rest = { $setDifference: ["$forks", [epoch]] };
  return [{ $set: { forks: { $cond: [{ $eq: [rest, []] }, "$$REMOVE", rest] } } }];
}
