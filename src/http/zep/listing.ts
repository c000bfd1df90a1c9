import type { Positions } from "./positions.js";
import { integers, type Query } from "./query.js";

/** Where a listing of the services goes on: after their own cursor, or with what was created after a time. */
export interface Place {
  readonly cursor: string;
  /** In milliseconds. */
  readonly createdAfter?: number;
}

export interface Chunk<T> {
  readonly items: readonly T[];
  /** Goes on after this chunk; empty on the last one of a complete listing. */
  readonly nextCursor: string;
}

/** What can be listed page by page. */
export interface Listing<T> {
  /** Names all that decides what is listed, and for whom. */
  readonly name: string;
  /** The items from a place on; 0 for all of them. */
  read(from: Place, limit: number): AsyncGenerator<Chunk<T>>;
  numberOf(item: T): number;
  /** Where what follows the bearer of a number begins, and how many items there come before it. */
  find(number: number): Promise<{ readonly place: Place; readonly skip: number }>;
  /** Where those begin that are created after this one, which is the last now; undefined where nothing tells. */
  beyond(item: T): Place | undefined;
}

/**
 * The page of a listing that the integers `limit` and `cursor` ask for. A cursor is a number of items, as the SDKs' generators count
 * them, or the `id` of an item, after which the page begins. Numbers of items are far below any id.
 */
export async function* pageOf<T>(
  listing: Listing<T>,
  query: Query,
  reader: object,
  positions: Positions<Place>,
): AsyncGenerator<readonly T[]> {
  const { limit, cursor } = integers(query, "limit", "cursor");
  const isCount = cursor <= MAX_COUNT;
  const known = cursor > 0 ? positions.find(listing.name, cursor, reader) : START;
  const from = known
    ? { place: known, skip: 0 }
    : isCount
      ? { place: START, skip: cursor }
      : await listing.find(cursor);
  let { skip } = from;
  let last: T | undefined;
  let nextCursor = "";
  for await (const chunk of listing.read(from.place, limit > 0 ? skip + limit : 0)) {
    const items = chunk.items.slice(skip);
    skip = Math.max(skip - chunk.items.length, 0);
    nextCursor = chunk.nextCursor;
    last = items.at(-1) ?? last;
    if (items.length > 0) yield items;
  }
  if (limit <= 0 || last === undefined) return;
  const end = nextCursor === "" ? listing.beyond(last) : { ...from.place, cursor: nextCursor };
  if (!end) return;
  positions.note(listing.name, listing.numberOf(last), reader, end);
  if (isCount) positions.note(listing.name, Math.max(cursor, 0) + limit, reader, end);
}

const START: Place = { cursor: "" };

/** More items than anybody has, and less than the id of what was created since the first day of 2020. */
const MAX_COUNT = 2 ** 36;

/** A JSON array of the pages' items, piece by piece. */
export async function* jsonArray<T>(
  pages: AsyncIterable<readonly T[]>,
  toJson: (item: T) => object,
): AsyncGenerator<string> {
  let before = "[";
  for await (const items of pages) {
    yield before + items.map((item) => JSON.stringify(toJson(item))).join(",");
    before = ",";
  }
  yield before === "[" ? "[]\n" : "]\n";
}
