import fc from "fast-check";
import { expect, test } from "vitest";
import {
  decodeCursor,
  encodeCursor,
  isSequencePosition,
  isTimePosition,
  type Position,
} from "../../src/domain/cursor.js";
import { SessionsError } from "../../src/domain/errors.js";

const LISTING = ["sessions", { project: "p", order: "createTime", descending: false }] as const;

const anyTime = fc.tuple(
  fc.integer({ min: -8.64e15, max: 8.64e15 }).map((time) => time + 0),
  fc.string({ unit: "binary", maxLength: 256 }),
);
const anySequence = fc.tuple(fc.nat({ max: Number.MAX_SAFE_INTEGER }), fc.uuid());

/** The reason of the refusal, or what was decoded. */
function decoded<P extends Position>(cursor: string, isPosition: (position: unknown[]) => position is [...P]): unknown {
  try {
    return decodeCursor(LISTING, cursor, isPosition);
  } catch (error) {
    if (!(error instanceof SessionsError)) throw error;
    return error.reason;
  }
}

test("a cursor says the position that it was made of, in characters that any URL and file may hold", () => {
  fc.assert(
    fc.property(anyTime, anySequence, (time, sequence) => {
      const cursors = [encodeCursor(LISTING, time), encodeCursor(LISTING, sequence)] as const;
      expect(decodeCursor(LISTING, cursors[0], isTimePosition)).toEqual(time);
      expect(decodeCursor(LISTING, cursors[1], isSequencePosition)).toEqual(sequence);
      for (const cursor of cursors) expect(cursor).toMatch(/^[\w-]+$/);
    }),
  );
});

test("an empty cursor is the beginning", () => {
  expect(decodeCursor(LISTING, "", isTimePosition)).toBeUndefined();
});

test("a cursor with a character changed, added or taken away is refused", () => {
  const others = fc.constantFrom(..."ABCXYZabcxyz0189-_+/=. \n\u0000é");
  fc.assert(
    fc.property(anyTime, fc.nat(), fc.nat({ max: 1 }), fc.option(others), (position, at, removed, added) => {
      const cursor = encodeCursor(LISTING, position);
      const index = at % cursor.length;
      const changed = cursor.slice(0, index) + (added ?? "") + cursor.slice(index + removed);
      fc.pre(changed !== cursor && changed !== "");
      expect(decoded(changed, isTimePosition)).toBe("INVALID_CURSOR");
    }),
    { numRuns: 2_000 },
  );
});

test("a cursor fits no other listing", () => {
  for (const changed of [{ project: "q" }, { order: "updateTime" }, { descending: true }, { user: "u" }]) {
    const cursor = encodeCursor(["sessions", { ...LISTING[1], ...changed }], [5, "p/s"]);
    expect(decoded(cursor, isTimePosition)).toBe("INVALID_CURSOR");
  }
});

test("what is no cursor at all is refused: text, other JSON, times that are none, and megabytes", () => {
  const base64 = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const [version, hash] = JSON.parse(Buffer.from(encodeCursor(LISTING, [5, "k"]), "base64url").toString());
  const strange = ["x", "null", "🦉", "a".repeat(1_000_000), base64(null), base64({}), base64([]), base64("text")];
  const positions = [[], [5], [null, "k"], ["5", "k"], [0.5, "k"], [1e20, "k"], [5, 5], [5, "k", 1], [5, { $gt: "" }]];
  strange.push(...positions.map((position) => base64([version, hash, ...position])));
  for (const cursor of strange) {
    expect(decoded(cursor, isTimePosition), cursor.slice(0, 80)).toBe("INVALID_CURSOR");
    expect(decoded(cursor, isSequencePosition), cursor.slice(0, 80)).toBe("INVALID_CURSOR");
  }
  expect(decoded(base64([version, hash, 8.64e15 + 2, "k"]), isTimePosition)).toBe("INVALID_CURSOR");
});
