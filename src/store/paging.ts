import type { Collection, Document, Filter } from "mongodb";
import type { Call } from "../domain/call.js";
import { bounded, type Database } from "./database.js";
import { translated } from "./driver-errors.js";
import { findRaw, type RawDocument, type RawName, type RawRecords } from "./raw.js";

export interface PageQuery<R> {
  readonly filter: Filter<R>;
  readonly sort: Record<string, 1 | -1>;
  readonly limit: number;
  readonly projection?: Document;
}

/**
 * One page of a listing: one query, one batch, no cursor left open. The database cuts a batch at 16 MiB, so a page may be
 * shorter than asked for though more is there; only an empty one is the end.
 */
export function readPage<R extends Document>(collection: Collection<R>, call: Call, query: PageQuery<R>): Promise<R[]> {
  const { filter, limit, ...options } = query;
  return onePage(
    call,
    (bound) =>
      collection
        .find(filter, { ...options, limit, batchSize: limit, singleBatch: true, ...bound })
        .toArray() as Promise<R[]>,
  );
}

/** The same, for items of which most is only passed on. */
export function readRawPage<Name extends RawName>(
  database: Database,
  name: Name,
  call: Call,
  query: PageQuery<RawRecords[Name]>,
): Promise<readonly RawDocument<RawRecords[Name]>[]> {
  return onePage(call, async (bound) => (await findRaw(database, name, query, bound)).documents);
}

/**
 * A listing that finds nothing to send has no other place where it could end with its call. What is under way is not broken off:
 * the driver would drop a connection of everybody's for it.
 */
async function onePage<T>(call: Call, read: (bound: { maxTimeMS: number }) => Promise<T>): Promise<T> {
  call.signal.throwIfAborted();
  return await translated(() => read(bounded(call)));
}

/**
 * What comes after a position in the order of a time and `_id`: one range of the index, whose beginning may hold some entries
 * of the same time to pass over. Written as an alternative of two ranges, the database sorts.
 */
export function afterTime(field: string, [time, key]: readonly [number, string], descending: boolean): Document {
  const [beyond, from] = descending ? ["$lt", "$lte"] : ["$gt", "$gte"];
  const date = new Date(time);
  return { [field]: { [from]: date }, $or: [{ [field]: { [beyond]: date } }, { _id: { [beyond]: key } }] };
}
