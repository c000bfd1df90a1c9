import { stemmer } from "stemmer";
import { COPIED_LENGTH } from "./cuttings.js";
import { STOP_WORDS } from "./stop-words.js";

/**
 * Numbers and ids are what they are; so is what is no word of a language that the stemmer knows. Longer words than this are none.
 */
const INFLECTED = /^[a-z]{3,24}$/;

/**
 * How many words are remembered with their stems, for all scopes together: conversations use the same few thousand again and
 * again, and finding a stem takes ten times as long as looking it up.
 */
const REMEMBERED = 20_000;

/** Arabic writes its article, and short words before that, in one with what follows. */
const ARABIC_ARTICLE = /^(?:[وفبك]?ال|لل)(?=\p{sc=Arabic}{3})/u;

const remembered = new Map<string, string>();

/** What a folded word is found by, whatever its ending: undefined for a stop word. */
export function stemOf(word: string): string | undefined {
  const known = remembered.get(word);
  if (known !== undefined) return known === "" ? undefined : known;
  const stem = STOP_WORDS.has(word) ? "" : INFLECTED.test(word) ? stemmer(word) : word.replace(ARABIC_ARTICLE, "");
  if (word.length <= COPIED_LENGTH) {
    if (remembered.size >= REMEMBERED) remembered.clear();
    remembered.set(word, stem);
  }
  return stem === "" ? undefined : stem;
}
