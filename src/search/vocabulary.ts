import { longer } from "./columns.js";
import { copyOf } from "./cuttings.js";
import { stemOf } from "./stems.js";

/**
 * The terms of a scope, numbered, each with how many of its messages have it. A term that none has any more stays, as an unknown
 * one.
 */
export class Vocabulary {
  /** The numbers of the terms. Maps of a bounded size, for one that doubles holds up everything else for its size. */
  readonly #numbers = [new Map<string, number>()];
  readonly #terms: string[] = [];
  #messages = new Uint32Array(64);
  /** The newest word by its first letters, and for each word the one before it that begins alike. */
  readonly #newestLike = new Map<string, number>();
  #previousLike = new Int32Array(64);
  #bytes = 0;

  get bytes(): number {
    return this.#bytes + this.#messages.byteLength + this.#previousLike.byteLength;
  }

  /** The number of a term that some message has. */
  known(term: string): number | undefined {
    const number = this.#find(term);
    return number !== undefined && this.messagesWith(number) > 0 ? number : undefined;
  }

  /** The number of a term, a new one if need be. */
  number(term: string): number {
    return this.#find(term) ?? this.#take(term);
  }

  messagesWith(number: number): number {
    return this.#messages[number] ?? 0;
  }

  /** One more message has the term, or with -1 one less. */
  count(number: number, change: 1 | -1): void {
    this.#messages[number] = this.messagesWith(number) + change;
  }

  /**
   * The known terms that look like other forms of a word with this stem: they begin alike and differ in an ending. Languages inflect
   * in many ways, most of them at the end, so this finds `Häusern` by `Haus` and `книгами` by `книга`, beside what the stemmer knows.
   */
  formsOf(stem: string, word: string): number[] {
    // The stemmer takes other languages for English, and leaves little of a short word: `hau` of `Haus`.
    const form = stem.length < COMMON_LETTERS ? word : stem;
    if (!INFLECTED.test(form)) return [];
    const forms: number[] = [];
    const short = this.known(stemOf(beginningOf(form)) ?? "");
    if (short !== undefined && this.#isShort(short)) forms.push(short);
    let alike = 0;
    let number = this.#newestLike.get(beginningOf(form)) ?? NONE;
    for (; number !== NONE; number = this.#previousLike[number] ?? NONE) {
      if (this.messagesWith(number) === 0) continue;
      if (++alike > MOST_ALIKE) return [];
      if (areForms(form, this.#terms[number] ?? "")) forms.push(number);
    }
    return forms;
  }

  /** Such terms are not among those that begin alike. */
  #isShort(number: number): boolean {
    return (this.#terms[number] ?? "").length < COMMON_LETTERS;
  }

  #find(term: string): number | undefined {
    for (const numbers of this.#numbers) {
      const number = numbers.get(term);
      if (number !== undefined) return number;
    }
    return undefined;
  }

  #take(text: string): number {
    const term = copyOf(text);
    const number = this.#terms.length;
    if (number >= this.#messages.length) {
      this.#messages = longer(this.#messages, 2 * number);
      this.#previousLike = longer(this.#previousLike, 2 * number);
    }
    this.#terms.push(term);
    if (number > 0 && number % TERMS_A_MAP === 0) this.#numbers.push(new Map());
    this.#numbers.at(-1)?.set(term, number);
    this.#bytes += BYTES_A_TERM + 2 * term.length;
    if (INFLECTED.test(term)) {
      const beginning = beginningOf(term);
      const previous = this.#newestLike.get(beginning);
      if (previous === undefined) this.#bytes += BYTES_A_BEGINNING;
      this.#previousLike[number] = previous ?? NONE;
      this.#newestLike.set(beginning, number);
    }
    return number;
  }
}

const NONE = -1;

const TERMS_A_MAP = 2 ** 16;

/** What V8 takes for an entry of the map, one of the array and the head of a string, and for another entry with its string. */
const BYTES_A_TERM = 80;
const BYTES_A_BEGINNING = 80;

/** How much two words have to have in common at least, and by how much they may differ after it. */
const COMMON_LETTERS = 4;
const ENDING_LETTERS = 4;
const INFLECTED = new RegExp(`^[\\p{L}\\p{M}]{${COMMON_LETTERS},24}$`, "u");

/** Where more known words than this begin alike they are no words of a language, and going through them would take long. */
const MOST_ALIKE = 1_000;

const beginningOf = (word: string): string => word.slice(0, COMMON_LETTERS);

function areForms(one: string, other: string): boolean {
  let common = COMMON_LETTERS;
  while (common < one.length && one[common] === other[common]) common++;
  const longest = Math.max(one.length, other.length);
  return longest - common <= ENDING_LETTERS && 2 * common >= longest;
}
