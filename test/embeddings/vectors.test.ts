import { expect, test } from "vitest";
import { fused } from "../../src/embeddings/fusion.js";
import { textOf } from "../../src/embeddings/texts.js";
import { directionOf, quantised, similarity } from "../../src/embeddings/vectors.js";

const random = (seed: number) => () => {
  seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
  return seed / 2 ** 31 - 0.5;
};

test("a stored vector is as near to another as it was, to within a hundredth", () => {
  const next = random(7);
  const vector = () => Float32Array.from({ length: 384 }, next);
  for (let n = 0; n < 100; n++) {
    const [one, other] = [vector(), vector()];
    const exact = directionOf(one)?.reduce((sum, x, i) => sum + x * (directionOf(other)?.[i] ?? 0), 0);
    const bytes = quantised(other) as Int8Array;
    const stored = new Uint8Array(bytes.buffer);
    expect(similarity(directionOf(one) as Float32Array, stored)).toBeCloseTo(exact as number, 2);
  }
});

test("what has no direction is nothing to compare", () => {
  expect(quantised(new Float32Array(4))).toBeUndefined();
  expect(directionOf(new Float32Array(4))).toBeUndefined();
});

test("a message is embedded with who says it, and not at all when it says nothing", () => {
  expect(textOf("Ann", "Where to?")).toBe("Ann: Where to?");
  expect(textOf("", "Where to?")).toBe("Where to?");
  expect(textOf("Ann", " \n")).toBeUndefined();
});

test("words and meaning together: each puts those in order whom the other cannot tell apart", () => {
  const order = (scores: { lexical: number; dense: number | undefined }[]) => {
    const together = fused(scores);
    return [...scores.keys()].sort((a, b) => (together[b] as number) - (together[a] as number));
  };
  expect(
    order([
      { lexical: 1, dense: 0.1 },
      { lexical: 1, dense: 0.9 },
    ]),
  ).toEqual([1, 0]);
  expect(
    order([
      { lexical: 1, dense: 0.5 },
      { lexical: 2, dense: 0.5 },
    ]),
  ).toEqual([1, 0]);
  // One that is not embedded yet is neither near nor far.
  const scores = [0.9, undefined, 0.1].map((dense) => ({ lexical: 1, dense }));
  expect(order(scores)).toEqual([0, 1, 2]);
  expect(fused([{ lexical: 3, dense: undefined }])).toEqual([0.5]);
  expect(fused([])).toEqual([]);
});
