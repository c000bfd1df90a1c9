import type { MessageRecord } from "../../domain/records.js";
import type { RawDocument } from "../raw.js";

/**
 * The newest part of a memory as this process has seen it: all messages that lived behind `from`, up to and with `to`, as the
 * bytes that GetMemory answers with. A value that is never changed, so whoever holds one may go on using it while others add.
 *
 * It may be given out under a session document that has this epoch, this version and at least this last sequence: whatever
 * changes one of these messages moves the version in the same transaction, and whatever adds one moves the last sequence.
 */
export interface KnownMemory {
  readonly epoch: string;
  /** The session's `memoryVersion`. */
  readonly version: number;
  readonly from: number;
  readonly to: number;
  /** In order. */
  readonly runs: readonly Run[];
}

/** Messages that came together, in order. */
export interface Run {
  readonly bytes: Buffer;
  /** Where in the bytes each message ends. */
  readonly ends: readonly number[];
  readonly sequences: readonly number[];
}

/** What a reader asks for: the newest so many messages of those behind a sequence, as far as there is room for their bytes. */
export interface Window {
  readonly after: number;
  readonly limit: number;
  readonly room: number;
}

/** Turns messages into the bytes of an answer that has nothing else in it. */
export type EncodeMessages = (messages: readonly RawDocument<MessageRecord>[]) => Run;

/** The same memory with the messages that follow, up to and with a sequence. */
export function extended(memory: KnownMemory, { to, run }: { to: number; run: Run }): KnownMemory {
  return { ...memory, to, runs: run.ends.length > 0 ? [...memory.runs, run] : memory.runs };
}

/** The same memory with the messages that precede, all that there are behind `from`. */
export function preceded(memory: KnownMemory, { from, run }: { from: number; run: Run }): KnownMemory {
  return { ...memory, from, runs: run.ends.length > 0 ? [run, ...memory.runs] : memory.runs };
}

/** Whether all that a reader asks for is there, as far as it is not newer. */
export function reaches(memory: KnownMemory, window: Window): boolean {
  if (memory.from <= window.after) return true;
  const { count, isCut } = newest(memory, window);
  return isCut || count === window.limit;
}

export interface Newest {
  readonly parts: readonly Buffer[];
  readonly count: number;
  /** Whether there was no room for the next one. */
  readonly isCut: boolean;
}

/** The messages of a window, as far as they are there, as parts of an answer. */
export function newest({ runs }: KnownMemory, { after, limit, room }: Window): Newest {
  const parts: Buffer[] = [];
  let count = 0;
  let left = room;
  let isCut = false;
  for (let index = runs.length - 1; index >= 0 && count < limit && !isCut; index--) {
    const run = runs[index] as Run;
    const { length } = run.sequences;
    const behind = firstBehind(run.sequences, after);
    const wanted = Math.max(behind, length - (limit - count));
    const start = firstFitting(run, wanted, left);
    isCut = start > wanted;
    if (start < length) {
      const part = run.bytes.subarray(startOf(run, start));
      parts.push(part);
      left -= part.length;
    }
    count += length - start;
    if (behind > 0) break;
  }
  return { parts: parts.reverse(), count, isCut };
}

/** Where in the bytes a message begins. */
const startOf = ({ ends }: Run, index: number): number => (index > 0 ? (ends[index - 1] as number) : 0);

/** The index of the first message from which on all have room. */
function firstFitting(run: Run, from: number, room: number): number {
  const fits = (index: number): boolean => run.bytes.length - startOf(run, index) <= room;
  if (from === run.ends.length || fits(from)) return from;
  let [low, high] = [from + 1, run.ends.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (fits(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** The index of the first sequence behind another; they are in order. */
function firstBehind(sequences: readonly number[], after: number): number {
  let [low, high] = [0, sequences.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sequences[middle] as number) > after) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** About what it takes in memory. */
export function sizeOf({ runs }: KnownMemory): number {
  return runs.reduce(
    (sum, { bytes, ends }) => sum + RUN_BYTES + bytes.length + MESSAGE_BYTES * ends.length,
    MEMORY_BYTES,
  );
}

/** The objects around what is kept, as they were measured. */
const MEMORY_BYTES = 1_000;
const RUN_BYTES = 400;
const MESSAGE_BYTES = 16;

/** More runs than this are made into one: each has objects of its own. */
const MAX_RUNS = 16;

/**
 * The memory as it is worth keeping: the newest messages, so many and in so many bytes; undefined when not even one has room.
 * Cut off is more than need be, so that not every addition copies: beyond twice as many messages down to as many, beyond the bytes
 * down to half of them.
 */
export function compacted(memory: KnownMemory, limits: { messages: number; bytes: number }): KnownMemory | undefined {
  const { runs } = memory;
  const messages = runs.reduce((sum, { ends }) => sum + ends.length, 0);
  const isTooLarge = sizeOf(memory) > limits.bytes;
  if (runs.length <= MAX_RUNS && messages <= 2 * limits.messages && !isTooLarge) {
    return runs.every(isCompact) ? memory : { ...memory, runs: runs.map(compact) };
  }

  const sequences = runs.flatMap((run) => run.sequences);
  const lengths = runs.flatMap(({ ends }) => ends.map((end, index) => end - (ends[index - 1] ?? 0)));
  let first = Math.max(0, messages - limits.messages);
  const room = (isTooLarge ? limits.bytes / 2 : limits.bytes) - MEMORY_BYTES - RUN_BYTES;
  let bytes = 0;
  for (let index = messages - 1; index >= first; index--) {
    bytes += (lengths[index] as number) + MESSAGE_BYTES;
    if (bytes > room) first = index + 1;
  }
  if (first === messages) return undefined;

  const from = first === 0 ? memory.from : (sequences[first - 1] as number);
  const { parts } = newest(memory, { after: from, limit: messages, room: Number.POSITIVE_INFINITY });
  let end = 0;
  const ends = lengths.slice(first).map((length) => {
    end += length;
    return end;
  });
  return { ...memory, from, runs: [{ bytes: copied(parts), ends, sequences: sequences.slice(first) }] };
}

/** Whether the bytes hold on to hardly more than themselves: small ones are a part of what others are in, too. */
const isCompact = ({ bytes }: Run): boolean => bytes.buffer.byteLength <= 1.25 * bytes.length + MESSAGE_BYTES;

const compact = (run: Run): Run => (isCompact(run) ? run : { ...run, bytes: copied([run.bytes]) });

/** In memory of its own: a part would hold on to the whole that it is a part of. */
function copied(parts: readonly Buffer[]): Buffer {
  const copy = Buffer.allocUnsafeSlow(parts.reduce((sum, { length }) => sum + length, 0));
  let end = 0;
  for (const part of parts) {
    part.copy(copy, end);
    end += part.length;
  }
  return copy;
}
