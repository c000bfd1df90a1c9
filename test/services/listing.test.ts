import fc from "fast-check";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { CHUNK_BYTES, MAX_CHUNK_SIZE } from "../../src/domain/limits.js";
import { type Chunk, inChunks, type Pages, utf8Bytes } from "../../src/services/listing.js";

// Time passes when a test says so.
beforeEach(() => void vi.useFakeTimers({ toFake: ["performance"] }));
afterEach(() => void vi.useRealTimers());

/** Longer than what was read counts as new. */
const pause = () => void vi.advanceTimersByTime(1_000);

/** Items are numbers, each its own position. */
interface Store extends Pages<number, number> {
  /** The pages that were read: what was asked for. */
  readonly reads: { after: number | undefined; limit: number }[];
}

interface StoreOptions {
  readonly sizeOf?: (item: number) => number;
  /** A page ends with the item that reaches this size, as the database ends a batch. */
  readonly pageBytes?: number;
  readonly includes?: (item: number) => boolean;
}

function storeOf(count: number, { sizeOf = () => 10, pageBytes = Infinity, includes }: StoreOptions = {}): Store {
  const reads: Store["reads"] = [];
  return {
    reads,
    async read(after, limit) {
      reads.push({ after, limit });
      const page: number[] = [];
      let bytes = 0;
      for (let item = (after ?? 0) + 1; item <= count && page.length < limit && bytes < pageBytes; item++) {
        page.push(item);
        bytes += sizeOf(item);
      }
      return page;
    },
    positionOf: (item) => item,
    sizeOf,
    ...(includes && { includes }),
  };
}

async function chunksOf(
  store: Store,
  { from = undefined as number | undefined, limit = 0, chunkSize = 0, isSlow = false } = {},
): Promise<Chunk<number, number>[]> {
  const chunks: Chunk<number, number>[] = [];
  for await (const chunk of inChunks(store, from, { limit, chunkSize })) {
    chunks.push(chunk);
    if (chunks.length > 1_000) throw new Error("the listing does not end");
    if (isSlow) pause();
  }
  return chunks;
}

const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index);
const sizes = (chunks: Chunk<number, number>[]) => chunks.map(({ items }) => items.length);

test("every item comes once and in order, in bounded chunks that each say where to go on, but for the last", async () => {
  const options = fc.record({
    count: fc.nat({ max: 300 }),
    limit: fc.oneof(fc.constant(0), fc.nat({ max: 310 })),
    chunkSize: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 40 }), fc.nat({ max: 2_000 })),
    from: fc.option(fc.nat({ max: 300 }), { nil: undefined }),
    every: fc.integer({ min: 1, max: 5 }),
    isSlow: fc.boolean(),
    bytes: fc.constantFrom(1, 5_000, 100_000, CHUNK_BYTES, CHUNK_BYTES + 1),
  });
  await fc.assert(
    fc.asyncProperty(options, async ({ count, limit, chunkSize, from, every, isSlow, bytes }) => {
      const includes = (item: number) => item % every === 0;
      const store = storeOf(count, { includes, sizeOf: () => bytes });
      const chunks = await chunksOf(store, { from, limit, chunkSize, isSlow });

      const all = numbers(1, count).filter((item) => item > (from ?? 0) && includes(item));
      const expected = limit === 0 ? all : all.slice(0, limit);
      expect(chunks.flatMap(({ items }) => items)).toEqual(expected);
      for (const [index, { items, next }] of chunks.entries()) {
        expect(items.length).toBeGreaterThan(0);
        expect(items.length).toBeLessThanOrEqual(Math.min(chunkSize || 100, MAX_CHUNK_SIZE));
        if (items.length > 1) expect(items.length * bytes).toBeLessThanOrEqual(CHUNK_BYTES);
        const isComplete = index === chunks.length - 1 && expected.length === all.length;
        expect(next).toBe(isComplete ? undefined : items.at(-1));
      }
    }),
    { numRuns: 300 },
  );
});

