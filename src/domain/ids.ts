import { MAX_ID_CODE_POINTS } from "./limits.js";

/** What is wrong with an id of a session, a user or a message; undefined when nothing is. */
export function idFault(value: string): string | undefined {
  if (value.trim() === "") return "Required: send an id that is not blank.";
  if (codePoints(value, MAX_ID_CODE_POINTS) > MAX_ID_CODE_POINTS) {
    return `An id has at most ${MAX_ID_CODE_POINTS} code points.`;
  }
  return CONTROL_CHARACTER.test(value) ? "An id has no control characters." : undefined;
}

const CONTROL_CHARACTER = /\p{Cc}/u;

/** Counts no further than needed to know that there are more than `enough`. */
export function codePoints(text: string, enough: number): number {
  if (text.length <= enough) return text.length;
  if (text.length > enough * 2) return text.length;
  return [...text].length;
}
