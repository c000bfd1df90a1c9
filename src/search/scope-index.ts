import { longer } from "./columns.js";
import { maskOf } from "./filter.js";
import { headWords } from "./head-words.js";
import type { Filter, Hit, SearchableMessage } from "./message.js";
import { at, MessageTable, NONE } from "./message-table.js";
import { Numbers } from "./numbers.js";
import { piecesOf } from "./pieces.js";
import { Postings } from "./postings.js";
import { newest, rank } from "./ranking.js";
import { TermCounts } from "./term-counts.js";
import { Vocabulary } from "./vocabulary.js";
import { knownWords } from "./words.js";

export interface Wanted {
  readonly filter?: Filter;
  readonly limit: number;
  /** So many messages before and after each hit are told as well. */
  readonly neighbors?: number;
}

/**
 * The search index of a scope: of all messages of a user, or of one session. It keeps up with changes, and answers after any of
 * them exactly as one that was built from nothing.
 *
 * It is made of numbers in typed arrays, as a process keeps as many of these as it has room for.
 *
 * What takes long is a generator that stops after every few milliseconds of work. One of them ends before the next begins; searches
 * may come in between, and find of what is under way what is done.
 */
export class ScopeIndex {
  readonly #vocabulary = new Vocabulary();
  readonly #postings = new Postings();
  readonly #table = new MessageTable();
  /** Of each message the number of its terms, and which; and by slot where that begins. */
  readonly #terms = new Numbers();
  #termsAt = new Uint32Array(32);

  get messageCount(): number {
    return this.#table.messages;
  }

