import type { ClientSession } from "mongodb";
import type { MessagePlace } from "../../domain/decision.js";
import type { Database } from "../database.js";
import type { MemoryKey } from "../messages.js";

/**
 * What a message means can be told from its vector nearly as well as from its text, so no vector outlives what it is of. All of this is
 * done whether this process embeds or not: another one may, or have done so once.
 */

/** Erases the vectors of messages in the transaction that takes them away, or changes what they say. */
export async function eraseVectorsOf(
  { vectors, embedded }: Database,
  tx: ClientSession,
  messages: readonly MessagePlace[],
): Promise<void> {
  for (const [session, theirs] of bySession(messages)) {
    const batch = { _id: { $in: theirs.map(({ _id }) => _id) }, session };
    const { deletedCount } = await vectors.deleteMany(batch, { session: tx });
    const [first] = theirs;
    if (deletedCount === 0 || !first) continue;
    const row = { _id: session, epoch: first.epoch };
    await embedded.updateOne(row, { $inc: { count: -deletedCount } }, { session: tx });
    await embedded.deleteOne({ ...row, count: { $lte: 0 } }, { session: tx });
  }
}

/** Erases the vectors of a memory that is retired, or those behind one sequence, up to and with another. */
export async function eraseVectors(
  { vectors, embedded }: Database,
  tx: ClientSession | undefined,
  { session, epoch }: MemoryKey,
  range?: { readonly after: number; readonly upTo: number | undefined },
): Promise<void> {
  // First what says that they are there: without it all of them are looked for anew.
  await embedded.deleteOne({ _id: session, epoch }, { session: tx });
  const sequence = range && { $gt: range.after, ...(range.upTo !== undefined && { $lte: range.upTo }) };
  await vectors.deleteMany({ session, epoch, ...(sequence && { sequence }) }, { session: tx });
}

function bySession(messages: readonly MessagePlace[]): Map<string, MessagePlace[]> {
  const groups = new Map<string, MessagePlace[]>();
  for (const message of messages) {
    const group = groups.get(message.session);
    if (group) group.push(message);
    else groups.set(message.session, [message]);
  }
  return groups;
}
