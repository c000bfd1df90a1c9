import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { JsonObject, JsonValue } from "../../src/domain/json.js";
import {
  applyMetadata,
  canonicalJson,
  contains,
  depthOf,
  isFiniteJson,
  type MetadataMode,
  sameMetadata,
} from "../../src/domain/metadata.js";
import { anyJson, expectSame, parse, reversed, similarJson } from "./any-json.js";

const MODES: MetadataMode[] = ["merge", "merge-patch", "replace"];

describe("a merge patch", () => {
  // Appendix A of RFC 7396. Metadata are objects, so targets and patches that are none stand under a key.
  const EXAMPLES: [target: string, patch: string, result: string][] = [
    ['{"a":"b"}', '{"a":"c"}', '{"a":"c"}'],
    ['{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'],
    ['{"a":"b"}', '{"a":null}', "{}"],
    ['{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'],
    ['{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'],
    ['{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'],
    ['{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'],
    ['{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'],
    ['["a","b"]', '["c","d"]', '["c","d"]'],
    ['{"a":"b"}', '["c"]', '["c"]'],
    ['{"a":"foo"}', '"bar"', '"bar"'],
    ['{"e":null}', '{"a":1}', '{"e":null,"a":1}'],
    ["[1,2]", '{"a":"b","c":null}', '{"a":"b"}'],
    ["{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'],
  ];
  test.each(EXAMPLES)("of %s by %s is %s, as RFC 7396 has it", (target, patch, result) => {
    const under = (json: string) => parse(`{"x":${json}}`);
    expectSame(applyMetadata(under(target), under(patch), "merge-patch"), under(result));
  });

  test("sets and removes keys that mean something elsewhere", () => {
    const odd = parse('{"__proto__":{"a":1,"b":2},"":1,"a.b":2,"$set":{"x":1},"constructor":3}');
    expectSame(applyMetadata({}, odd, "merge-patch"), odd);
    const patch = parse('{"__proto__":{"a":null},"":null,"a.b":null,"$set":null,"toString":null}');
    expectSame(applyMetadata(odd, patch, "merge-patch"), parse('{"__proto__":{"b":2},"constructor":3}'));
    expectSame(applyMetadata(parse('{"__proto__":1,"a":1}'), parse('{"__proto__":null}'), "merge-patch"), { a: 1 });
  });

  test("leaves nothing of its nulls, and changes nothing the second time", () => {
    fc.assert(
      fc.property(similarJson, similarJson, (current, patch) => {
        expect(hasNull(applyMetadata({}, patch, "merge-patch"))).toBe(false);
        const once = applyMetadata(current, patch, "merge-patch");
        expectSame(applyMetadata(once, patch, "merge-patch"), once);
      }),
    );
  });

  const hasNull = (value: JsonValue): boolean =>
    value === null ||
    (typeof value === "object" && !Array.isArray(value) && Object.values(value).some((inner) => hasNull(inner)));
});

describe("a merge", () => {
  test("goes into objects, replaces all else, and keeps null as a value", () => {
    const current = { a: { b: 1, c: 2 }, list: [1, 2], text: "x", kept: true };
    const update = { a: { b: null, d: {} }, list: [3], text: { y: null } };
    expectSame(applyMetadata(current, update, "merge"), {
      a: { b: null, c: 2, d: {} },
      list: [3],
      text: { y: null },
      kept: true,
    });
  });

  test("contains what was merged in", () => {
    fc.assert(
      fc.property(similarJson, similarJson, (current, update) => {
        expect(contains(applyMetadata(current, update, "merge"), update)).toBe(true);
      }),
    );
  });

  test("of two updates with different keys has the same result in either order", () => {
    fc.assert(
      fc.property(similarJson, similarJson, similarJson, (current, inner, other) => {
        const first = { x: inner, shared: { x: inner } };
        const second = { y: other, shared: { y: other } };
        const afterAllOf = (...updates: JsonObject[]) =>
          updates.reduce((metadata, update) => applyMetadata(metadata, update, "merge"), current);
        expect(sameMetadata(afterAllOf(first, second), afterAllOf(second, first))).toBe(true);
      }),
    );
  });
});

test("a replacement leaves nothing of what was there", () => {
  fc.assert(
    fc.property(similarJson, similarJson, (current, update) => {
      expectSame(applyMetadata(current, update, "replace"), update);
    }),
  );
});

test("no update changes what it is made from", () => {
  fc.assert(
    fc.property(similarJson, similarJson, fc.constantFrom(...MODES), (current, update, mode) => {
      const before = JSON.stringify([current, update]);
      applyMetadata(current, update, mode);
      expect(JSON.stringify([current, update])).toBe(before);
    }),
  );
});

test("`contains` compares objects by key, arrays by element, scalars by value", () => {
  const value = parse('{"a":{"b":1,"c":[1,[2],{"d":null,"e":"x"}]},"__proto__":{"p":1},"n":null,"":0}');
  const inside = [
    "{}",
    '{"a":{}}',
    '{"a":{"b":1}}',
    '{"a":{"c":[]}}',
    '{"a":{"c":[{"e":"x"},1,1]}}',
    '{"a":{"c":[{}]}}',
    '{"a":{"c":[[]]}}',
    '{"a":{"c":[[2]]}}',
    '{"__proto__":{"p":1}}',
    '{"n":null}',
    '{"":0}',
    '{"":-0}',
  ];
  const outside = [
    '{"a":{"b":"1"}}',
    '{"a":{"b":[1]}}',
    '{"a":{"b":{}}}',
    '{"a":1}',
    '{"a":{"c":1}}',
    '{"a":{"c":{}}}',
    '{"a":{"c":{"0":1}}}',
    '{"a":{"c":[2]}}',
    '{"a":{"c":[[1]]}}',
    '{"a":{"c":[{"d":null},{"e":"y"}]}}',
    '{"a":{"c":[{"d":0}]}}',
    '{"b":null}',
    '{"n":false}',
    '{"n":{}}',
    '{"n":[]}',
    '{"__proto__":{}, "x": {"__proto__":{}}}',
    '{"__proto__":{"toString":null}}',
    '{"constructor":{}}',
    '{"a":{"__proto__":{}}}',
  ];
  for (const part of inside) expect(contains(value, parse(part)), part).toBe(true);
  for (const part of outside) expect(contains(value, parse(part)), part).toBe(false);
});

// The examples at `ListSessionsRequest.metadata`, and what its sentences say beside them.
test.each<[value: JsonValue, contained: JsonValue[], other: JsonValue[]]>([
  [{ x: 1 }, [{}, { x: 1 }], [{ y: 1 }, { x: 1, y: 1 }]],
  [{ "x.y": 1 }, [{ "x.y": 1 }], [{ x: { y: 1 } }]],
  [
    ["a", "b"],
    [["b"], ["b", "a"], ["b", "b"], ["b", "b", "b"], []],
    [["c"], ["a", "c"], "b", [["b"]], {}],
  ],
  [[{ x: 1, y: 2 }], [[{ x: 1 }], [{ y: 2 }, { x: 1 }]], [[{ x: 2 }], { x: 1 }]],
  [[{ x: 1 }, { y: 2 }], [[{ y: 2 }, { x: 1 }]], [[{ x: 1, y: 2 }]]],
  [[["a", "b"]], [[["b"]], [["b", "a"]], [[]]], [["b"], [["c"]]]],
  [["b"], [["b"]], [[["b"]], "b"]],
  [[], [[]], [[null], null, {}, ""]],
  ["b", ["b"], [["b"], "B", "", "bb", {}, []]],
  ["\u00e9", ["\u00e9"], ["e\u0301"]],
  [0, [0, -0], ["0", false, null, [0], []]],
  [true, [true], [1, "true", false]],
  [null, [null], [false, 0, "", "null", {}, []]],
])("%j contains just what the reference says", (value, contained, other) => {
  for (const part of contained) expect(contains({ t: value }, { t: part }), JSON.stringify(part)).toBe(true);
  for (const part of other) expect(contains({ t: value }, { t: part }), JSON.stringify(part)).toBe(false);
  expect(contains({}, { t: null })).toBe(false);
});

test("the canonical JSON says all of the metadata, and nothing of the order of its keys", () => {
  fc.assert(
    fc.property(anyJson, (metadata) => {
      const text = canonicalJson(metadata);
      expectSame(parse(text), parse(JSON.stringify(metadata)));
      expect(canonicalJson(reversed(metadata))).toBe(text);
    }),
  );
  expect(canonicalJson({ b: [2, 1], a: null })).toBe('{"a":null,"b":[2,1]}');
});

test("metadata is the same in any order of its keys, and not of its elements", () => {
  fc.assert(fc.property(anyJson, (metadata) => sameMetadata(metadata, reversed(metadata))));
  expect(sameMetadata({ a: [1, 2] }, { a: [2, 1] })).toBe(false);
  expect(sameMetadata({ a: null }, {})).toBe(false);
  expect(sameMetadata(parse('{"__proto__":1}'), {})).toBe(false);
});

test("depth counts objects and arrays; numbers that JSON has not are found anywhere", () => {
  const values: JsonValue[] = [1, {}, { a: 1 }, { a: [] }, { b: 1, a: [{ x: [null] }] }];
  expect(values.map(depthOf)).toEqual([0, 1, 1, 2, 4]);
  for (const number of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    expect(isFiniteJson({ a: [1, { b: number }] })).toBe(false);
  }
  fc.assert(fc.property(anyJson, isFiniteJson));
});
