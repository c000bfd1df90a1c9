import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";

export interface Line {
  /** From 1 on. */
  readonly number: number;
  /** Undefined for a line over the limit, which is not kept. */
  readonly bytes: Buffer | undefined;
}

/** A session of 1000 messages has at most about 2 GiB, which no string could hold; real ones have far less. */
const MAX_LINE_BYTES = 256 * 1024 * 1024;

const NEWLINE = 0x0a;

/**
 * Splits at line feeds and nothing else: a line of JSON may hold other characters that count as line ends elsewhere, such
 * as U+2028.
 */
export async function* linesOf(chunks: AsyncIterable<Buffer>, maxBytes = MAX_LINE_BYTES): AsyncGenerator<Line, void> {
  let number = 1;
  let parts: Buffer[] = [];
  let length = 0;
  const add = (part: Buffer): void => {
    length += part.length;
    if (length <= maxBytes) parts.push(part);
    else parts = [];
  };
  const take = (): Line => {
    const line = { number, bytes: length <= maxBytes ? Buffer.concat(parts) : undefined };
    number += 1;
    parts = [];
    length = 0;
    return line;
  };
  for await (const chunk of chunks) {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
      add(chunk.subarray(start, end));
      start = end + 1;
      yield take();
    }
    add(chunk.subarray(start));
  }
  if (length > 0) yield take();
}

/** The bytes themselves, or what they unzip to: their first two tell, not the file's name. `onRead` is told the raw ones. */
export async function* unzipped(source: Readable, onRead: (bytes: number) => void): AsyncGenerator<Buffer, void> {
  const raw = counted(source, onRead);
  const head = await readAtLeast(raw, 2);
  if (head[0] !== 0x1f || head[1] !== 0x8b) {
    yield head;
    yield* raw;
    return;
  }
  const gunzip = createGunzip();
  // The pipeline destroys gunzip when the source fails, and the source when gunzip does; both errors come out of here.
  const feeding = pipeline(prepended(head, raw), gunzip);
  feeding.catch(() => {});
  yield* gunzip;
  await feeding;
}

async function* prepended(head: Buffer, rest: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void> {
  yield head;
  yield* rest;
}

async function* counted(source: Readable, onRead: (bytes: number) => void): AsyncGenerator<Buffer, void> {
  for await (const chunk of source as AsyncIterable<Buffer>) {
    onRead(chunk.length);
    yield chunk;
  }
}

async function readAtLeast(chunks: AsyncGenerator<Buffer, void>, length: number): Promise<Buffer> {
  let head: Buffer = Buffer.alloc(0);
  while (head.length < length) {
    const next = await chunks.next();
    if (next.done) break;
    head = Buffer.concat([head, next.value]);
  }
  return head;
}
