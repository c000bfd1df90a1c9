import { ASCII, fold } from "./folding.js";
import { stemOf } from "./stems.js";

/** An id has at most 256 characters; what is longer and has no spaces is not looked for by all of it. */
const MAX_TERM_LENGTH = 256;

/**
 * Calls `emit` with every term of a text and the word that it comes from, in no order that means anything:
 *
 * - the stem of each word, where a word is a run of letters and digits;
 * - pairs of characters in scripts that put no spaces between words, and in Korean, whose particles hang on to its words; with
 *   Chinese characters also each by itself, as many of them are words;
 * - what has digits or signs in it, as it was typed: ids, numbers, `C++`, `+15555550111`;
 * - emoji.
 */
export function analyze(text: string, emit: (term: string, word: string) => void): void {
  const folded = fold(text).replace(POSSESSIVE, "");
  for (const run of runsOf(folded)) {
    if (UNSPACED_RUN.test(run)) pairsOf(run, emit);
    else {
      const word = bounded(run);
      const stem = stemOf(word);
      if (stem !== undefined) emit(stem, word);
    }
  }
  if (!TELLING_SIGN.test(folded)) return;
  for (const typed of folded.match(TYPED) ?? []) {
    if (!TELLING_SIGN.test(typed)) continue;
    const term = bounded(typed).replace(LEADING, "").replace(TRAILING, "");
    if (TELLING_SIGN.test(term) && SAYS_SOMETHING.test(term) && !RUN.test(term)) emit(term, term);
  }
}

/** The different terms of a text in the order of their first occurrence, each with the word that it is the stem of. */
export function termsOf(text: string): Map<string, string> {
  const words = new Map<string, string>();
  analyze(text, (term, word) => {
    if (!words.has(term)) words.set(term, word);
  });
  return words;
}

function pairsOf(run: string, emit: (term: string, word: string) => void): void {
  const characters = [...run];
  let previous: string | undefined;
  for (const character of characters) {
    if (previous !== undefined) emit(previous + character, run);
    if (HAN.test(character) || characters.length === 1) emit(character, run);
    previous = character;
  }
}

const bounded = (term: string): string => (term.length > MAX_TERM_LENGTH ? term.slice(0, MAX_TERM_LENGTH) : term);

// The simpler expression finds the same in ASCII, in a third of the time.
const runsOf = (text: string): readonly string[] => text.match(ASCII.test(text) ? ASCII_RUNS : RUNS) ?? [];

const ASCII_RUNS = /[a-z0-9]+/g;
const POSSESSIVE = /'s(?![\p{L}\p{M}\p{N}])/gu;

const UNSPACED =
  "\\p{sc=Han}\\p{sc=Hiragana}\\p{sc=Katakana}ー々\\p{sc=Bopomofo}\\p{sc=Hangul}\\p{sc=Thai}\\p{sc=Lao}\\p{sc=Khmer}\\p{sc=Myanmar}";
const LETTER_OR_DIGIT = "\\p{L}\\p{M}\\p{N}";
const EMOJI = "\\p{Extended_Pictographic}|\\p{RI}{2}";

const RUNS = new RegExp(`[${UNSPACED}]+|(?:(?![${UNSPACED}])[${LETTER_OR_DIGIT}])+|${EMOJI}`, "gu");
const RUN = new RegExp(`^[${LETTER_OR_DIGIT}]*$`, "u");
const UNSPACED_RUN = new RegExp(`^[${UNSPACED}]`, "u");
const HAN = /\p{sc=Han}/u;

/** What stands between spaces, quotes and brackets. */
const TYPED = new RegExp(`[^\\s"'\`()[\\]{}<>,;=|\0${UNSPACED}]+`, "gu");
const TELLING_SIGN = /[\p{N}+#@_]/u;
const SAYS_SOMETHING = /[\p{L}\p{N}]/u;
const LEADING = /^[^\p{L}\p{M}\p{N}+#@_]+/u;
const TRAILING = /[^\p{L}\p{M}\p{N}+#_]+$/u;
