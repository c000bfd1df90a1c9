import { Best } from "./best.js";
import { at, fromPrevious, type MessageTable, NONE } from "./message-table.js";
import { headOf, type Postings, saidOf, slotOf } from "./postings.js";
import { Tally } from "./tally.js";
import { EXACT, FORM, FROM_NEXT, FROM_SECOND_NEXT, FROM_SECOND_PREVIOUS, OWN } from "./weights.js";
import type { Word } from "./words.js";

/** How much the score of a whole session adds to that of each of its messages. */
const SESSION_SHARE = 0.3;

export interface Ranked {
  readonly slot: number;
  readonly score: number;
}

/** Of the one query that is answered at a time. */
const messages = new Tally(OWN * EXACT);
const sessions = new Tally(EXACT);
/** Each is compared with many others. */
let scores = new Float64Array(0);

/** The messages that match best among those that may, best first. */
export function rank(
  words: readonly Word[],
  postings: Postings,
  table: MessageTable,
  isWanted: (slot: number) => boolean,
  limit: number,
): Ranked[] {
  messages.begin(table.slots);
  sessions.begin(table.sessionLength.length);
  for (const word of words) {
    if (word.term !== undefined) countTerm(word.term, EXACT);
    for (const form of word.forms) countTerm(form, FORM);
    const having = Math.min(word.messages, table.messages);
    messages.endWord(table.messages, having, table.weight, table.totalWeight / table.messages);
    sessions.endWord(
      table.sessionCount,
      sessions.withWord,
      table.sessionLength,
      table.totalLength / table.sessionCount,
    );
  }

  const scoreOf = (slot: number): number =>
    messages.scoreOf(slot) + SESSION_SHARE * sessions.scoreOf(table.session[slot] as number);
  if (scores.length < table.slots) scores = new Float64Array(2 * table.slots);
  const best = new Best(limit, (one, other) => {
    const difference = (scores[one] as number) - (scores[other] as number);
    return difference === 0 ? isNewer(table, one, other) : difference > 0;
  });
  const { members } = messages;
  for (let index = 0; index < members.length; index++) {
    const slot = members[index] as number;
    if (!isWanted(slot)) continue;
    scores[slot] = scoreOf(slot);
    best.offer(slot);
  }
  return best.sorted().map((slot) => ({ slot, score: scores[slot] as number }));

  /**
   * Counts a term for those who say it, and less for those around them. It reads its columns without a helper, which would see too many
   * kinds of them to be quick, and this is what a search does most.
   */
  function countTerm(term: number, weight: number): void {
    const list = postings.of(term);
    const { session, next, previous, asks } = table;
    for (let index = 0; index < list.length; index++) {
      const posting = list[index] as number;
      const slot = slotOf(posting);
      const said = saidOf(posting);
      const all = said + headOf(posting);
      const number = session[slot] as number;
      if (number === NONE) continue;
      sessions.add(number, weight * all);
      messages.add(slot, OWN * weight * all);
      // Head words are about this one message.
      if (said === 0) continue;
      const after = next[slot] as number;
      if (after !== NONE) {
        messages.add(after, fromPrevious(asks[slot] as number) * weight * said);
        const second = next[after] as number;
        if (second !== NONE) messages.add(second, FROM_SECOND_PREVIOUS * weight * said);
      }
      const before = previous[slot] as number;
      if (before !== NONE) {
        messages.add(before, FROM_NEXT * weight * said);
        const second = previous[before] as number;
        if (second !== NONE) messages.add(second, FROM_SECOND_NEXT * weight * said);
      }
    }
  }
}

/** The newest messages among those that are wanted, newest first. */
export function newest(table: MessageTable, isWanted: (slot: number) => boolean, limit: number): number[] {
  const best = new Best(limit, (one, other) => isNewer(table, one, other));
  // The newest were mostly added last, and what comes after them is turned away at once.
  for (let slot = table.slots - 1; slot >= 0; slot--) {
    if (at(table.session, slot) !== NONE && isWanted(slot)) best.offer(slot);
  }
  return best.sorted();
}

/** An order of all messages that does not depend on when they were added to the index. */
function isNewer(table: MessageTable, one: number, other: number): boolean {
  const later = at(table.createTime, one) - at(table.createTime, other);
  if (later !== 0) return later > 0;
  const sessions = [at(table.session, one), at(table.session, other)] as const;
  if (sessions[0] === sessions[1]) return at(table.sequence, one) > at(table.sequence, other);
  return keyOf(table, sessions[0]) < keyOf(table, sessions[1]);
}

const keyOf = (table: MessageTable, session: number): string => table.sessions[session]?.key ?? "";
