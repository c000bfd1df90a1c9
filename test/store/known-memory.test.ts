import fc from "fast-check";
import { expect, test } from "vitest";
import {
  bytesIn,
  compacted,
  EVERYTHING,
  extended,
  headsIn,
  type KnownMemory,
  newest,
  preceded,
  type Run,
  reaches,
  sizeOf,
  someGroups,
  tokensIn,
  type Window,
} from "../../src/store/known/memory.js";

/** What is kept of a memory, beside a plain list of all its messages. */
interface Pair {
  readonly memory: KnownMemory;
  readonly all: readonly Message[];
}

interface Message {
  readonly sequence: number;
  readonly text: string;
}

type Step =
  /** So many messages come together; before each of them so many sequences are without one. */
  | { do: "extend"; messages: readonly { gap: number; length: number }[]; gapAtEnd: number }
  | { do: "compact"; messages: number; bytes: number };

const anyStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("extend" as const),
      messages: fc.array(
        fc.record({
          gap: fc.constantFrom(0, 0, 0, 1, 5),
          length: fc.oneof({ weight: 4, arbitrary: fc.nat(40) }, fc.nat(3_000)),
        }),
        { maxLength: 8 },
      ),
      gapAtEnd: fc.constantFrom(0, 0, 2),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("compact" as const),
      messages: fc.integer({ min: 1, max: 12 }),
      bytes: fc.integer({ min: 500, max: 12_000 }),
    }),
  },
);
const anySteps = fc.array(anyStep, { maxLength: 30, size: "max" });

const anyLimit = fc.integer({ min: 1, max: 30 });
const anyRoom = fc.oneof(fc.constant(Number.POSITIVE_INFINITY), fc.integer({ min: -10, max: 400 }), fc.nat(9_000));

const anyTokens = fc.oneof(fc.constant(Number.POSITIVE_INFINITY), fc.integer({ min: -5, max: 120 }), fc.nat(2_000));

/** Memories begin at the session's first message or somewhere behind it, where messages are that nobody has read. */
const anyBeginning = fc.constantFrom(0, 3);

const encodeTexts = (messages: readonly Message[]): Run => {
  let end = 0;
  let tokens = 0;
  return {
    bytes: Buffer.from(messages.map(({ text }) => text).join("")),
    ends: messages.map(({ text }) => {
      end += text.length;
      return end;
    }),
    tokenEnds: messages.map((message) => {
      tokens += tokensOf(message);
      return tokens;
    }),
    sequences: messages.map(({ sequence }) => sequence),
    roleTypes: messages.map(({ sequence }) => sequence % 6),
    groupIds: someGroups(messages.map(groupOf)),
  };
};

/** As if they followed from nothing else: what is cut by tokens is to be another than what is cut by bytes. */
const tokensOf = ({ sequence, text }: Message): number => (sequence * 7_919 + text.length) % 50;

/** In some memories there is none for long. */
const groupOf = ({ sequence }: Message): string | undefined =>
  sequence % 20 < 5 ? `group ${Math.floor(sequence / 2)}` : undefined;

const message = (sequence: number, length: number): Message => ({
  sequence,
  text: `${sequence}:${"x".repeat(length)};`,
});

function begin(from: number): Pair {
  const unread = Array.from({ length: from }, (_, index) => message(index + 1, 1));
  return { memory: { epoch: "e", version: 0, from, to: from, runs: [] }, all: unread };
}

function take({ memory, all }: Pair, step: Step): Pair {
  if (step.do === "compact") return { memory: compacted(memory, step) ?? emptied(memory), all };
  let last = memory.to;
  const messages = step.messages.map(({ gap, length }) => {
    last += gap + 1;
    return message(last, length);
  });
  const to = last + step.gapAtEnd;
  return { memory: extended(memory, { to, run: encodeTexts(messages) }), all: [...all, ...messages] };
}

/** As it is begun anew when nothing of it could be kept. */
const emptied = (memory: KnownMemory): KnownMemory => ({ ...memory, from: memory.to, runs: [] });

