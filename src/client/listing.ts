import type { SessionsClientError } from "./error.js";
import type { Retries } from "./retries.js";

/** Some items of a listing that came together. */
export interface Chunk<T> {
  readonly items: readonly T[];
  /** Where the listing goes on after these items; empty when it is complete. */
  readonly nextCursor: string;
}

/**
 * A listing that has not begun yet; each iteration begins it anew. It goes on after a lost connection or a restart of the
 * service, with no item twice and none lost. Nothing is read far ahead of a consumer who is slow, and leaving the loop
 * ends the call.
 */
export interface Listing<T> extends AsyncIterable<T> {
  [Symbol.asyncIterator](): AsyncGenerator<T, void>;
  /** The items in the chunks that they came in, each with the cursor after it. */
  chunks(): AsyncGenerator<Chunk<T>, void>;
  /** All items at once, for a listing with a limit: a page, and the cursor of the next one. */
  page(): Promise<Chunk<T>>;
}

/** A listing under way. */
export interface ListingRun<T> {
  readonly retries: Retries;
  /** The rest of the listing from a cursor on, over one connection. A `limit` of 0: all. */
  attempt(cursor: string, limit: number): AsyncIterable<Chunk<T>>;
}

export interface ListingSource<T> {
  readonly cursor: string;
  readonly limit: number;
  begin(): ListingRun<T>;
}

export function createListing<T>(source: ListingSource<T>): Listing<T> {
  const chunks = () => resuming(source);
  return {
    async *[Symbol.asyncIterator]() {
      for await (const { items } of chunks()) yield* items;
    },
    chunks,
    async page() {
      const items: T[] = [];
      let nextCursor = "";
      for await (const chunk of chunks()) {
        items.push(...chunk.items);
        nextCursor = chunk.nextCursor;
      }
      return { items, nextCursor };
    },
  };
}

/** A chunk comes wholly or not at all, so the cursor after the last one is where to go on. */
async function* resuming<T>({ cursor: from, limit, begin }: ListingSource<T>): AsyncGenerator<Chunk<T>, void> {
  const run = begin();
  let cursor = from;
  let remaining = limit > 0 ? limit : Number.POSITIVE_INFINITY;
  let isComplete = false;
  while (!isComplete) {
    try {
      for await (const chunk of run.attempt(cursor, Number.isFinite(remaining) ? remaining : limit)) {
        run.retries.reset();
        cursor = chunk.nextCursor;
        remaining -= chunk.items.length;
        isComplete = cursor === "" || remaining <= 0;
        yield chunk;
      }
      return;
    } catch (error) {
      // A connection that breaks after the last chunk takes nothing away.
      if (!isComplete) await run.retries.pauseAfter(error as SessionsClientError);
    }
  }
}
