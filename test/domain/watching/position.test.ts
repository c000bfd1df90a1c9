import fc from "fast-check";
import { expect, it } from "vitest";
import { EVENT_KINDS } from "../../../src/domain/watching/events.js";
import {
  comparePlaces,
  isStoredPosition,
  loadedPosition,
  type Position,
  partsTold,
  placeOf,
  storedPosition,
} from "../../../src/domain/watching/position.js";

const event = fc.record({
  time: fc.bigInt({ min: 0n, max: 3n }),
  session: fc.constantFrom("p/a", "p/b", "p/c", "p/d"),
  kind: fc.constantFrom(...EVENT_KINDS),
  parts: fc.integer({ min: 1, max: 3 }),
});

const inOrder = (a: { time: bigint; place: ReturnType<typeof placeOf> }, b: typeof a) =>
  a.time === b.time ? comparePlaces(a.place, b.place) : a.time < b.time ? -1 : 1;

it("whoever has been told up to a position, and is told the rest, has been told each part once", () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(event, { selector: (e) => `${e.time}${e.session}${e.kind}` }),
      fc.nat(),
      (events, seed) => {
        const all = events
          .map((one) => ({ ...one, place: placeOf(one) }))
          .sort(inOrder)
          .flatMap((one) => Array.from({ length: one.parts }, (_, part) => ({ ...one, part })));
        if (all.length === 0) return;
        const last = all[seed % all.length] as (typeof all)[number];
        const upTo: Position = { time: last.time, within: { ...last.place, parts: last.part + 1 } };
        const rest = all.filter(({ time, place, part }) => {
          const told = partsTold(upTo, time, place);
          return told !== undefined && part >= told;
        });
        expect(rest).toEqual(all.slice((seed % all.length) + 1));
        const whole = all.filter(({ time, place }) => partsTold({ time: last.time }, time, place) !== undefined);
        expect(whole).toEqual(all.filter(({ time }) => time > last.time));
      },
    ),
  );
});

it("is stored and loaded as it was", () => {
  const positions: Position[] = [
    { time: 7714062993658478593n },
    { time: 1n, within: { ...placeOf({ session: "p/s", kind: "deleted" }), parts: 1000 } },
  ];
  for (const position of positions) {
    const stored = JSON.parse(JSON.stringify(storedPosition(position)));
    expect(isStoredPosition(stored)).toBe(true);
    expect(loadedPosition(stored)).toEqual(position);
  }
});

it.each([
  [[]],
  [[1]],
  [["-1"]],
  [["1e3"]],
  [["99999999999999999999"]],
  [["9223372036854775808"]],
  [["1", "short", 0, 0]],
  [["1", "x".repeat(12), -1, 0]],
  [["1", "x".repeat(12), 99, 0]],
  [["1", "x".repeat(12), 0, 0.5]],
  [["1", "x".repeat(12), 0]],
  [["1", "x".repeat(12), 0, 0, 0]],
])("%j is none", (stored) => expect(isStoredPosition(stored)).toBe(false));
