import type { Filter } from "./message.js";
import { at, type MessageTable } from "./message-table.js";
import { type Postings, slotOf } from "./postings.js";
import type { Vocabulary } from "./vocabulary.js";

/** Terms of the text never begin like this. */
const MARK = "\0";

/** What the vocabulary knows a term by that a filter may ask for, and a text may not. */
export const filterTerm = (term: string): string => MARK + term;

/** Whether a filter lets a message through. */
export function maskOf(
  { roleTypes = [], createdAfter, createdBefore, terms = [], anyTerm }: Filter,
  vocabulary: Vocabulary,
  postings: Postings,
  table: MessageTable,
): (slot: number) => boolean {
  const tests: ((slot: number) => boolean)[] = [];
  if (roleTypes.length > 0) {
    const wanted = new Set(roleTypes);
    tests.push((slot) => wanted.has(at(table.roleType, slot)));
  }
  if (createdAfter !== undefined) tests.push((slot) => at(table.createTime, slot) > createdAfter);
  if (createdBefore !== undefined) tests.push((slot) => at(table.createTime, slot) < createdBefore);
  const numbers = [...new Set(terms)].map((term) => vocabulary.known(filterTerm(term)));
  if (numbers.length > 0) {
    const having = new Uint16Array(table.slots);
    const count = (number: number | undefined, times: number): void => {
      for (const posting of number === undefined ? [] : postings.of(number)) {
        const slot = slotOf(posting);
        having[slot] = at(having, slot) + times;
      }
    };
    for (const number of numbers) count(number, 1);
    if (anyTerm !== undefined) count(vocabulary.known(filterTerm(anyTerm)), numbers.length);
    tests.push((slot) => at(having, slot) >= numbers.length);
  }
  return (slot) => tests.every((test) => test(slot));
}
