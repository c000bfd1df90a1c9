import type { MessageRecord } from "../../domain/records.js";
import type { Head } from "../../domain/window.js";
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
  /** How many tokens all messages up to and with each have together. */
  readonly tokenEnds: readonly number[];
  readonly sequences: readonly number[];
  readonly roleTypes: readonly number[];
  /** Empty when none of them is in a group. */
  readonly groupIds: readonly (string | undefined)[];
}

/** What a reader asks for: the newest so many messages of those behind a sequence, as far as there is room for their bytes and tokens. */
export interface Window {
  readonly after: number;
  readonly limit: number;
  readonly room: number;
  readonly tokens: number;
  /** How much of the room it takes to tell how many tokens they have. */
  readonly tokenBytes: (tokens: number) => number;
}

/** A window of all messages. */
export const EVERYTHING: Window = {
  after: 0,
  limit: Number.POSITIVE_INFINITY,
  room: Number.POSITIVE_INFINITY,
  tokens: Number.POSITIVE_INFINITY,
  tokenBytes: () => 0,
};

/** Some messages of a run, one after the other. */
export interface Slice {
  readonly run: Run;
  readonly start: number;
  readonly end: number;
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
  const { count, cut } = newest(memory, window);
  return cut !== undefined || count === window.limit;
}

export interface Newest {
  readonly slices: readonly Slice[];
  readonly count: number;
  /** What there was not enough of for the next one: of bytes only where there were tokens enough. */
  readonly cut: "bytes" | "tokens" | undefined;
}

/** The messages of a window, as far as they are there. */
export function newest({ runs }: KnownMemory, { after, limit, room, tokens, tokenBytes }: Window): Newest {
  const slices: Slice[] = [];
  let count = 0;
  let bytes = 0;
  let spent = 0;
  let cut: Newest["cut"];
  for (let index = runs.length - 1; index >= 0 && count < limit && !cut; index--) {
    const run = runs[index] as Run;
    const { length } = run.sequences;
    const behind = firstWhere(0, length, (at) => (run.sequences[at] as number) > after);
    const wanted = Math.max(behind, length - (limit - count));
    const spentFrom = (at: number): number => spent + tokensIn({ run, start: at, end: length });
    const affordable = firstWhere(wanted, length, (at) => spentFrom(at) <= tokens);
    const hasRoom = (at: number): boolean =>
      bytes + run.bytes.length - startOf(run, at) + tokenBytes(spentFrom(at)) <= room;
    const start = firstWhere(affordable, length, hasRoom);
    if (start > wanted) cut = start > affordable ? "bytes" : "tokens";
    if (start < length) {
      slices.push({ run, start, end: length });
      bytes += run.bytes.length - startOf(run, start);
      spent = spentFrom(start);
    }
    count += length - start;
    if (behind > 0) break;
  }
  return { slices: slices.reverse(), count, cut };
}

/** Where in the bytes a message begins. */
const startOf = ({ ends }: Run, index: number): number => (index > 0 ? (ends[index - 1] as number) : 0);

/** Messages as a part of an answer. */
export const bytesIn = ({ run, start, end }: Slice): Buffer =>
  run.bytes.subarray(startOf(run, start), startOf(run, end));

export function tokensIn({ run: { tokenEnds }, start, end }: Slice): number {
  return (tokenEnds[end - 1] ?? 0) - (tokenEnds[start - 1] ?? 0);
}

export function headsIn({ run, start, end }: Slice): Head[] {
  return run.roleTypes.slice(start, end).map((roleType, index) => ({ roleType, groupId: run.groupIds[start + index] }));
}

/** The first place from which on something holds, if not the end. */
function firstWhere(start: number, end: number, holds: (index: number) => boolean): number {
  // Most windows are in need of nothing.
  if (start === end || holds(start)) return start;
  let [low, high] = [start + 1, end];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** About what it takes in memory. */
export function sizeOf({ runs }: KnownMemory): number {
  return runs.reduce(
    (sum, run) => sum + RUN_BYTES + run.bytes.length + MESSAGE_BYTES * run.ends.length + groupBytes(run.groupIds),
    MEMORY_BYTES,
  );
}

/** The objects around what is kept, as they were measured. */
const MEMORY_BYTES = 1_000;
const RUN_BYTES = 500;
const MESSAGE_BYTES = 32;
const GROUP_BYTES = 32;

function groupBytes(groupIds: Run["groupIds"]): number {
  return groupIds.reduce((sum, groupId) => sum + (groupId === undefined ? 0 : GROUP_BYTES + groupId.length), 0);
}

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
  const lengths = runs.flatMap(({ ends }) => differences(ends));
  const groupIds = runs.flatMap(groupsIn);
  let first = Math.max(0, messages - limits.messages);
  const room = (isTooLarge ? limits.bytes / 2 : limits.bytes) - MEMORY_BYTES - RUN_BYTES;
  let bytes = 0;
  for (let index = messages - 1; index >= first; index--) {
    bytes += (lengths[index] as number) + MESSAGE_BYTES + groupBytes(groupIds.slice(index, index + 1));
    if (bytes > room) first = index + 1;
  }
  if (first === messages) return undefined;

  const from = first === 0 ? memory.from : (sequences[first - 1] as number);
  const run: Run = {
    bytes: copied(newest(memory, { ...EVERYTHING, after: from }).slices.map(bytesIn)),
    ends: sums(lengths.slice(first)),
    tokenEnds: sums(runs.flatMap(({ tokenEnds }) => differences(tokenEnds)).slice(first)),
    sequences: sequences.slice(first),
    roleTypes: runs.flatMap(({ roleTypes }) => roleTypes).slice(first),
    groupIds: someGroups(groupIds.slice(first)),
  };
  return { ...memory, from, runs: [run] };
}

const sums = (numbers: readonly number[]): number[] => {
  let sum = 0;
  return numbers.map((number) => {
    sum += number;
    return sum;
  });
};

const differences = (ends: readonly number[]): number[] => ends.map((end, index) => end - (ends[index - 1] ?? 0));

const groupsIn = ({ sequences, groupIds }: Run): (string | undefined)[] => sequences.map((_, index) => groupIds[index]);

/** The groups of messages as a run has them. */
export const someGroups = (groupIds: readonly (string | undefined)[]): Run["groupIds"] =>
  groupIds.every((groupId) => groupId === undefined) ? [] : groupIds;

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
