import { longer } from "./columns.js";
import { MAX_SLOTS } from "./postings.js";
import { FROM_NEXT, FROM_PREVIOUS, FROM_QUESTION, FROM_SECOND_NEXT, FROM_SECOND_PREVIOUS, OWN } from "./weights.js";

/** In place of a slot that there is none of. */
export const NONE = -1;

export interface Row {
  readonly session: string;
  readonly sequence: number;
  readonly version: number;
  readonly roleType: number;
  readonly createTime: number;
  /** Whether it puts a question, which the next message then answers. */
  readonly asks: boolean;
  /** How many terms it has in its content, and in its head words. */
  readonly said: number;
  readonly head: number;
}

export interface SessionRow {
  readonly key: string;
  /** Its oldest and newest message. */
  first: number;
  last: number;
  /** The one that was put in last, which may be gone. */
  latest: number;
  messages: number;
}

/**
 * The messages of a scope without their words, as columns of numbers: a message is a slot. The messages of a session are linked in
 * the order of their sequences. A slot that was given up is not used again, for postings still name it.
 */
export class MessageTable {
  /** By slot: the number of its session, {@link NONE} when the message is gone. */
  session = new Int32Array(FIRST_LENGTH);
  sequence = new Uint32Array(FIRST_LENGTH);
  version = new Uint32Array(FIRST_LENGTH);
  roleType = new Int32Array(FIRST_LENGTH);
  createTime = new Float64Array(FIRST_LENGTH);
  asks = new Uint8Array(FIRST_LENGTH);
  previous = new Int32Array(FIRST_LENGTH);
  next = new Int32Array(FIRST_LENGTH);
  /** How long a message is together with what it takes from those around it, each by its weight. */
  weight = new Uint32Array(FIRST_LENGTH);
  #said = new Uint32Array(FIRST_LENGTH);
  #head = new Uint16Array(FIRST_LENGTH);

  /** By number, those without messages as well. */
  readonly sessions: SessionRow[] = [];
  /** How many terms the messages of each have together. */
  sessionLength = new Float64Array(FIRST_LENGTH);
  readonly #numbers = new Map<string, number>();
  #sessionBytes = 0;

  /** How many slots were ever taken. */
  slots = 0;
  /** Messages that are there, and their weights together. */
  messages = 0;
  totalWeight = 0;
  /** The length of all sessions together. */
  totalLength = 0;

  get sessionCount(): number {
    return this.#numbers.size;
  }

  get bytes(): number {
    return this.session.length * BYTES_A_SLOT + this.sessionLength.byteLength + this.#sessionBytes;
  }

  sessionOf(key: string): SessionRow | undefined {
    const number = this.#numbers.get(key);
    return number === undefined ? undefined : this.sessions[number];
  }

  /** The slot of a message, {@link NONE} when it is not there. */
  find(session: string, sequence: number): number {
    const row = this.sessionOf(session);
    if (!row) return NONE;
    const slot = this.#newestUpTo(row, sequence);
    return slot !== NONE && at(this.sequence, slot) === sequence ? slot : NONE;
  }

  /** The slots of a session's messages in order. One may be removed as soon as it was told. */
  *slotsOf(session: string): Generator<number, undefined, undefined> {
    let slot = this.sessionOf(session)?.first ?? NONE;
    while (slot !== NONE) {
      // A slot that was removed still knows what followed it.
      yield slot;
      slot = at(this.next, slot);
    }
    return undefined;
  }

  /** A slot for a message to come. */
  takeSlot(): number {
    if (this.slots === MAX_SLOTS) throw new RangeError("The index is worn out: build another one.");
    if (this.slots === this.session.length) this.#makeRoom();
    this.session[this.slots] = NONE;
    return this.slots++;
  }

  /** Takes in a message whose sequence its session does not have yet. */
  insert(slot: number, row: Row): void {
    const number = this.#numbers.get(row.session) ?? this.#open(row.session);
    const session = this.sessions[number] as SessionRow;
    this.session[slot] = number;
    this.sequence[slot] = row.sequence;
    this.version[slot] = row.version;
    this.roleType[slot] = row.roleType;
    this.createTime[slot] = row.createTime;
    this.asks[slot] = row.asks ? 1 : 0;
    this.#said[slot] = row.said;
    this.#head[slot] = Math.min(row.head, MOST_HEAD);
    const previous = this.#newestUpTo(session, row.sequence);
    session.latest = slot;
    this.#link(session, slot, previous, previous === NONE ? session.first : at(this.next, previous));
    this.#count(session, slot, 1);
    this.#weighAround(slot);
  }

