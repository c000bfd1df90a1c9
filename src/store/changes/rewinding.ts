import type { ClientSession } from "mongodb";
import type { LaterMessages, MessagePlace, Removal } from "../../domain/decision.js";
import type { Database } from "../database.js";
import { takeCopiesAway, type UnderWay } from "../forks/copies.js";
import { LIVE, type MemoryKey } from "../messages.js";
import { eraseVectorsOf } from "../vectors/vector-erasure.js";

/** What is to be read of the messages behind one of a memory. */
export interface Later {
  /** The id of a message, or a sequence. */
  readonly than: string | number;
  /** How many of them there may be. */
  readonly atMost: number;
  /** Of how many bytes what they say is read. */
  readonly bytes: number;
}

/** Reads, in a transaction, the messages behind a sequence: where they are, and of the oldest what they say. */
export async function readLater(
  { messages }: Database,
  tx: ClientSession,
  { session, epoch }: MemoryKey,
  after: number,
  { atMost, bytes }: Later,
): Promise<LaterMessages> {
  const behind = (range: object) => ({ session, epoch, sequence: range, ...LIVE });
  const found = await messages
    .find<MessagePlace & { bytes: number }>(behind({ $gt: after }), {
      session: tx,
      sort: { sequence: 1 },
      limit: atMost + 1,
      projection: { session: 1, epoch: 1, sequence: 1, bytes: { $bsonSize: "$$ROOT" } },
    })
    .toArray();
  let room = bytes;
  const first = found.filter((message) => {
    room -= message.bytes;
    return room >= 0;
  });
  const last = found.length > atMost ? undefined : first.at(-1);
  return {
    places: found.map(({ bytes, ...place }) => place),
    messages: last
      ? await messages
          .find(behind({ $gt: after, $lte: last.sequence }), { session: tx, sort: { sequence: 1 } })
          .toArray()
      : [],
    newestBefore:
      (await messages.findOne(behind({ $lte: after }), {
        session: tx,
        sort: { sequence: -1 },
        projection: { createTime: 1 },
      })) ?? undefined,
  };
}

/** Takes messages of one memory away, in the transaction that has read where they are, and with them the copies that are under way. */
export async function takeAway(
  database: Database,
  tx: ClientSession,
  { places, deleteTime, expireAt }: Removal,
  copies: UnderWay,
): Promise<void> {
  const theirs = { _id: { $in: places.map(({ _id }) => _id) }, session: places[0]?.session };
  await database.messages.updateMany(theirs, { $set: { deleted: true, deleteTime, expireAt } }, { session: tx });
  await takeCopiesAway(database, tx, copies, places);
  await eraseVectorsOf(database, tx, places);
}
