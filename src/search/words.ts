import { termsOf } from "./analyzer.js";
import type { Vocabulary } from "./vocabulary.js";

/** A word that is looked for, as the scope knows it. */
export interface Word {
  /** The term itself, undefined when no message has it. */
  readonly term: number | undefined;
  /** The terms that look like other forms of it. */
  readonly forms: readonly number[];
  /** How many messages have it; or one of its forms, when none has it. */
  readonly messages: number;
}

/** What is looked for is bounded, so that a query cannot hold up others: by words, and by messages that have them. */
const MAX_WORDS = 32;
const MAX_POSTINGS = 300_000;

/**
 * What is looked for of a query's terms, in their order. Of too many the rarest, which tell most; those that nobody has said in
 * just this form come last, as perhaps nobody has said them at all.
 */
export function knownWords(query: string, vocabulary: Vocabulary): Word[] {
  const terms = [...termsOf(query)];
  const numbers = terms.map(([term]) => vocabulary.known(term));
  const rarity = (place: number): number => messagesWith(numbers[place], vocabulary) || Number.POSITIVE_INFINITY;
  const places = [...terms.keys()].sort((one, other) => rarity(one) - rarity(other) || one - other).slice(0, MAX_WORDS);
  const own = new Set(numbers);
  const chosen: { place: number; word: Word }[] = [];
  let postings = 0;
  for (const place of places) {
    const term = numbers[place];
    const [stem, word] = terms[place] as [string, string];
    const forms = vocabulary.formsOf(stem, word).filter((form) => !own.has(form));
    const inForms = forms.reduce((sum, form) => sum + vocabulary.messagesWith(form), 0);
    const itself = messagesWith(term, vocabulary);
    if (itself + inForms === 0) continue;
    postings += itself + inForms;
    if (postings > MAX_POSTINGS && chosen.length > 0) break;
    chosen.push({ place, word: { term, forms, messages: itself || inForms } });
  }
  return chosen.sort((one, other) => one.place - other.place).map(({ word }) => word);
}

const messagesWith = (term: number | undefined, vocabulary: Vocabulary): number =>
  term === undefined ? 0 : vocabulary.messagesWith(term);