  /** How much memory it takes, roughly. */
  get bytes(): number {
    const parts = [this.#vocabulary, this.#postings, this.#table, this.#terms];
    return parts.reduce((sum, { bytes }) => sum + bytes, BYTES_EMPTY + this.#termsAt.byteLength);
  }

  /**
   * Whether it has more messages in it that are gone than messages that are there. Those are not found, but their memory comes back
   * only by building another index.
   */
  get isWorn(): boolean {
    return this.#table.slots > 2 * this.#table.messages + SPARE_SLOTS;
  }

  /** Adds messages, in any order. One that is there already is replaced. */
  *add(messages: Iterable<SearchableMessage>): Generator<void, void, undefined> {
    let work = 0;
    for (const message of messages) {
      const terms = new TermCounts(this.#vocabulary);
      for (const piece of piecesOf(message.content)) {
        work += WORK_A_PIECE + terms.say(piece);
        if (work >= WORK_AT_ONCE) {
          yield;
          work = 0;
        }
      }
      terms.sayInHead(headWords(message.role, message.createTime));
      for (const term of message.terms ?? []) terms.have(term);
      work += terms.size;
      yield* this.#put(message, terms);
    }
  }

  /** Takes messages of a session away, as far as they are there. */
  *remove(session: string, sequences: ReadonlySet<number>): Generator<void, void, undefined> {
    let work = 0;
    for (const slot of this.#table.slotsOf(session)) {
      if (sequences.has(at(this.#table.sequence, slot))) this.#drop(slot);
      if (++work % SLOTS_AT_ONCE === 0) yield;
    }
  }

  /** Takes a session away with all its messages. */
  *removeSession(session: string): Generator<void, void, undefined> {
    yield* this.reconcile(session, []);
  }

  /**
   * Takes away what a session has no more, or has in another version, and returns the sequences of what has to be added.
   * @param present What the session has, in the order of its sequences
   */
  *reconcile(
    session: string,
    present: Iterable<{ readonly sequence: number; readonly version: number }>,
  ): Generator<void, number[], undefined> {
    const { sequence, version } = this.#table;
    const missing: number[] = [];
    const slots = this.#table.slotsOf(session);
    let slot = slots.next();
    let work = 0;
    for (const message of present) {
      for (; !slot.done && at(sequence, slot.value) < message.sequence; slot = slots.next()) {
        this.#drop(slot.value);
        if (++work % SLOTS_AT_ONCE === 0) yield;
      }
      const isThere =
        !slot.done && at(sequence, slot.value) === message.sequence && at(version, slot.value) === message.version;
      if (isThere) slot = slots.next();
      else missing.push(message.sequence);
      if (++work % SLOTS_AT_ONCE === 0) yield;
    }
    for (; !slot.done; slot = slots.next()) {
      this.#drop(slot.value);
      if (++work % SLOTS_AT_ONCE === 0) yield;
    }
    return missing;
  }

  /** The sequence of the newest message of a session; 0 when there is none. */
  lastSequence(session: string): number {
    const last = this.#table.sessionOf(session)?.last ?? NONE;
    return last === NONE ? 0 : at(this.#table.sequence, last);
  }

  /** The messages that match a text best, best first; none when no word of it is known. */
  search(text: string, { filter, limit, neighbors }: Wanted): Hit[] {
    const words = knownWords(text.slice(0, MAX_QUERY_LENGTH), this.#vocabulary);
    const ranked = rank(words, this.#postings, this.#table, this.#maskOf(filter), limit);
    return ranked.map(({ slot, score }) => this.#hit(slot, score, neighbors));
  }

  /** The newest messages, newest first. */
  newest({ filter, limit, neighbors }: Wanted): Hit[] {
    return newest(this.#table, this.#maskOf(filter), limit).map((slot) => this.#hit(slot, 0, neighbors));
  }

  /** The messages that a filter lets through, in no order. */
  *wanted(filter: Filter): Generator<Pick<Hit, "session" | "sequence">, undefined, undefined> {
    const isWanted = this.#maskOf(filter);
    const { session, sequence, sessions, slots } = this.#table;
    for (let slot = 0; slot < slots; slot++) {
      const number = at(session, slot);
      if (number === NONE || !isWanted(slot)) continue;
      yield { session: sessions[number]?.key ?? "", sequence: at(sequence, slot) };
    }
    return undefined;
  }

  /** Until it is done no search sees anything of it. */
  *#put(message: SearchableMessage, terms: TermCounts): Generator<void, void, undefined> {
    const slot = this.#table.takeSlot();
    if (slot >= this.#termsAt.length) this.#termsAt = longer(this.#termsAt, 2 * slot);
    const begin = this.#terms.extend(1 + terms.size);
    this.#termsAt[slot] = begin;
    this.#terms.set(begin, terms.size);
    let position = begin;
    for (const { term, said, head } of terms) {
      this.#terms.set(++position, term);
      this.#postings.add(term, slot, said, head);
      if ((position - begin) % TERMS_AT_ONCE === 0) yield;
    }
    const there = this.#table.find(message.session, message.sequence);
    if (there !== NONE) this.#drop(there);
    const { said, head } = terms;
    this.#table.insert(slot, { ...message, asks: ASKS.test(message.content.slice(-END_LENGTH)), said, head });
    this.#countTerms(slot, 1);
  }

  #drop(slot: number): void {
    this.#table.remove(slot);
    this.#countTerms(slot, -1);
  }

  #countTerms(slot: number, change: 1 | -1): void {
    const begin = at(this.#termsAt, slot);
    const end = begin + this.#terms.get(begin);
    for (let position = begin + 1; position <= end; position++)
      this.#vocabulary.count(this.#terms.get(position), change);
  }

  #maskOf(filter: Filter = {}): (slot: number) => boolean {
    return maskOf(filter, this.#vocabulary, this.#postings, this.#table);
  }

  #hit(slot: number, score: number, neighbors = 0): Hit {
    const { session, sequence, sessions, previous, next } = this.#table;
    return {
      session: sessions[at(session, slot)]?.key ?? "",
      sequence: at(sequence, slot),
      score,
      before: this.#along(previous, slot, neighbors).reverse(),
      after: this.#along(next, slot, neighbors),
    };
  }

  /** The sequences of the messages that follow in a direction. */
  #along(direction: Int32Array, slot: number, count: number): number[] {
    const sequences: number[] = [];
    for (let other = at(direction, slot); other !== NONE && sequences.length < count; other = at(direction, other)) {
      sequences.push(at(this.#table.sequence, other));
    }
    return sequences;
  }
}

/** So many terms are taken in at once, where a piece of a text counts as some more. */
const WORK_AT_ONCE = 2_048;
const WORK_A_PIECE = 256;
const TERMS_AT_ONCE = 8_192;
/** So many messages are looked at or taken away at once. */
const SLOTS_AT_ONCE = 1_000;

const SPARE_SLOTS = 1_000;

/** Of a longer query the beginning counts. */
const MAX_QUERY_LENGTH = 16_384;

/** How a message ends that asks something. */
const ASKS = /[?？؟]/;
const END_LENGTH = 200;

/** The objects and the arrays of an index without messages. */
const BYTES_EMPTY = 5_000;
