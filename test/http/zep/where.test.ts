import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SessionsError } from "../../../src/domain/errors.js";
import type { JsonObject, JsonValue } from "../../../src/domain/json.js";
import { readWhere } from "../../../src/http/zep/where/where.js";
import { anyJson } from "../../domain/any-json.js";

/** The filters of the legacy API, as Postgres 16 evaluates their paths in jsonb_path_exists. */

const METADATA: JsonObject = {
  tag: "a",
  n: 3,
  ok: true,
  none: null,
  list: ["x", "y", 7],
  nested: { deep: { v: 5 } },
  pairs: [
    { k: 1, v: "one" },
    { k: 2, v: "two" },
  ],
  rows: [[1, 2], [3]],
  "odd key": "it's",
  system: { entities: [{ Label: "LOC", Name: "Lisbon" }, { Label: "PER" }] },
};

const finds = (jsonpath: string, metadata: JsonObject = METADATA) => readWhere({ jsonpath })?.(metadata);

/** What is wrong with a filter, in one sentence. */
function faultOf(where: JsonValue): string {
  try {
    readWhere(where)?.(METADATA);
  } catch (error) {
    expect(error).toBeInstanceOf(SessionsError);
    expect((error as SessionsError).code).toBe("INVALID_ARGUMENT");
    return (error as Error).message;
  }
  throw new Error(`${JSON.stringify(where)} was taken`);
}