const read = (memory: KnownMemory, window: Window): string =>
  Buffer.concat(newest(memory, window).slices.map(bytesIn)).toString();

const count = ({ runs }: KnownMemory): number => runs.reduce((sum, { ends }) => sum + ends.length, 0);

/** What tells how many tokens there are takes room itself. */
const tokenBytes = (tokens: number): number => String(tokens).length;

/** The newest of these messages that have room. */
function fitting(messages: readonly Message[], room: number, tokens: number): readonly Message[] {
  return newestWhere(messages, (some) => {
    const sum = sumOf(some, tokensOf);
    return sum <= tokens && sumOf(some, ({ text }) => text.length) + tokenBytes(sum) <= room;
  });
}

function newestWhere(messages: readonly Message[], isFine: (some: readonly Message[]) => boolean): readonly Message[] {
  let count = 0;
  while (count < messages.length && isFine(messages.slice(messages.length - count - 1))) count++;
  return messages.slice(messages.length - count);
}

const sumOf = (messages: readonly Message[], of: (message: Message) => number): number =>
  messages.reduce((sum, message) => sum + of(message), 0);

test("after any additions and cuts a window is exactly the newest messages behind a sequence, or is said not to be there", () => {
  fc.assert(
    fc.property(
      anyBeginning,
      anySteps,
      fc.nat(60),
      anyLimit,
      anyRoom,
      anyTokens,
      (from, steps, after, limit, room, tokens) => {
        const window = { after, limit, room, tokens, tokenBytes };
        let pair = begin(from);
        for (const step of steps) {
          pair = take(pair, step);
          const { memory, all } = pair;
          const behind = all.filter(({ sequence }) => sequence > after);
          const wanted = behind.slice(-limit);
          const expected = fitting(wanted, room, tokens);
          const affordable = fitting(wanted, Number.POSITIVE_INFINITY, tokens);
          const cutOf = expected.length < affordable.length ? "bytes" : "tokens";
          const cut = expected.length < wanted.length ? cutOf : undefined;
          const kept = wanted.filter(({ sequence }) => sequence > memory.from);
          const isThere =
            memory.from <= after || kept.length === limit || fitting(kept, room, tokens).length < kept.length;
          expect(reaches(memory, window)).toBe(isThere);
          if (!isThere) continue;
          expect(read(memory, window)).toBe(expected.map(({ text }) => text).join(""));
          const found = newest(memory, window);
          expect({ count: found.count, cut: found.cut }).toEqual({ count: expected.length, cut });
          expect(found.slices.reduce((sum, slice) => sum + tokensIn(slice), 0)).toBe(sumOf(expected, tokensOf));
          expect(found.slices.flatMap(headsIn)).toEqual(
            expected.map((message) => ({ roleType: message.sequence % 6, groupId: groupOf(message) })),
          );
        }
      },
    ),
    { numRuns: 1_000 },
  );
});

test("a memory that is read backwards is the same as one that is read at once", () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(40), { minLength: 1, maxLength: 40 }),
      fc.integer({ min: 1, max: 9 }),
      (lengths, size) => {
        const all = lengths.map((length, index) => message(index + 1, length));
        let memory: KnownMemory = { epoch: "e", version: 0, from: all.length, to: all.length, runs: [] };
        while (memory.from > 0) {
          const batch = all.slice(Math.max(0, memory.from - size), memory.from);
          memory = preceded(memory, { from: memory.from - batch.length, run: encodeTexts(batch) });
          expect(read(memory, EVERYTHING)).toBe(
            all
              .slice(memory.from)
              .map(({ text }) => text)
              .join(""),
          );
        }
      },
    ),
    { numRuns: 100 },
  );
});

