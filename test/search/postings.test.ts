import fc from "fast-check";
import { expect, test } from "vitest";
import { headOf, MAX_SLOTS, Postings, saidOf, slotOf } from "../../src/search/postings.js";

const partsOf = (posting: number) => [slotOf(posting), saidOf(posting), headOf(posting)];

/** Lists that grow by turns, some by a few and some by thousands. */
const anyTurns = fc.array(
  fc.record({ term: fc.nat(200), postings: fc.oneof({ weight: 4, arbitrary: fc.nat(5) }, fc.nat(6_000)) }),
  { maxLength: 40, size: "max" },
);

test("each list has what was added to it, in order, however the lists grew beside each other", () => {
  fc.assert(
    fc.property(anyTurns, (turns) => {
      const postings = new Postings();
      const expected = new Map<number, number[][]>();
      let slot = 0;
      for (const { term, postings: count } of turns) {
        const list = expected.get(term) ?? [];
        expected.set(term, list);
        for (let added = 0; added < count; added++) {
          const posting = [slot++ % MAX_SLOTS, slot % 1_024, slot % 4] as const;
          postings.add(term, ...posting);
          list.push([...posting]);
        }
      }
      for (let term = 0; term <= 200; term++) {
        expect([...postings.of(term)].map(partsOf)).toEqual(expected.get(term) ?? []);
      }
    }),
    { numRuns: 30 },
  );
});

test("what does not fit into a posting is the most that does", () => {
  const postings = new Postings();
  postings.add(0, MAX_SLOTS - 1, 1_000_000, 100);
  expect([...postings.of(0)].map(partsOf)).toEqual([[MAX_SLOTS - 1, 1_023, 3]]);
});