describe("a path", () => {
  it.each<[string, boolean]>([
    // As the legacy server's documentation and its users write them.
    ['$.tag ? (@ == "a")', true],
    ['$.tag ? (@ == "b")', false],
    ["$.tag ? (@ == 'a')", true],
    ['$[*] ? (@.tag == "a")', true],
    ['$[*] ? (@.tag == "b")', false],
    ["$.n ? (@ >= 3)", true],
    ["$.n ? (@ > 3)", false],
    ['$.system.entities[*] ? (@.Label == "LOC")', true],
    ['$.system.entities[*] ? (@.Label == "ORG")', false],
    ['$.system.entities ? (@.Label == "LOC" && @.Name == "Lisbon")', true],
    ['$.system.entities ? (@.Label == "PER" && @.Name == "Lisbon")', false],
    ['$.tag ? (@ like_regex "^A$" flag "i")', true],
    ['$.tag ? (@ like_regex "^A$")', false],
    ["$.ok", true],
    ["$.missing", false],
    ["$.none", true],
    // A condition always yields something: true, false or null.
    ['$.tag == "zzz"', true],
    ['$."odd key" ? (@ == "it\'s")', true],
    ["$.'odd key' ? (@ == \"it's\")", true],
    // Where an object can be meant only, an array stands for its elements.
    ["$.pairs.k ? (@ == 2)", true],
    ["$.pairs ? (@.k == 2)", true],
    ["$.list ? (@ == 7)", true],
    ["$.list == 8", true],
    ["$ ? (@.list == 7)", true],
    ["$ ? (@.list == 8)", false],
    ["$.rows[*] ? (@ == 3)", true],
    ["$.rows ? (@ == 3)", true],
    ["$.rows ? (@ == 9)", false],
    ["strict $.pairs.k", false],
    ["strict $.pairs[*].k", true],
    ["strict $.list ? (@ == 7)", false],
    ["lax $.tag[0]", true],
    ["strict $.tag[0]", false],
    ["strict $.missing", false],
    ["strict $.**.v ? (@ == 5)", true],
    // Elements.
    ['$.list[0] ? (@ == "x")', true],
    ["$.list[last] ? (@ == 7)", true],
    ['$.list[last - 1] ? (@ == "y")', true],
    ["$.list[5]", false],
    ["strict $.list[5]", false],
    ["$.list[1 to last] ? (@ == 7)", true],
    ['$.list[0, 2] ? (@ == "y")', false],
    // Any key, any level.
    ['$.* ? (@ == "a")', true],
    ["$.** ? (@ == 5)", true],
    ["$.**{3} ? (@ == 5)", true],
    ["$.**{1 to 2} ? (@.v == 5)", true],
    ["$.**{1} ? (@ == 5)", false],
    ["$.**{last} ? (@ == 5)", true],
    // Conditions.
    ["$ ? (@.n > 1 && @.n < 4)", true],
    ['$ ? (@.tag == "b" || @.n == 3)', true],
    ['$ ? (!(@.tag == "b"))', true],
    ["$ ? (exists(@.nested.deep))", true],
    ["$ ? (exists(@.nested.none))", false],
    ["$ ? (!exists(@.nested.none))", true],
    ["$ ? ((@.tag > 1) is unknown)", true],
    ['$.tag ? (@ starts with "a")', true],
    ['$.tag ? (@ starts with "b")', false],
    ["$.n ? (@ <> 3)", false],
    ["$.n ? (@ != 4)", true],
    // Different types cannot be compared, which is neither true nor false; null is unlike all.
    ['$.n ? (@ == "3")', false],
    ['$.n ? (@ != "3")', false],
    ["$.n ? (@ != null)", true],
    ["$.none ? (@ == null)", true],
    ["$.none ? (@ < 1)", false],
    ["$.ok ? (@ == true)", true],
    ["$.nested ? (@ == @)", false],
    // Calculations and methods.
    ["$.n ? (@ + 1 == 4)", true],
    ["$.n ? (@ * 2 - 1 == 5 && @ % 2 == 1 && -@ < 0)", true],
    ["$.n ? (@ / 0 == 1)", false],
    ["$.tag + 1", false],
    ["$.list.size() ? (@ == 3)", true],
    ["$.n.size() ? (@ == 1)", true],
    ['$.list.type() ? (@ == "array")', true],
    ["$.n.type() ? (@ == 'number')", true],
    ["$.list[*].abs()", false],
    ["$.list[last].abs()", true],
    ['("7").double() ? (@ == 7)', true],
    ["(2.5).floor() ? (@ == 2)", true],
    // What comes behind what was found does not count in a lax path.
    ["$.rows[1 to 9].abs()", true],
    ["(-1.5).ceiling() ? (@ == -1)", true],
    ["/* by hand */ $.n ? (@ == 0.3e1)", true],
    ['$."\\u0074ag" ? (@ == "\\x61")', true],
    ["$", true],
  ])("%s is %j", (path, expected) => {
    expect(finds(path)).toBe(expected);
  });

  it("finds nothing in a message that has no metadata", () => {
    expect([finds("$", {}), finds("$.a == 1", {}), finds("$ ? (!exists(@.a))", {})]).toEqual([false, false, false]);
  });

  it("knows keys by their letters alone", () => {
    const metadata = JSON.parse('{"a": 1, "__proto__": {"b": 2}}') as JsonObject;
    expect(finds("$.constructor", metadata)).toBe(false);
    expect(finds("$.toString", metadata)).toBe(false);
    expect(finds("$.__proto__.b ? (@ == 2)", metadata)).toBe(true);
  });

  it.each([
    "",
    "$$$$",
    "tag",
    "$.",
    "$.tag ?",
    "$.tag ? (@)",
    "$.tag ? (@ ==)",
    "$.tag ? @ == 1",
    '$.tag ? (@ == "it',
    "$.n') OR 1=1 --",
    "@.tag",
    "$.tag = 1",
    "$[last",
    "$ ? (last == 1)",
    "$.a b",
    "$.foo-bar",
    "$x",
    '$"x"',
    "1 == 1 == 1",
    "$.a ? (@ == 1) == (@ == 2)",
    "$.t.datetime()",
    "$.keyvalue()",
    "$.tag like_regex 5",
    '$.tag like_regex "(a" ',
    '$.tag like_regex "a" flag "x"',
    "$[1.5.5]",
    "$.**{-1}",
    "!true",
    `${"(".repeat(1_000)}$${")".repeat(1_000)}`,
    `$${".a".repeat(3_000)}`,
    `$ ? (${Array.from({ length: 300 }, () => "@.a==1").join("||")})`,
    `${"-".repeat(1_000)}1`,
    "\ud800",
    "$.a\u0000",
  ])("that cannot be read is refused in one sentence: %j", (path) => {
    expect(faultOf({ jsonpath: path })).toMatch(/^metadata\.where\.jsonpath: [^\n]{1,200}\.$/);
  });
});

