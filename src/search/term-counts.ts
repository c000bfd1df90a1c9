import { analyze } from "./analyzer.js";
import { filterTerm } from "./filter.js";
import type { Vocabulary } from "./vocabulary.js";

export interface TermCount {
  readonly term: number;
  /** How often it is in the content, and in the head words. */
  readonly said: number;
  readonly head: number;
}

/** How often a message has each term, while it is taken in piece by piece. */
export class TermCounts {
  readonly #vocabulary: Vocabulary;
  /** By the term's number. */
  readonly #counts = new Map<number, number>();
  /** How many terms the content has, and the head words. */
  said = 0;
  head = 0;

  constructor(vocabulary: Vocabulary) {
    this.#vocabulary = vocabulary;
  }

  /** How many different terms it has. */
  get size(): number {
    return this.#counts.size;
  }

  /** Takes in a piece of the content, and tells how many terms that were. */
  say(text: string): number {
    const before = this.said;
    analyze(text, (term) => {
      this.said++;
      this.#count(term, 1);
    });
    return this.said - before;
  }

  /** Takes in the head words. */
  sayInHead(text: string): void {
    analyze(text, (term) => {
      this.head++;
      this.#count(term, IN_HEAD);
    });
  }

  /** Takes in a term that a filter may ask for. */
  have(term: string): void {
    this.#count(filterTerm(term), 0);
  }

  *[Symbol.iterator](): Generator<TermCount, undefined, undefined> {
    for (const [term, count] of this.#counts) {
      yield { term, said: count % IN_HEAD, head: Math.floor(count / IN_HEAD) };
    }
    return undefined;
  }

  #count(term: string, amount: number): void {
    const number = this.#vocabulary.number(term);
    this.#counts.set(number, (this.#counts.get(number) ?? 0) + amount);
  }
}

/** More than a content can have of one term. */
const IN_HEAD = 2 ** 24;
