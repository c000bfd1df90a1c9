import type { Collection, Document, Filter } from "mongodb";
import type { Call } from "../domain/call.js";
import { bounded } from "./database.js";
import { translated } from "./driver-errors.js";
import { RAW, type Raw, readRaw } from "./raw.js";

/**
 * One page of a listing: one query, one batch, no cursor left open. The database cuts a batch at 16 MiB, so a page may be
 * shorter than asked for though more is there; only an empty one is the end.
 */
export async function readPage<R extends Document>(
  collection: Collection<R>,
  call: Call,
  query: PageQuery<R>,
): Promise<R[]> {
  // A listing that finds nothing to send has no other place where it could end with its call.
  call.signal.throwIfAborted();
  return await translated(
    () =>
      collection
        .find(query.filter, {
          sort: query.sort,
          limit: query.limit,
          batchSize: query.limit,
          singleBatch: true,
          projection: query.projection,
          // Not broken off with its call, once it is under way: the driver would drop a connection of everybody's for it.
          ...bounded(call),
          raw: query.raw ?? false,
        })
        .toArray() as Promise<R[]>,
  );
}

/** The same, for items of which most is only passed on. */
export async function readRawPage<R extends Document>(
  collection: Collection<R>,
  call: Call,
  query: PageQuery<R>,
): Promise<Raw<R>[]> {
  return (await readPage(collection, call, { ...query, ...RAW })).map((document) => readRaw(document));
}

interface PageQuery<R> {
  readonly filter: Filter<R>;
  readonly sort: Record<string, 1 | -1>;
  readonly limit: number;
  readonly projection?: Document;
  readonly raw?: true;
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