describe("a pattern", () => {
  const like = (pattern: string, text: string, flags = "") =>
    finds(`$.t ? (@ like_regex ${JSON.stringify(pattern)}${flags && ` flag "${flags}"`})`, { t: text });

  it.each<[string, string, string, boolean]>([
    ["b", "abc", "", true],
    ["^b", "abc", "", false],
    ["c$", "abc", "", true],
    ["", "abc", "", true],
    ["a.c", "abc", "", true],
    ["a.c", "a\nc", "", false],
    ["a.c", "a\nc", "s", true],
    ["a[^b]c", "a\nc", "", false],
    ["^b$", "a\nb\nc", "m", true],
    ["^b$", "a\nb\nc", "", false],
    ["a.c", "abc", "q", false],
    ["a.c", "xa.cx", "q", true],
    ["A.C", "xa.cx", "iq", true],
    ["GRÜSSE", "viele grüsse", "i", true],
    ["[A-C]+$", "xabc", "i", true],
    ["[^A]", "aa", "i", false],
    ["^(?:ab|cd)+$", "abcdab", "", true],
    ["^(?:ab|cd)+$", "abcda", "", false],
    ["^a{2,3}$", "aaa", "", true],
    ["^a{2,3}$", "aaaa", "", false],
    ["^a{2}$", "aa", "", true],
    ["^a{2,}$", "aaaaa", "", true],
    ["^a*?b+?c??$", "aabb", "", true],
    ["^(a|)b$", "b", "", true],
    ["a{b", "a{b", "", true],
    ["^\\d+\\s\\w+$", "42 słów", "", true],
    ["^\\D+$", "4", "", false],
    ["^[[:alpha:]_-]+$", "ab_-c", "", true],
    ["^[]a]+$", "]a", "", true],
    ["^[\\w.]+@[\\w.]+$", "ann@example.org", "", true],
    ["\\ycat\\y", "a cat sat", "", true],
    ["\\ycat\\y", "concatenate", "", false],
    ["\\mcat", "cats", "", true],
    ["cat\\M", "cats", "", false],
    ["\\Ab\\Z", "a\nb", "m", false],
    ["^\\u00e9\\x41\\.$", "éA.", "", true],
    ["^.$", "😀", "", true],
  ])("%j of %j (%s): %j", (pattern, text, flags, expected) => {
    expect(like(pattern, text, flags)).toBe(expected);
  });

  it.each([
    "(",
    ")",
    "[a",
    "*a",
    "a**",
    "a{3,2}",
    "a{256}",
    "(a)\\1",
    "(?=a)",
    "(?<!a)",
    "(?i)a",
    "\\b",
    "\\",
    "[b-a]",
    "[[:nope:]]",
    "\\u12",
    "((a{99}){99}){99}",
    "(((((){255}){255}){255}){255})",
    "(".repeat(99),
  ])("that is none, or takes too long, is refused in one sentence: %j", (pattern) => {
    expect(faultOf({ jsonpath: `$.t like_regex ${JSON.stringify(pattern)}` })).toMatch(
      /^metadata\.where\.jsonpath: [^\n]{1,200}\.$/,
    );
  });

  it("agrees with JavaScript's where both mean the same", () => {
    const atom = fc.constantFrom("a", "b", ".", "[ab]", "[^a]", "(?:a|b)", "(?:ab)", "(?:a*)", "c");
    const piece = fc
      .tuple(atom, fc.constantFrom("", "", "*", "+", "?", "{2}", "{1,2}"))
      .map(([one, count]) => one + count);
    const pattern = fc
      .tuple(
        fc.constantFrom("", "^"),
        fc.array(fc.oneof(piece, fc.constant("|")), { maxLength: 5 }),
        fc.constantFrom("", "$"),
      )
      .map(([begin, pieces, end]) => begin + pieces.join("") + end);
    const text = fc.string({ unit: fc.constantFrom("a", "b", "c", "A"), maxLength: 8 });
    fc.assert(
      fc.property(pattern, text, fc.constantFrom("", "i"), (one, t, flags) => {
        expect(like(one, t, flags)).toBe(new RegExp(one, `${flags}u`).test(t));
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("and, or", () => {
  const a = { jsonpath: '$.tag ? (@ == "a")' };
  const b = { jsonpath: '$.tag ? (@ == "b")' };
  const n = { jsonpath: "$.n ? (@ == 3)" };
  it.each<[JsonValue, boolean | undefined]>([
    [{ and: [a, n] }, true],
    [{ and: [a, b] }, false],
    [{ or: [b, n] }, true],
    [{ or: [b, b] }, false],
    [{ and: [{ or: [a, b] }, n] }, true],
    [{ or: [{ and: [a, b] }, n] }, true],
    [{ or: [n, { and: [a, b] }] }, true],
    [{ jsonpath: "$.ok", and: [n], or: [b, a] }, true],
    [{ jsonpath: "$.missing", and: [n] }, false],
    [{ and: [n], or: [b] }, false],
    [{ jsonpath: null, and: null }, undefined],
    [{ and: [], or: [{}] }, undefined],
    [{}, undefined],
    [null, undefined],
  ])("%j is %j", (where, expected) => {
    expect(readWhere(where)?.(METADATA)).toBe(expected);
  });

  it.each<[JsonValue, string]>([
    ["x", "metadata.where"],
    [[a], "metadata.where"],
    [{ tag: "a" }, "metadata.where.tag"],
    [{ jsonpath: 5 }, "metadata.where.jsonpath"],
    [{ and: a }, "metadata.where.and"],
    [{ or: [a, "x"] }, "metadata.where.or[1]"],
    [{ and: [{ or: [{ jsonpath: "$$" }] }] }, "metadata.where.and[0].or[0].jsonpath"],
    [{ or: Array.from({ length: 101 }, () => a) }, "metadata.where"],
  ])("%j is refused", (where, field) => {
    expect(faultOf(where)).toMatch(new RegExp(`^${field.replace(/[.[\]]/g, "\\$&")}: [^\\n]+\\.$`));
  });
});

describe("whatever is asked", () => {
  /** Conditions on `@`, with what they come to: values of a key, arrays as their elements. */
  type Naive = readonly [text: string, truth: (item: JsonValue) => boolean | undefined];
  const elements = (value: JsonValue): JsonValue[] => (Array.isArray(value) ? value : [value]);
  const keyOf = (item: JsonValue, key: string): JsonValue[] =>
    elements(item).flatMap((one) =>
      one !== null && typeof one === "object" && !Array.isArray(one) && key in one ? [one[key] as JsonValue] : [],
    );
  const LESS = {
    "==": (x: JsonValue, y: JsonValue) => x === y,
    "<": (x: JsonValue, y: JsonValue) => (x as number) < (y as number),
    ">=": (x: JsonValue, y: JsonValue) => (x as number) >= (y as number),
  };
  const scalar = fc.constantFrom<null | boolean | number | string>(null, true, false, 0, 1, 2, "", "a", "b");
  const value = fc.letrec<{ value: JsonValue }>((tie) => ({
    value: fc.oneof(
      { depthSize: "small" },
      scalar,
      fc.array(tie("value"), { maxLength: 3 }),
      fc.dictionary(fc.constantFrom("a", "b", "c"), tie("value"), { maxKeys: 3 }),
    ),
  })).value;
  const comparison = fc
    .tuple(fc.constantFrom("a", "b", "c"), fc.constantFrom(..."== < >=".split(" ")), fc.constantFrom(0, 1, "a", "b"))
    .map(
      ([key, operator, literal]): Naive => [
        `@.${key} ${operator} ${JSON.stringify(literal)}`,
        (item) => {
          const all = keyOf(item, key)
            .flatMap(elements)
            .map((one) =>
              one === null
                ? false
                : typeof one === typeof literal
                  ? LESS[operator as keyof typeof LESS](one, literal)
                  : undefined,
            );
          return all.includes(true) || (all.includes(undefined) ? undefined : false);
        },
      ],
    );
  const condition = fc.letrec<{ condition: Naive }>((tie) => ({
    condition: fc.oneof(
      { depthSize: "small" },
      comparison,
      fc.constantFrom("a", "b").map((key): Naive => [`exists(@.${key})`, (item) => keyOf(item, key).length > 0]),
      tie("condition").map(([text, truth]): Naive => [`!(${text})`, (item) => negated(truth(item))]),
      fc.tuple(tie("condition"), tie("condition")).map(
        ([[one, first], [other, second]]): Naive => [
          `(${one} && ${other})`,
          (item) => {
            const both = [first(item), second(item)];
            return both.includes(false) ? false : both.includes(undefined) ? undefined : true;
          },
        ],
      ),
      fc.tuple(tie("condition"), tie("condition")).map(
        ([[one, first], [other, second]]): Naive => [
          `(${one} || ${other})`,
          (item) => {
            const both = [first(item), second(item)];
            return both.includes(true) || (both.includes(undefined) ? undefined : false);
          },
        ],
      ),
    ),
  })).condition;
  const negated = (truth: boolean | undefined) => (truth === undefined ? undefined : !truth);

  it("comes to what a naive evaluation comes to", () => {
    const keys = fc.array(fc.constantFrom("a", "b", "c"), { maxLength: 2 });
    const document = fc.dictionary(fc.constantFrom("a", "b", "c"), value, { minKeys: 1, maxKeys: 3 });
    fc.assert(
      fc.property(keys, condition, document, (path, [text, truth], metadata) => {
        const items = path.reduce<JsonValue[]>((all, key) => all.flatMap((item) => keyOf(item, key)), [metadata]);
        const expected = items.flatMap(elements).some((item) => truth(item) === true);
        expect(finds(`$${path.map((key) => `.${key}`).join("")} ? (${text})`, metadata)).toBe(expected);
      }),
      { numRuns: 3_000 },
    );
  });

  it("is answered or refused, garbage too", () => {
    const words = [
      "$",
      "@",
      ".",
      "a",
      "*",
      "**",
      "[",
      "]",
      "(",
      ")",
      "?",
      "==",
      "<",
      "&&",
      "||",
      "!",
      "exists",
      "like_regex",
    ];
    const garbage = fc.oneof(
      fc.string({ unit: "binary" }),
      fc
        .array(
          fc.constantFrom(
            ...words,
            '"a"',
            "'",
            "1",
            "last",
            "to",
            "is unknown",
            "starts with",
            "strict",
            "-",
            "{",
            "}",
            " ",
          ),
        )
        .map((parts) => parts.join("")),
      fc.array(fc.constantFrom(...words, '"[a"', "1")).map((parts) => `$ ? (${parts.join(" ")})`),
    );
    fc.assert(
      fc.property(garbage, anyJson, (jsonpath, metadata) => {
        try {
          expect([true, false]).toContain(readWhere({ jsonpath })?.(metadata as JsonObject));
        } catch (error) {
          expect(error).toBeInstanceOf(SessionsError);
          expect((error as Error).message).not.toMatch(/\n/);
        }
      }),
      { numRuns: 5_000 },
    );
  });

  it.each<[string, JsonObject]>([
    ['$.t like_regex "^(a+)+$"', { t: `${"a".repeat(60_000)}!` }],
    ['$.t like_regex "(a|a)*(b|b)*(a|a)*(b|b)*c"', { t: "ab".repeat(30_000) }],
    [`$.t like_regex "${"(a?){50}".repeat(8)}b"`, { t: "a".repeat(60_000) }],
    ["$.** == $.**", { t: Array.from({ length: 8_000 }, (_, n) => n) }],
    ["$.**.**.**.**.**.**.**.** ? (@ == 1)", JSON.parse(`${'{"a":'.repeat(31)}[2]${"}".repeat(31)}`) as JsonObject],
    [`$[*]${"[*]".repeat(300)}`, { t: 1 }],
    [
      `$.t ? (${Array.from({ length: 120 }, () => "@.a == 1").join(" || ")})`,
      { t: Array.from({ length: 8_000 }, () => ({})) },
    ],
    [`$[${Array.from({ length: 400 }, () => "0").join(",")}]`, { t: 1 }],
    [Array.from({ length: 400 }, () => "1").join("+"), { t: 1 }],
  ])("never takes for ever: %s", (jsonpath, metadata) => {
    try {
      expect([true, false]).toContain(finds(jsonpath, metadata));
    } catch (error) {
      expect((error as Error).message).toMatch(/^metadata\.where: Takes too long/);
    }
  });

  const letters = Array.from({ length: 3_900 }, (_, n) => String.fromCodePoint(0x4e00 + n)).join("");
  it.each([
    ["sets", `$.text like_regex "[${letters}]"`, { text: "x".repeat(60_000) }],
    [
      "texts",
      "$.list[*] ? ($.a < $.b)",
      { a: "a".repeat(20_000), b: "a".repeat(20_000), list: new Array(8_000).fill(1) },
    ],
  ])("counts how long %s are", (_, jsonpath, metadata) => {
    expect(() => finds(jsonpath, metadata)).toThrow(/Takes too long/);
  });
});