test("what is kept is all that came behind its beginning, which a cut moves no further than it says", () => {
  fc.assert(
    fc.property(anyBeginning, anySteps, (from, steps) => {
      let pair = begin(from);
      for (const step of steps) {
        pair = take(pair, step);
        const { memory, all } = pair;
        const expected = all.filter(({ sequence }) => sequence > memory.from);
        expect(read(memory, EVERYTHING)).toBe(expected.map(({ text }) => text).join(""));
        expect(memory.runs.flatMap(({ sequences }) => sequences)).toEqual(expected.map(({ sequence }) => sequence));
      }
    }),
    { numRuns: 500 },
  );
});

test("a cut holds its bounds, cuts no more than it must, and leaves what is within them as it is", () => {
  fc.assert(
    fc.property(
      anySteps,
      fc.integer({ min: 1, max: 12 }),
      fc.integer({ min: 500, max: 12_000 }),
      (steps, messages, bytes) => {
        const { memory, all } = steps.reduce(take, begin(0));
        const cut = compacted(memory, { messages, bytes });
        const isWithin = sizeOf(memory) <= bytes && count(memory) <= 2 * messages;
        // The newest that is left has no room in half of the bytes, with what is around it.
        if (!cut) {
          expect(sizeOf(memory)).toBeGreaterThan(bytes);
          expect(sizeOf(extended(emptied(memory), { to: 0, run: encodeTexts(all.slice(-1)) }))).toBeGreaterThan(
            bytes / 2,
          );
          return;
        }
        expect(sizeOf(cut)).toBeLessThanOrEqual(bytes);
        expect(count(cut)).toBeLessThanOrEqual(2 * messages);
        expect(cut.runs.length).toBeLessThanOrEqual(16);
        expect(cut).toMatchObject({ epoch: memory.epoch, version: memory.version, to: memory.to });
        if (isWithin) expect(count(cut)).toBeGreaterThanOrEqual(Math.min(messages, count(memory)));
        if (isWithin && memory.runs.length <= 16) expect(cut).toEqual(memory);
        if (sizeOf(memory) <= bytes) expect(count(cut)).toBeGreaterThanOrEqual(Math.min(messages, count(memory)));
      },
    ),
    { numRuns: 1_000 },
  );
});

test("many small additions become few runs", () => {
  let memory = begin(0).memory;
  for (let sequence = 1; sequence <= 1_000; sequence++) {
    const grown = extended(memory, { to: sequence, run: encodeTexts([message(sequence, 1)]) });
    memory = compacted(grown, { messages: 50, bytes: 1_000_000 }) as KnownMemory;
    expect(memory.runs.length).toBeLessThanOrEqual(16);
  }
  expect(count(memory)).toBeGreaterThanOrEqual(50);
  expect(count(memory)).toBeLessThanOrEqual(100);
});

test("an addition or a cut leaves the memory that it is made of as it was, for whoever is reading it", () => {
  fc.assert(
    fc.property(anySteps, (steps) => {
      let pair = begin(0);
      const seen = steps.map((step) => {
        const { memory } = pair;
        pair = take(pair, step);
        return { memory, was: read(memory, EVERYTHING), to: memory.to };
      });
      for (const { memory, was, to } of seen) {
        expect(read(memory, EVERYTHING)).toBe(was);
        expect(memory.to).toBe(to);
      }
    }),
  );
});

test("what is kept holds on to no larger buffer than it needs", () => {
  // As an answer is written: into a buffer with room to spare, or one that others are in, too.
  const bytes = Buffer.alloc(1_000_000).subarray(7, 507);
  const one = [1, 2, 3, 4, 5];
  const run = { bytes, ends: one.map((n) => 100 * n), tokenEnds: one, sequences: one, roleTypes: one, groupIds: [] };
  const memory = extended(begin(0).memory, { to: 5, run });
  const whole = compacted(memory, { messages: 5, bytes: 1_000_000 });
  expect(whole?.runs.map(({ bytes }) => [bytes.length, bytes.buffer.byteLength])).toEqual([[500, 500]]);

  const cut = compacted(memory, { messages: 2, bytes: 1_000_000 });
  expect(cut?.from).toBe(3);
  expect(cut?.runs.map(({ bytes }) => bytes.buffer.byteLength)).toEqual([200]);
});
