import { longer } from "./columns.js";
import { Numbers } from "./numbers.js";

/**
 * Which messages have a term, and how often: for each term a list of postings, each a number of 32 bits. The lists grow side by
 * side in one row of numbers, as chains of blocks: a list of two postings takes a block of two, and each further block is as long
 * as all before it together, up to a limit. After its last posting a block has the position of the next one.
 */
export class Postings {
  readonly #blocks = new Numbers();
  /** By term: the position of its first block, where its next posting goes, and how many it has. */
  #first = new Uint32Array(64);
  #end = new Uint32Array(64);
  #count = new Uint32Array(64);

  get bytes(): number {
    return this.#blocks.bytes + 3 * this.#first.byteLength;
  }

  add(term: number, slot: number, said: number, head: number): void {
    if (term >= this.#count.length) this.#makeRoom(term);
    const count = this.#count[term] ?? 0;
    if (isFull(count)) {
      const block = this.#blocks.extend(blockAt(count) + 1);
      if (count === 0) this.#first[term] = block;
      else this.#blocks.set(this.#end[term] ?? 0, block);
      this.#end[term] = block;
    }
    const end = this.#end[term] ?? 0;
    this.#blocks.set(end, pack(slot, said, head));
    this.#end[term] = end + 1;
    this.#count[term] = count + 1;
  }

  /** Every posting of a term, those of messages that are gone as well. What is returned is overwritten by the next call. */
  of(term: number): Uint32Array {
    const count = this.#count[term] ?? 0;
    if (count > together.length) together = new Uint32Array(2 * count);
    let position = this.#first[term] ?? 0;
    for (let copied = 0; copied < count; ) {
      const block = blockAt(copied);
      this.#blocks.copy(position, Math.min(block, count - copied), together, copied);
      copied += block;
      position = this.#blocks.get(position + block);
    }
    return together.subarray(0, count);
  }

  #makeRoom(term: number): void {
    const length = 2 * Math.max(term, this.#count.length);
    this.#first = longer(this.#first, length);
    this.#end = longer(this.#end, length);
    this.#count = longer(this.#count, length);
  }
}

/** Where the postings of one term are put side by side: to go through them is what a search does most. */
let together = new Uint32Array(0);

/** What a posting tells of its message: which one it is, and how often that has the term in its content and in its head words. */
export const slotOf = (posting: number): number => posting >>> SLOT_SHIFT;
export const saidOf = (posting: number): number => posting & MOST_SAID;
export const headOf = (posting: number): number => (posting >>> HEAD_SHIFT) & MOST_IN_HEAD;

const FIRST_BLOCK = 2;
const LONGEST_BLOCK = 4_096;

/** The length of the block that begins after so many postings. */
const blockAt = (count: number): number => Math.max(FIRST_BLOCK, Math.min(count, LONGEST_BLOCK));

/** Whether the blocks of a list with so many postings have no place left: their lengths are powers of two. */
const isFull = (count: number): boolean =>
  count === 0 ||
  (count <= LONGEST_BLOCK ? count >= FIRST_BLOCK && (count & (count - 1)) === 0 : count % LONGEST_BLOCK === 0);

const SAID_BITS = 10;
const HEAD_BITS = 2;
const HEAD_SHIFT = SAID_BITS;
const SLOT_SHIFT = SAID_BITS + HEAD_BITS;
const MOST_SAID = 2 ** SAID_BITS - 1;
const MOST_IN_HEAD = 2 ** HEAD_BITS - 1;

/** How many slots a posting can tell apart. */
export const MAX_SLOTS = 2 ** (32 - SLOT_SHIFT);

/** A message that says a word a thousand times is about it, whatever the number. */
const pack = (slot: number, said: number, head: number): number =>
  ((slot << SLOT_SHIFT) | (Math.min(head, MOST_IN_HEAD) << HEAD_SHIFT) | Math.min(said, MOST_SAID)) >>> 0;
