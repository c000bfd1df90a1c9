import fc from "fast-check";
import { expect, test } from "vitest";
import { isObject, type JsonObject, type JsonValue } from "../../src/domain/json.js";
import { contains } from "../../src/domain/metadata.js";
import { ANY_TERM, filterTerms, indexTerms } from "../../src/domain/metadata-terms.js";
import { anyJson, similarJson } from "./any-json.js";

/** As the database looks: each term of the filter, or the one that stands for all. */
function isFound(metadata: JsonObject, filter: JsonObject, project = "p"): boolean {
  const terms = new Set(indexTerms("p", metadata));
  return filterTerms(project, filter).every((term) => terms.has(term) || terms.has(ANY_TERM));
}

/** Something that a value contains: some keys of its objects, some elements of its arrays, in any order and number. */
function partOf<T extends JsonValue>(value: T, random: fc.GeneratorValue): T;
function partOf(value: JsonValue, random: fc.GeneratorValue): JsonValue {
  if (value === 0) return random(fc.constantFrom, 0, -0);
  if (Array.isArray(value)) {
    const chosen = value.length === 0 ? [] : random(fc.array, fc.constantFrom(...value), { maxLength: 4 });
    return chosen.map((element) => partOf(element, random));
  }
  if (!isObject(value)) return value;
  const chosen = Object.entries(value).filter(() => random(fc.boolean));
  return Object.fromEntries(chosen.map(([key, inner]) => [key, partOf(inner, random)]));
}

test("metadata is found by all that it contains", () => {
  fc.assert(
    fc.property(fc.oneof(anyJson, similarJson), fc.gen(), (metadata, random) => {
      const filter = partOf(metadata, random);
      expect(contains(metadata, filter)).toBe(true);
      expect(isFound(metadata, filter)).toBe(true);
    }),
    { numRuns: 500 },
  );
});

test("whatever matches a filter is found by it", () => {
  fc.assert(
    fc.property(similarJson, similarJson, (metadata, filter) => {
      if (contains(metadata, filter)) expect(isFound(metadata, filter)).toBe(true);
    }),
    { numRuns: 2_000 },
  );
});

test("metadata too large for the index is found by each of its parts", () => {
  const large = Object.fromEntries(Array.from({ length: 5_000 }, (_, n) => [`k${n}`, { n: [n] }]));
  expect(indexTerms("p", large).length).toBeLessThanOrEqual(256);
  for (const n of [0, 300, 4_999]) expect(isFound(large, { [`k${n}`]: { n: [n] } })).toBe(true);
  expect(isFound(large, large)).toBe(true);
});

test("the index passes over what differs in a key, a value, a type, a place or the project", () => {
  const metadata = { topic: "travel", a: { b: 1 }, "a.c": 1, list: ["x"] };
  const others: JsonObject[] = [
    { topic: "food" },
    { subject: "travel" },
    { topic: ["travel"] },
    { a: { b: "1" } },
    { a: { b: true } },
    { a: { c: 1 } },
    { "a.b": 1 },
    { a: { b: null } },
    { b: 1 },
    { list: "x" },
    { list: { 0: "x" } },
    { list: {} },
    { list: [["x"]] },
  ];
  for (const filter of others) expect(isFound(metadata, filter), JSON.stringify(filter)).toBe(false);
  expect(isFound(metadata, { topic: "travel" }, "q")).toBe(false);
});

test("a filter of any size is a few lookups, its values before what is around them", () => {
  const around = Object.fromEntries(Array.from({ length: 100 }, (_, n) => [`k${n}`, { x: {} }]));
  const filter = { topic: "travel", ...around };
  expect(filterTerms("p", filter).length).toBeLessThanOrEqual(8);
  expect(filterTerms("p", filter)).toContain(filterTerms("p", { topic: "travel" })[0]);
  expect(filterTerms("p", {})).toEqual([]);
  // Without a term every session of the project would be read.
  fc.assert(
    fc.property(anyJson, (metadata) => {
      if (Object.keys(metadata).length > 0) expect(filterTerms("p", metadata)).not.toEqual([]);
    }),
  );
});
