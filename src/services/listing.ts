import { CHUNK_BYTES, DEFAULT_CHUNK_SIZE, MAX_CHUNK_SIZE } from "../domain/limits.js";

/** A listing as pages of stored items, each read after the last item of the one before. */
export interface Pages<R, P> {
  /** The next items after a position; may be fewer than asked for, and none only at the end. */
  read(after: P | undefined, limit: number): Promise<readonly R[]>;
  positionOf(item: R): P;
  /** About how many bytes an item has on the wire. */
  sizeOf(item: R): number;
  /** Whether an item that was read belongs to the listing. Default: each does. */
  includes?(item: R): boolean;
}

export interface Chunk<R, P> {
  readonly items: R[];
  /** Where the listing goes on; undefined when it is complete. */
  readonly next: P | undefined;
}

/**
 * A listing in chunks that are bounded in items and in bytes. One item more than a chunk holds is read before it is yielded,
 * so that the last one is known to be the last. Nothing is read ahead of a consumer who does not ask for more, and what was read
 * and not yet asked for is read again when it has got old: it may have been deleted since.
 */
export async function* inChunks<R, P>(
  pages: Pages<R, P>,
  from: P | undefined,
  request: { limit: number; chunkSize: number },
): AsyncGenerator<Chunk<R, P>> {
  const chunkSize = Math.min(request.chunkSize || DEFAULT_CHUNK_SIZE, MAX_CHUNK_SIZE);
  const limit = request.limit || Number.POSITIVE_INFINITY;
  let after = from;
  let count = 0;
  for (let isOld = true; isOld; ) {
    isOld = false;
    let chunk: R[] = [];
    let bytes = 0;
    reading: for await (const { items, readAt } of pagesOf(pages, after, Math.min(limit, chunkSize) + 1)) {
      for (const item of items) {
        const size = pages.sizeOf(item);
        const isFull = chunk.length === chunkSize || (chunk.length > 0 && bytes + size > CHUNK_BYTES);
        if (isFull || count === limit) {
          after = pages.positionOf(chunk.at(-1) as R);
          yield { items: chunk, next: after };
          if (count === limit) return;
          chunk = [];
          bytes = 0;
          isOld = performance.now() - readAt > FRESH_MS;
          if (isOld) break reading;
        }
        chunk.push(item);
        bytes += size;
        count += 1;
      }
    }
    if (chunk.length > 0) yield { items: chunk, next: undefined };
  }
}

/** How long what was read is passed on without a look whether it is still there. */
const FRESH_MS = 100;

/** The largest number of items that one page reads. */
const MAX_PAGE = 1000;

/** A page that was cut by its bytes has at least about this many; a shorter one has no successor. */
const CUT_PAGE_BYTES = 4 * 1024 * 1024;

/** Reads small pages first and larger ones then: most listings are read only at their beginning. */
async function* pagesOf<R, P>(
  pages: Pages<R, P>,
  from: P | undefined,
  firstPage: number,
): AsyncGenerator<{ readonly items: readonly R[]; readonly readAt: number }> {
  let after = from;
  let limit = Math.min(firstPage, MAX_PAGE);
  for (;;) {
    const page = await pages.read(after, limit);
    const last = page.at(-1);
    if (last === undefined) return;
    yield { items: page.filter((item) => pages.includes?.(item) ?? true), readAt: performance.now() };
    const isCut = page.length < limit && page.reduce((bytes, item) => bytes + pages.sizeOf(item), 0) >= CUT_PAGE_BYTES;
    if (page.length < limit && !isCut) return;
    after = pages.positionOf(last);
    limit = Math.min(limit * 4, MAX_PAGE);
  }
}

/** How many bytes these texts have in UTF-8: about what they add to a message on the wire. */
export function utf8Bytes(...texts: (string | undefined)[]): number {
  return texts.reduce((sum, text) => sum + (text === undefined ? 0 : Buffer.byteLength(text)), 0);
}
