/**
 * A message in a conversation is rarely understood alone, so it also counts as saying, less loudly, what was said around it. All
 * weights are whole numbers: sums of them are the same in whatever order messages came and went.
 */

/** A word that the message says itself. */
export const OWN = 40;
/** Said by the message before it; more when that one asks something, which this one then answers. */
export const FROM_PREVIOUS = 16;
export const FROM_QUESTION = 30;
export const FROM_NEXT = 10;
/** Said two messages before, and two after. */
export const FROM_SECOND_PREVIOUS = 10;
export const FROM_SECOND_NEXT = 4;

/** The word that was asked for counts twice as much as another form of it. */
export const EXACT = 2;
export const FORM = 1;
