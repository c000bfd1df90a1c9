import fc from "fast-check";
import { expect, test } from "vitest";
import { append } from "../../src/domain/append.js";
import type { SessionState } from "../../src/domain/decision.js";
import type { MessageRecord, SessionRecord } from "../../src/domain/records.js";
import { encodeMessages } from "../../src/services/encode.js";
import { EVERYTHING, type KnownMemory, newest, sizeOf } from "../../src/store/known/memory.js";
import { createKnownSessions, type KnownSessions } from "../../src/store/known/sessions.js";
import { RawDocument } from "../../src/store/raw.js";

const KIB = 1024;
const MEMORY_BYTES = 512 * KIB;
/** Of all the room one memory may have a sixteenth. */
const LARGEST = MEMORY_BYTES / 16;
const WINDOW = 10;

const create = (memoryBytes = MEMORY_BYTES): KnownSessions =>
  createKnownSessions({ memoryBytes, usualWindow: WINDOW }, encodeMessages);

interface Added {
  readonly session: SessionRecord;
  readonly messages: readonly MessageRecord[];
}

/** A session to which messages of these lengths have been added, and their records. */
function add(key: string, before: SessionRecord | undefined, ...lengths: number[]): Added {
  const state: SessionState = {
    session: before,
    users: new Map(),
    messages: undefined,
    newest: [],
    unmarkedCount: 0,
    epochs: [],
    now: new Date(1_000_000),
  };
  const { session, inserted } = append(state, {
    session: {
      key,
      project: "p",
      uid: `uid of ${key}`,
      epoch: `epoch of ${key}`,
      user: undefined,
      metadata: new Uint8Array([1, 2, 3]),
      terms: ["t"],
      expiry: undefined,
    },
    messages: lengths.map((length, index) => ({
      messageId: `${before?.lastSequence ?? 0}-${index}`,
      role: "",
      roleType: 0,
      content: "x".repeat(length),
      payload: undefined,
      payloadType: undefined,
      metadata: undefined,
      tokenCount: 0,
      createTime: undefined,
      groupId: undefined,
    })),
    repeatable: false,
    expectedLastSequence: undefined,
    metadata: undefined,
  });
  return { session: session as SessionRecord, messages: inserted ?? [] };
}

/** A memory as it was read: what lives behind a sequence, up to the last of some messages. */
function asRead({ session, messages }: Added, from = 0, version = 0): KnownMemory {
  const run = encodeMessages(messages.map(RawDocument.of));
  return { epoch: session.epoch, version, from, to: session.lastSequence, runs: [run] };
}

/** Keeps a memory of one message of this length, as it was read. */
function keep(known: KnownSessions, key: string, length: number): void {
  known.keep(key, asRead(add(key, undefined, length)), WINDOW);
}

const sequencesOf = (memory: KnownMemory | undefined): number[] | undefined =>
  memory?.runs.flatMap(({ sequences }) => sequences);

const isKept = (known: KnownSessions, key: string): boolean => known.memory(key) !== undefined;

test("memories that were used least recently go first, and no more of them than must", () => {
  const known = create();
  const size = 20 * KIB;
  const keys = Array.from({ length: 30 }, (_, index) => `s${index}`);
  const first = keys.slice(0, 20);
  for (const key of first) keep(known, key, size);
  expect(first.filter((key) => !isKept(known, key))).toEqual([]);
  // Read again, and written to.
  keep(known, "s0", size);
  const { session, messages } = add("s1", add("s1", undefined, size).session, 1);
  known.learn(session, messages);

  for (const key of keys.slice(20)) keep(known, key, size);
  const kept = keys.filter((key) => isKept(known, key));
  expect(kept).toEqual(["s0", "s1", ...keys.slice(-kept.length + 2)]);
  expect(kept.length).toBe(Math.floor(MEMORY_BYTES / sizeOf(known.memory("s29") as KnownMemory)));
});

test("all memories together are bounded, whatever is read, written and forgotten", () => {
  const key = fc.nat(30).map((number) => `s${number}`);
  const anyStep = fc.oneof(
    { weight: 4, arbitrary: fc.record({ do: fc.constant("add" as const), key, length: fc.nat(LARGEST) }) },
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant("keep" as const),
        key,
        length: fc.nat(LARGEST + KIB),
        asked: fc.integer({ min: 1, max: 1000 }),
      }),
    },
    fc.record({ do: fc.constantFrom("forget" as const, "forgetState" as const, "distrust" as const), key }),
  );
  fc.assert(
    fc.property(fc.array(anyStep, { minLength: 50, maxLength: 150, size: "max" }), (steps) => {
      const known = create();
      const sessions = new Map<string, SessionRecord>();
      for (const step of steps) {
        if (step.do === "add") {
          const { session, messages } = add(step.key, sessions.get(step.key), step.length);
          sessions.set(step.key, session);
          known.learn(session, messages);
        } else if (step.do === "keep") known.keep(step.key, asRead(add(step.key, undefined, step.length)), step.asked);
        else known[step.do](step.key);
        const sizes = Array.from({ length: 31 }, (_, number) => known.memory(`s${number}`)).map((memory) =>
          memory ? sizeOf(memory) : 0,
        );
        expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(MEMORY_BYTES);
        expect(Math.max(...sizes)).toBeLessThanOrEqual(LARGEST);
      }
    }),
    { numRuns: 50 },
  );
});

