import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import { expect } from "vitest";
import { isObject, type JsonObject, type JsonValue } from "../../src/domain/json.js";

/** Keys that are trouble somewhere: in JavaScript, in MongoDB, in a text decoder. */
const ODD_KEYS = ["__proto__", "constructor", "toJSON", "", "a.b", "$set", "\ufeffa", "\u0000", "10"];

function jsonOf(key: fc.Arbitrary<string>, scalar: fc.Arbitrary<JsonValue>): fc.Arbitrary<JsonObject> {
  return fc.letrec<{ value: JsonValue; object: JsonObject }>((tie) => ({
    value: fc.oneof({ depthSize: "small" }, scalar, tie("object"), fc.array(tie("value"), { maxLength: 4 })),
    object: fc.array(fc.tuple(key, tie("value")), { maxLength: 5 }).map((entries) => Object.fromEntries(entries)),
  })).object;
}

/** Any JSON object, with more odd keys and numbers than chance would give. */
export const anyJson = jsonOf(
  fc.oneof(fc.constantFrom(...ODD_KEYS), fc.string({ unit: "binary", maxLength: 6 })),
  fc.oneof(
    fc.constantFrom(null, true, false, 0, -0, 2 ** 53, -(2 ** 53) - 2, 5e-324, ""),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.string({ unit: "binary" }),
  ),
);

/** JSON objects of so few keys and values that two of them often have some in common. */
export const similarJson = jsonOf(
  fc.constantFrom("a", "b", "__proto__", ""),
  fc.constantFrom<JsonValue>(null, true, 0, -0, 1, "1", ""),
);

/** The same with the keys of each object in the opposite order. */
export function reversed<T extends JsonValue>(value: T): T;
export function reversed(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map((element) => reversed(element));
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, inner]) => [key, reversed(inner)]),
  );
}

/** `__proto__` as an ordinary key, which an object literal cannot say. */
export const parse = (json: string): JsonObject => JSON.parse(json) as JsonObject;

/** Exact: own keys only, whatever their names, and -0 is not 0. */
export function expectSame(actual: JsonValue, expected: JsonValue): void {
  expect(isDeepStrictEqual(actual, expected), `${JSON.stringify(actual)} is ${JSON.stringify(expected)}`).toBe(true);
}
