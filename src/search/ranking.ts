import { Best } from "./best.js";
import { at, fromPrevious, type MessageTable, NONE } from "./message-table.js";
import type { Postings } from "./postings.js";
import { Tally } from "./tally.js";
import { EXACT, FORM, FROM_NEXT, FROM_SECOND_NEXT, FROM_SECOND_PREVIOUS, OWN } from "./weights.js";
import type { Word } from "./words.js";

/** How much the score of a whole session adds to that of each of its messages. */
const SESSION_SHARE = 0.3;

export interface Ranked {
  readonly slot: number;
  readonly score: number;
}

/** The messages that match best among those that may, best first. */
export function rank(
  words: readonly Word[],
  postings: Postings,
  table: MessageTable,
  isWanted: (slot: number) => boolean,
  limit: number,
): Ranked[] {
  const messages = new Tally(table.slots, OWN * EXACT);
  const sessions = new Tally(table.sessionLength.length, EXACT);
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

  const scores = new Float64Array(table.slots);
  const best = new Best(limit, (one, other) => {
    const difference = at(scores, one) - at(scores, other);
    return difference === 0 ? isNewer(table, one, other) : difference > 0;
  });
  for (const slot of messages.members) {
    if (!isWanted(slot)) continue;
    scores[slot] = messages.scoreOf(slot) + SESSION_SHARE * sessions.scoreOf(at(table.session, slot));
    best.offer(slot);
  }
  return best.sorted().map((slot) => ({ slot, score: at(scores, slot) }));

  /** Counts a term for those who say it, and less for those around them. */
  function countTerm(term: number, weight: number): void {
    postings.forEach(term, (slot, said, head) => {
      const session = at(table.session, slot);
      if (session === NONE) return;
      sessions.add(session, weight * (said + head));
      messages.add(slot, OWN * weight * (said + head));
      // Head words are about this one message.
      if (said === 0) return;
      const next = at(table.next, slot);
      if (next !== NONE) {
        messages.add(next, fromPrevious(at(table.asks, slot)) * weight * said);
        const second = at(table.next, next);
        if (second !== NONE) messages.add(second, FROM_SECOND_PREVIOUS * weight * said);
      }
      const previous = at(table.previous, slot);
      if (previous !== NONE) {
        messages.add(previous, FROM_NEXT * weight * said);
        const second = at(table.previous, previous);
        if (second !== NONE) messages.add(second, FROM_SECOND_NEXT * weight * said);
      }
    });
  }
}

/** The newest messages among those that are wanted, newest first. */
export function newest(table: MessageTable, isWanted: (slot: number) => boolean, limit: number): number[] {
  const best = new Best(limit, (one, other) => isNewer(table, one, other));
  for (let slot = 0; slot < table.slots; slot++) {
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