test("no items: no chunk", async () => {
  expect(await chunksOf(storeOf(0))).toEqual([]);
  expect(await chunksOf(storeOf(5), { from: 5 })).toEqual([]);
  expect(await chunksOf(storeOf(5, { includes: () => false }))).toEqual([]);
});

test("a chunk holds 100 items when not told, never more than 1000, and as many as fit whatever else", async () => {
  expect(sizes(await chunksOf(storeOf(250)))).toEqual([100, 100, 50]);
  expect(sizes(await chunksOf(storeOf(2_500), { chunkSize: 5_000 }))).toEqual([1_000, 1_000, 500]);
  const third = () => CHUNK_BYTES / 3;
  expect(sizes(await chunksOf(storeOf(7, { sizeOf: third })))).toEqual([3, 3, 1]);
  expect(sizes(await chunksOf(storeOf(3, { sizeOf: () => 10 * CHUNK_BYTES })))).toEqual([1, 1, 1]);
});

test("the last chunk has no position when the limit, a chunk or a page ends with the listing", async () => {
  const [chunk] = await chunksOf(storeOf(10), { limit: 10 });
  expect(chunk).toEqual({ items: numbers(1, 10), next: undefined });
  expect((await chunksOf(storeOf(20), { chunkSize: 10 })).at(-1)?.next).toBeUndefined();
  expect((await chunksOf(storeOf(11), { limit: 10 })).at(-1)?.next).toBe(10);
  // What is left does not belong to the listing.
  const includes = (item: number) => item <= 10;
  expect((await chunksOf(storeOf(1_000, { includes }), { limit: 10 })).at(-1)?.next).toBeUndefined();
});

test("nothing is read ahead of a consumer who does not ask for more", async () => {
  const store = storeOf(100_000);
  const chunks = inChunks(store, undefined, { limit: 0, chunkSize: 10 });
  const idle = () => new Promise((resolve) => setImmediate(resolve));
  await idle();
  expect(store.reads).toEqual([]);
  await chunks.next();
  await idle();
  expect(store.reads).toEqual([{ after: undefined, limit: 11 }]);
  await chunks.next();
  await idle();
  expect(store.reads).toHaveLength(2);
  await chunks.return(undefined);
  await idle();
  expect(store.reads).toHaveLength(2);
});

test("what goes while the consumer pauses does not come, and is not missed in the limit", async () => {
  const gone = new Set<number>();
  const store = storeOf(100, { includes: (item) => !gone.has(item) });
  const chunks = inChunks(store, undefined, { limit: 25, chunkSize: 10 });
  const items = async () => (await chunks.next()).value?.items;
  expect(await items()).toEqual(numbers(1, 10));
  pause();
  gone.add(11);
  expect(await items()).toEqual(numbers(12, 21));
  pause();
  gone.add(24);
  expect(await items()).toEqual([22, 23, 25, 26, 27]);
  expect(await items()).toBeUndefined();
});

test("a long listing needs few reads, a short one no more than it shows and one", async () => {
  const long = storeOf(100_000);
  expect((await chunksOf(long)).flatMap(({ items }) => items)).toHaveLength(100_000);
  expect(long.reads.length).toBeLessThan(110);
  expect(Math.max(...long.reads.map(({ limit }) => limit))).toBeLessThanOrEqual(1_000);
  const short = storeOf(100_000);
  await chunksOf(short, { limit: 3 });
  expect(short.reads).toEqual([{ after: undefined, limit: 4 }]);
});

test("a page that the database has cut short by its bytes is not the end", async () => {
  const sizeOf = () => 1024 * 1024;
  const store = storeOf(99, { sizeOf, pageBytes: 16 * 1024 * 1024 });
  expect((await chunksOf(store)).flatMap(({ items }) => items)).toEqual(numbers(1, 99));
  expect(store.reads.map(({ after }) => after)).toEqual([undefined, 16, 32, 48, 64, 80, 96]);
});

test("text is counted in bytes, not in characters", () => {
  expect(utf8Bytes("abc", undefined, "é🦉", "")).toBe(3 + 2 + 4);
});
