import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { termsOf } from "../../src/search/analyzer.js";
import { piecesOf } from "../../src/search/pieces.js";
import { found } from "./support.js";

const OTHERS = ["Nothing of interest here.", "Wir fahren ans Meer.", "何もありません", "ไม่มีอะไร", "لا شيء هنا"];

/** Whether a query finds the text among others, and first. */
function finds(query: string, text: string): boolean {
  return found([...OTHERS, text], query)[0] === text;
}

describe("a text is found by", () => {
  test.each([
    ["the forms of an English word", "she was painting sunrises", "paint a sunrise"],
    ["the forms of a German word", "Zwei Häuser am See", "Haus"],
    ["the forms of a German word, the other way", "Das Haus am See", "Häuser"],
    ["the forms of a Spanish word", "mañana hablaremos de los libros", "hablar libro"],
    ["the forms of a Russian word", "Она пришла с книгами", "книга"],
    ["the forms of a Finnish word", "Asumme pienessä talossa", "talo"],
    ["a Korean word without its particle", "내일 학교에서 만나요", "학교"],
    ["another case", "The CROUS of Lyon", "crous"],
    ["another case where Turkish has its own", "İSTANBUL'DA BULUŞALIM", "istanbul"],
    ["a Turkish dotless i", "ışık açık kaldı", "ISIK"],
    ["a German ß", "Hauptstraße 12", "HAUPTSTRASSE"],
    ["a word without its accents", "Un café crème à l'hôtel", "cafe creme hotel"],
    ["a word with accents that the text does not have", "a naive resume", "naïve résumé"],
    ["Greek in capitals", "Ο σοφός άνθρωπος", "ΣΟΦΟΣ"],
    ["Arabic without its marks", "السَّلَامُ عَلَيْكُمْ", "السلام"],
    ["Arabic with marks that the text does not have", "السلام عليكم", "السَّلَامُ"],
    ["Hebrew without its points", "שָׁלוֹם לך", "שלום"],
    ["an Arabic word without its article", "قرأت الكتاب أمس", "كتاب"],
    ["a Japanese word", "東京タワーで友達に会った", "東京"],
    ["a Chinese character", "我家有一只猫", "猫"],
    ["a Thai word", "พรุ่งนี้ไปตลาดกับแม่", "ตลาด"],
    ["a Hindi word", "मुझे किताब चाहिए", "किताब"],
    ["fullwidth letters", "ＡＢＣ商事", "abc"],
    ["an emoji", "See you there 🎉", "🎉"],
    ["an emoji of several", "our 👨‍👩‍👧 trip", "👨‍👩‍👧"],
    ["a name with an apostrophe", "O'Brien's car broke down", "O’Brien"],
    ["a markup's sign before it", "*CROUS of Lyon", "*CROUS"],
    ["signs that belong to it", "We write it in C++ (and C).", "C++ (a"],
    ["a telephone number", "Call +15555550111 after six", "+15555550111"],
    ["a part of an id", "Order ORD-2024-0117 has left", "0117"],
    ["a mail address", "mail ann@example.com, please", "ann@example.com"],
    ["an id in JSON", '{"id":"ord_77-b","n":3}', "ord_77-b"],
    ["what stands around a NUL", "a\u0000bravo", "bravo a\u0000bravo"],
  ])("%s", (_, text, query) => {
    expect(finds(query, text)).toBe(true);
  });
});

test("an exact id goes before those that only share its parts", () => {
  const texts = ["ORD-2024-0118 and 0117", "2024: ORD 0117", "it is ORD-2024-0117", "0117 ORD-2023-2024"];
  expect(found(texts, "ORD-2024-0117")[0]).toBe("it is ORD-2024-0117");
});

test.each(["", "   ", "what is it", "…!?", "\u0000", "()*+[", "\u0301\u0301", "\ud800"])(
  "nothing is found by %j",
  (query) => {
    expect(found(["what is it", "( a )", "+ \u0301 \u0000"], query)).toEqual([]);
  },
);

test("stop words are no terms, and words are told by their stems", () => {
  expect([...termsOf("When did Melanie paint the sunrise?").keys()]).toEqual(["melani", "paint", "sunris"]);
});

const anyBinary = fc.string({
  unit: fc.oneof(
    fc.constantFrom("a", "1", "-", "+", "東", " "),
    fc.string({ unit: "binary", minLength: 1, maxLength: 1 }),
  ),
  maxLength: 100,
  size: "max",
});

test("no text breaks it, and all terms are bounded", () => {
  fc.assert(
    fc.property(
      fc.oneof(
        anyBinary,
        anyBinary.map((text) => text.repeat(20)),
      ),
      (text) => {
        for (const term of termsOf(text).keys()) {
          expect(term.length).toBeGreaterThan(0);
          expect(term.length).toBeLessThanOrEqual(256);
          expect(term).not.toMatch(/[\s\0]/);
        }
      },
    ),
    { numRuns: 500 },
  );
});

test("the pieces of a text are all of it, none is long, and none begins or ends within a word or a character", () => {
  const anyText = fc
    .array(
      fc.oneof(
        fc.lorem(),
        fc.string({ unit: "binary", maxLength: 50 }),
        fc.constantFrom("𝒳".repeat(3_000), "x".repeat(5_000)),
      ),
    )
    .map((parts) => parts.join(" ").repeat(5));
  fc.assert(
    fc.property(anyText, (text) => {
      const pieces = [...piecesOf(text)];
      expect(pieces.join("")).toBe(text);
      for (const piece of pieces) {
        expect(piece.length).toBeLessThanOrEqual(1_024);
        expect(piece).not.toMatch(/^\p{Surrogate}|\p{Surrogate}$/u);
      }
    }),
  );
});