  remove(slot: number): void {
    const session = this.sessions[at(this.session, slot)] as SessionRow;
    const previous = at(this.previous, slot);
    const next = at(this.next, slot);
    this.#count(session, slot, -1);
    this.#setNext(session, previous, next);
    this.#setPrevious(session, next, previous);
    this.session[slot] = NONE;
    this.totalWeight -= at(this.weight, slot);
    this.#weighAround(previous);
    this.#weighAround(next);
    if (session.messages === 0) this.#numbers.delete(session.key);
  }

  /** Nearly always it is the newest. Those that have changed come in order, each close to the one that came before it. */
  #newestUpTo(session: SessionRow, sequence: number): number {
    const { last, latest } = session;
    if (last === NONE || at(this.sequence, last) <= sequence) return last;
    let slot = last;
    if (latest !== NONE && at(this.session, latest) !== NONE) {
      slot = latest;
      for (let next = at(this.next, slot); at(this.sequence, next) <= sequence; next = at(this.next, slot)) slot = next;
    }
    while (slot !== NONE && at(this.sequence, slot) > sequence) slot = at(this.previous, slot);
    return slot;
  }

  #open(key: string): number {
    const number = this.sessions.length;
    if (number === this.sessionLength.length) this.sessionLength = longer(this.sessionLength, 2 * number);
    this.sessions.push({ key, first: NONE, last: NONE, latest: NONE, messages: 0 });
    this.#numbers.set(key, number);
    this.#sessionBytes += BYTES_A_SESSION + 2 * key.length;
    return number;
  }

  #count(session: SessionRow, slot: number, change: 1 | -1): void {
    const length = change * (at(this.#said, slot) + at(this.#head, slot));
    session.messages += change;
    const number = at(this.session, slot);
    this.sessionLength[number] = at(this.sessionLength, number) + length;
    this.messages += change;
    this.totalLength += length;
  }

  #link(session: SessionRow, slot: number, previous: number, next: number): void {
    this.previous[slot] = previous;
    this.next[slot] = next;
    this.#setNext(session, previous, slot);
    this.#setPrevious(session, next, slot);
  }

  #setNext(session: SessionRow, slot: number, next: number): void {
    if (slot === NONE) session.first = next;
    else this.next[slot] = next;
  }

  #setPrevious(session: SessionRow, slot: number, previous: number): void {
    if (slot === NONE) session.last = previous;
    else this.previous[slot] = previous;
  }

  /** What a message says reaches two messages in each direction. */
  #weighAround(slot: number): void {
    if (slot === NONE) return;
    this.#weigh(slot);
    const previous = at(this.previous, slot);
    this.#weigh(previous);
    if (previous !== NONE) this.#weigh(at(this.previous, previous));
    const next = at(this.next, slot);
    this.#weigh(next);
    if (next !== NONE) this.#weigh(at(this.next, next));
  }

  #weigh(slot: number): void {
    if (slot === NONE) return;
    let weight = OWN * (at(this.#said, slot) + at(this.#head, slot));
    const previous = at(this.previous, slot);
    if (previous !== NONE) {
      weight += fromPrevious(at(this.asks, previous)) * at(this.#said, previous);
      const second = at(this.previous, previous);
      if (second !== NONE) weight += FROM_SECOND_PREVIOUS * at(this.#said, second);
    }
    const next = at(this.next, slot);
    if (next !== NONE) {
      weight += FROM_NEXT * at(this.#said, next);
      const second = at(this.next, next);
      if (second !== NONE) weight += FROM_SECOND_NEXT * at(this.#said, second);
    }
    this.totalWeight += weight - at(this.weight, slot);
    this.weight[slot] = weight;
  }

  #makeRoom(): void {
    const length = 2 * this.slots;
    this.session = longer(this.session, length);
    this.sequence = longer(this.sequence, length);
    this.version = longer(this.version, length);
    this.roleType = longer(this.roleType, length);
    this.createTime = longer(this.createTime, length);
    this.asks = longer(this.asks, length);
    this.previous = longer(this.previous, length);
    this.next = longer(this.next, length);
    this.weight = longer(this.weight, length);
    this.#said = longer(this.#said, length);
    this.#head = longer(this.#head, length);
  }
}

/** How loudly a message repeats what the one before it said. */
export const fromPrevious = (asks: number): number => (asks === 0 ? FROM_PREVIOUS : FROM_QUESTION);

/** The slot is one that there is. */
export const at = (column: { readonly [index: number]: number }, slot: number): number => column[slot] as number;

const FIRST_LENGTH = 32;
const BYTES_A_SLOT = 43;
const MOST_HEAD = 2 ** 16 - 1;

/** What V8 takes for the session's object, its entry of the map and the head of its key. */
const BYTES_A_SESSION = 200;
