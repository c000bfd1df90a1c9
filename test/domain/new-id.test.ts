import { expect, test } from "vitest";
import { derivedId, newId } from "../../src/domain/new-id.js";

test("an id derived from the same two is the same, in every release", () => {
  expect(derivedId("request-1", 0)).toBe("466ba0d8-abd8-8f57-85ae-75e0dcd3e387");
});

test("ids derived from others differ, and each has the form of a UUID", () => {
  const from = ["", "a", "1", "1/1", "11", "/", "🦉", "a".repeat(256)];
  const ids = from.flatMap((text) => [0, 1, 2, 10, 11, 999].map((index) => derivedId(text, index)));
  expect(new Set(ids).size).toBe(ids.length);
  for (const id of ids) expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});

test("new ids never repeat, and have no character that ends a key or means something to the database", () => {
  const ids = Array.from({ length: 1_000 }, newId);
  expect(new Set(ids).size).toBe(ids.length);
  for (const id of ids) expect(id).toMatch(/^[\w-]+$/);
});