test("a huge memory, read or grown, takes no more than its share, and pushes out no more than that", () => {
  const known = create();
  const small = Array.from({ length: 200 }, (_, index) => `small-${index}`);
  for (const key of small) keep(known, key, 100);
  known.keep("read", asRead(add("read", undefined, LARGEST)), 1000);
  expect(isKept(known, "read")).toBe(false);
  let grown = add("grown", undefined, 1);
  for (let turn = 0; turn < 100; turn++) {
    grown = add("grown", grown.session, 5 * KIB);
    known.learn(grown.session, grown.messages);
  }
  const tooMuch = add("grown", grown.session, ...Array<number>(10).fill(LARGEST / 8));
  known.learn(tooMuch.session, tooMuch.messages);
  expect(sequencesOf(known.memory("grown"))?.at(-1)).toBe(101);
  expect(small.filter((key) => !isKept(known, key))).toEqual([]);
});

test("with no room for memories none is kept, and states all the same", () => {
  const known = create(0);
  const { session, messages } = add("s", undefined, 5, 5);
  known.learn(session, messages);
  known.keep("s", asRead({ session, messages }), WINDOW);
  known.keep("other", { epoch: "e", version: 0, from: 0, to: 0, runs: [] }, WINDOW);
  expect(known.memory("s")).toBeUndefined();
  expect(known.memory("other")).toBeUndefined();
  const { metadata, terms, ...state } = session;
  expect(known.state("s")).toEqual(state);
  known.forgetState("s");
  expect(known.state("s")).toBeUndefined();
});

test("a memory that this process has written from its first message is known whole, another from where it was added to", () => {
  const known = create();
  const first = add("s", undefined, 1, 1);
  known.learn(first.session, first.messages);
  expect(known.memory("s")).toMatchObject({ from: 0, to: 2 });

  const elsewhere = add("t", first.session, 1);
  known.learn({ ...elsewhere.session, _id: "t" }, elsewhere.messages);
  expect(known.memory("t")).toMatchObject({ from: 2, to: 3 });
});

test("what was added is known with what was there, unless something in between is not", () => {
  const known = create();
  const first = add("s", undefined, 1, 1);
  known.keep("s", asRead(first), WINDOW);
  const second = add("s", first.session, 1);
  known.learn(second.session, second.messages);
  expect(sequencesOf(known.memory("s"))).toEqual([1, 2, 3]);

  const byAnother = add("s", second.session, 1);
  const fifth = add("s", byAnother.session, 1);
  known.learn(fifth.session, fifth.messages);
  expect(known.memory("s")).toMatchObject({ from: 0, to: 3 });
});

test("a memory of which a message has changed, or that has another epoch, is not known by what it was", () => {
  const known = create();
  const first = add("s", undefined, 1, 1);
  known.learn(first.session, first.messages);
  known.learn({ ...first.session, memoryVersion: 1 }, []);
  expect(known.memory("s")).toBeUndefined();

  known.learn(first.session, first.messages);
  known.learn({ ...first.session, epoch: "new", messageCount: 0 }, []);
  expect(known.memory("s")).toBeUndefined();

  known.learn(first.session, first.messages);
  const changed = add("s", { ...first.session, memoryVersion: 1 }, 1);
  known.learn(changed.session, changed.messages);
  expect(known.memory("s")).toMatchObject({ version: 1, from: 2, to: 3 });
});

test("of two reads that were under way at a time the later one counts, and else the one that reaches further back", () => {
  const first = add("s", undefined, 1, 1);
  const later = add("s", first.session, 1);
  const all = asRead({ ...later, messages: [...first.messages, ...later.messages] });
  const cases: [KnownMemory, KnownMemory][] = [
    [asRead(first), all],
    [asRead(later, 2), all],
    [all, asRead(first, 0, 1)],
  ];
  for (const [worse, better] of cases) {
    for (const order of [
      [worse, better],
      [better, worse],
    ]) {
      const known = create();
      for (const memory of order) known.keep("s", memory, WINDOW);
      expect(known.memory("s")).toEqual(better);
    }
  }
});

test("a memory after which far more has come than readers ask for gives way to what they have read", () => {
  const known = create();
  const first = add("s", undefined, 1, 1);
  known.keep("s", asRead(first), WINDOW);
  const missed = add("s", first.session, ...Array<number>(3 * WINDOW).fill(1));
  const newestRead = asRead(
    { ...missed, messages: missed.messages.slice(-WINDOW) },
    missed.session.lastSequence - WINDOW,
  );
  known.keep("s", newestRead, WINDOW);
  expect(known.memory("s")).toEqual(newestRead);
});

test("as many messages are kept as a reader has asked for", () => {
  const known = create();
  let last = add("s", undefined);
  const all: MessageRecord[] = [];
  const grow = (): void => {
    last = add("s", last.session, 1);
    all.push(...last.messages);
    known.learn(last.session, last.messages);
  };
  const kept = (): number => newest(known.memory("s") as KnownMemory, EVERYTHING).count;
  for (let turn = 0; turn < 100; turn++) {
    grow();
    expect(kept()).toBeGreaterThanOrEqual(Math.min(WINDOW, all.length));
    expect(kept()).toBeLessThanOrEqual(2 * WINDOW);
  }
  known.keep("s", asRead({ session: last.session, messages: all.slice(50) }, 50), 50);
  for (let turn = 0; turn < 100; turn++) {
    expect(kept()).toBeGreaterThanOrEqual(50);
    expect(kept()).toBeLessThanOrEqual(100);
    grow();
  }
});

test("of a session that is deleted or gone nothing is known", () => {
  const known = create();
  const { session, messages } = add("s", undefined, 1);
  for (const end of [
    () => known.learn({ ...session, deleted: true }, []),
    () => known.learn({ ...session, purging: true }, []),
    () => known.forget("s"),
  ]) {
    known.learn(session, messages);
    expect(known.state("s")).toBeDefined();
    end();
    expect(known.state("s")).toBeUndefined();
    expect(known.memory("s")).toBeUndefined();
  }
});
