import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { SearchableMessage } from "../../src/search/message.js";
import { ScopeIndex } from "../../src/search/scope-index.js";
import { inSlices } from "../../src/search/slices.js";
import { plainSearch } from "./oracle.js";
import { everything, finish, indexOf, message, sequencesOf } from "./support.js";

/** Few words, so that they meet; some are forms of others, some numbers and pairs of characters. */
const WORDS = [
  "sun",
  "sea",
  "house",
  "houses",
  "housing",
  "haus",
  "hauser",
  "12",
  "a-7",
  "C++",
  "東京",
  "東",
  "?",
  "the",
  "May",
  "Ann",
];
const QUERIES = [
  "sun",
  "the sea house?",
  "Haus 12",
  "hausers",
  "C++ a-7 東京",
  "Ann in May 1970",
  "moon",
  WORDS.join(" "),
];

const anyContent = fc.array(fc.constantFrom(...WORDS), { maxLength: 8 }).map((words) => words.join(" "));

const anyMessage: fc.Arbitrary<SearchableMessage> = fc.record({
  session: fc.constantFrom("s1", "s2", "s3"),
  sequence: fc.integer({ min: 1, max: 12 }),
  version: fc.nat(2),
  role: fc.constantFrom("Ann", "Bo", ""),
  roleType: fc.constantFrom(2, 3),
  content: anyContent,
  createTime: fc.constantFrom(0, 1_000, 11_000_000_000),
  terms: fc.subarray(["red", "blue"]),
});

type Step =
  | { do: "add"; messages: readonly SearchableMessage[] }
  | { do: "abandon"; message: SearchableMessage }
  | { do: "remove"; session: string; sequences: readonly number[] }
  | { do: "removeSession"; session: string }
  | { do: "reconcile"; session: string; messages: readonly SearchableMessage[] };

const anySession = fc.constantFrom("s1", "s2", "s3");
const anyMessages = fc.array(anyMessage, { maxLength: 10 });
const anyStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant("add" as const), messages: anyMessages }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("abandon" as const), message: anyMessage }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("remove" as const),
      session: anySession,
      sequences: fc.array(fc.integer({ min: 1, max: 12 }), { maxLength: 4 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("removeSession" as const), session: anySession }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("reconcile" as const), session: anySession, messages: anyMessages }),
  },
);

const nameOf = ({ session, sequence }: { session: string; sequence: number }) => `${session}/${sequence}`;

/** Takes the step, in the index and in a plain map of what should be there. */
function take(step: Step, index: ScopeIndex, there: Map<string, SearchableMessage>): void {
  switch (step.do) {
    case "add":
      finish(index.add(step.messages));
      for (const added of step.messages) there.set(nameOf(added), added);
      return;
    case "abandon": {
      // A long message that was begun and never finished.
      const work = index.add([{ ...step.message, content: `${step.message.content} sun sea house `.repeat(5_000) }]);
      expect(work.next().done).toBe(false);
      work.return();
      return;
    }
    case "remove":
      finish(index.remove(step.session, new Set(step.sequences)));
      for (const sequence of step.sequences) there.delete(nameOf({ session: step.session, sequence }));
      return;
    case "removeSession":
      finish(index.removeSession(step.session));
      for (const [name, { session }] of there) if (session === step.session) there.delete(name);
      return;
    case "reconcile": {
      // A version says what a message is, so what is there in the same version is the same.
      const present = new Map(
        step.messages.map((other) => {
          const mine = { ...other, session: step.session };
          const known = there.get(nameOf(mine));
          return [mine.sequence, known?.version === mine.version ? known : mine];
        }),
      );
      const inOrder = [...present.values()].sort((one, other) => one.sequence - other.sequence);
      const missing = finish(index.reconcile(step.session, inOrder));
      finish(index.add(missing.map((sequence) => present.get(sequence) as SearchableMessage)));
      for (const [name, { session }] of there) if (session === step.session) there.delete(name);
      for (const one of inOrder) there.set(nameOf(one), one);
    }
  }
}

test("after any changes an index answers exactly as one that was built from nothing, in any order", () => {
  fc.assert(
    fc.property(fc.array(anyStep, { maxLength: 25, size: "max" }), fc.infiniteStream(fc.nat()), (steps, order) => {
      const index = new ScopeIndex();
      const there = new Map<string, SearchableMessage>();
      for (const step of steps) take(step, index, there);
      const shuffled = [...there.values()]
        .map((one) => ({ one, place: order.next().value ?? 0 }))
        .sort((one, other) => one.place - other.place)
        .map(({ one }) => one);
      const fresh = indexOf(shuffled);
      expect(index.messageCount).toBe(there.size);
      for (const query of QUERIES) expect(everything(index, query)).toEqual(everything(fresh, query));
      const filter = { roleTypes: [3], createdAfter: 0, terms: ["red"] };
      expect(everything(index, "sun house", { filter })).toEqual(everything(fresh, "sun house", { filter }));
      expect(index.newest({ limit: 5 })).toEqual(fresh.newest({ limit: 5 }));
      for (const session of ["s1", "s2", "s3"]) expect(index.lastSequence(session)).toBe(fresh.lastSequence(session));
    }),
    { numRuns: 300 },
  );
});

test("an index scores as the plain formula does", () => {
  const words = ["sun", "sea", "house", "12", "C++", "東京", "?", "the", "May", "Ann"];
  const anyPlain = fc.uniqueArray(
    anyMessage.chain((one) =>
      fc.array(fc.constantFrom(...words), { maxLength: 8 }).map((said) => ({ ...one, content: said.join(" ") })),
    ),
    { minLength: 1, maxLength: 25, size: "max", selector: nameOf },
  );
  fc.assert(
    fc.property(anyPlain, fc.array(fc.constantFrom(...words), { maxLength: 4 }), (messages, query) => {
      const expected = plainSearch(messages, query.join(" "));
      const hits = everything(indexOf(messages), query.join(" "));
      expect(hits.map(nameOf).sort()).toEqual([...expected.keys()].map(nameOf).sort());
      for (const [one, score] of expected) {
        expect(hits.find((hit) => nameOf(hit) === nameOf(one))?.score).toBeCloseTo(score, 9);
      }
      expect(hits.map(({ score }) => score)).toEqual(hits.map(({ score }) => score).sort((a, b) => b - a));
    }),
    { numRuns: 300 },
  );
});

describe("the limit", () => {
  const index = indexOf(
    Array.from({ length: 300 }, (_, at) => message(at + 1, `word${at % 7} tree sun`.repeat(1 + (at % 5)))),
  );
  const all = index.search("word3 sun", { limit: 1_000 });

  test.each([0, 1, 2, 10, 99, 300])("keeps the best %i", (limit) => {
    expect(index.search("word3 sun", { limit })).toEqual(all.slice(0, limit));
  });
});

test("an answer is found by the words of its question, and goes before what only follows", () => {
  const index = indexOf([
    message(1, "Which instrument does your daughter play?"),
    message(2, "The cello, since she was six."),
    message(3, "Fine."),
    message(4, "My neighbour has a new car."),
    message(5, "Somebody said instrument, daughter, play."),
    message(6, "The cello, since she was six."),
  ]);
  const hits = sequencesOf(index.search("instrument of the daughter", { limit: 10 }));
  expect(hits.indexOf(2)).toBeLessThan(hits.indexOf(6));
});

test("a message is found by who said it and on which day", () => {
  const index = indexOf([
    message(1, "hello", { role: "Caroline", createTime: Date.UTC(2023, 4, 8) }),
    message(2, "hello", { role: "Melanie", createTime: Date.UTC(2023, 4, 9), session: "other" }),
  ]);
  expect(index.search("Caroline's", { limit: 1 })[0]?.sequence).toBe(1);
  expect(index.search("Tuesday, May 9", { limit: 1 })[0]?.sequence).toBe(2);
});

describe("a filter", () => {
  const index = indexOf([
    message(1, "the sun", { roleType: 2, createTime: 1_000, terms: ["red", "blue"] }),
    message(2, "the sun", { roleType: 3, createTime: 2_000, terms: ["red"] }),
    message(3, "the sun", { roleType: 4, createTime: 3_000 }),
  ]);
  test.each([
    [{ roleTypes: [2, 4] }, [1, 3]],
    [{ roleTypes: [] }, [1, 2, 3]],
    [{ createdAfter: 1_000 }, [2, 3]],
    [{ createdBefore: 3_000 }, [1, 2]],
    [{ createdAfter: 1_000, createdBefore: 3_000 }, [2]],
    [{ terms: ["red"] }, [1, 2]],
    [{ terms: ["red", "blue", "red"] }, [1]],
    [{ terms: ["green"] }, []],
    [{ terms: ["green", "blue"], anyTerm: "blue" }, [1]],
    [{ terms: ["green"], anyTerm: "red" }, [1, 2]],
    [{ terms: ["sun"] }, []],
  ])("%j", (filter, sequences) => {
    expect(sequencesOf(index.search("sun", { filter, limit: 10 })).sort()).toEqual(sequences);
    expect(sequencesOf(index.newest({ filter, limit: 10 }))).toEqual([...sequences].reverse());
  });

  test("leaves the scores as they are", () => {
    const score = (filter = {}) =>
      index.search("sun", { filter, limit: 10 }).find(({ sequence }) => sequence === 2)?.score;
    expect(score({ roleTypes: [3] })).toBe(score());
  });

  test("has no words that a text could ask for", () => {
    expect(index.search("red blue \u0000red", { limit: 10 })).toEqual([]);
  });
});

test("hits come with their neighbours in the session, oldest first, without those that are gone", () => {
  const index = indexOf([1, 2, 3, 4, 5, 6, 7].map((sequence) => message(sequence, sequence === 4 ? "needle" : "hay")));
  finish(index.remove("s", new Set([3])));
  const hit = (neighbors: number) => index.search("needle", { limit: 1, neighbors })[0];
  expect(hit(2)).toMatchObject({ sequence: 4, before: [1, 2], after: [5, 6] });
  expect(hit(10)).toMatchObject({ before: [1, 2], after: [5, 6, 7] });
  expect(hit(0)).toMatchObject({ before: [], after: [] });
});

test("words that nobody has any more are no forms of a word, however many they are", () => {
  const gone = Array.from(
    { length: 1_200 },
    (_, at) => `house${String.fromCharCode(97 + (at % 26), 97 + ((at / 26) % 26), 97 + at / 676)}`,
  );
  const index = indexOf([message(1, "housing"), message(2, gone.join(" "))]);
  finish(index.remove("s", new Set([2])));
  expect(everything(index, "housework")).toEqual(everything(indexOf([message(1, "housing")]), "housework"));
});

test("a query of 10,000 words finds by its rarest", () => {
  const words = Array.from({ length: 10_000 }, (_, at) => `word${at}`);
  const contents = words.slice(0, 2_000).map((word) => `${word} common`);
  const index = indexOf(contents.map((content, at) => message(at + 1, content, { session: `s${at}` })));
  const hits = index.search(["common", ...words].join(" "), { limit: 100 });
  expect(hits).toHaveLength(32);
});

test("work is done in small parts, also within one message", () => {
  const index = new ScopeIndex();
  const work = index.add([
    message(1, "needle"),
    message(2, "straw in a stack of hay ".repeat(40_000)),
    message(3, "needle"),
  ]);
  let parts = 0;
  while (!work.next().done) {
    parts++;
    expect(sequencesOf(index.search("straw", { limit: 10 })).includes(2)).toBe(false);
  }
  expect(parts).toBeGreaterThan(20);
  expect(sequencesOf(index.search("straw", { limit: 1 }))).toEqual([2]);
});

test("work in slices lets others have their turn, and stops when nobody waits for it", async () => {
  const giving = new AbortController();
  let turns = 0;
  const others = setInterval(() => ++turns >= 3 && giving.abort(), 1);
  function* endless(): Generator<void, void, undefined> {
    for (;;) yield;
  }
  await expect(inSlices(endless(), giving.signal)).rejects.toThrow("aborted");
  clearInterval(others);
});

test("the bytes that it tells grow with what it has, and it says when most of it is gone", () => {
  const index = new ScopeIndex();
  const empty = index.bytes;
  expect(empty).toBeLessThan(10_000);
  finish(
    index.add(
      Array.from({ length: 5_000 }, (_, at) =>
        message(at + 1, `fifteen words or so, as people say them, with number ${at}`),
      ),
    ),
  );
  expect(index.bytes / 5_000).toBeGreaterThan(100);
  expect(index.bytes / 5_000).toBeLessThan(600);
  finish(index.remove("s", new Set(Array.from({ length: 2_000 }, (_, at) => at))));
  expect(index.isWorn).toBe(false);
  finish(index.removeSession("s"));
  expect(index.isWorn).toBe(true);
});

test("takes in a bounded part of what is added at a time, however it is cut up", () => {
  const shapes = [
    { messages: 20_000, words: 1 },
    { messages: 500, words: 400 },
    { messages: 1, words: 100_000 },
  ];
  for (const { messages, words } of shapes) {
    let taken = 0;
    function* sayings() {
      for (let sequence = 1; sequence <= messages; sequence++) {
        taken += 1;
        yield message(sequence, Array.from({ length: words }, (_, n) => `w${sequence}x${n}`).join(" "));
      }
    }
    let steps = 0;
    let most = 0;
    const work = new ScopeIndex().add(sayings());
    for (let before = 0; !work.next().done; before = taken) {
      steps += 1;
      most = Math.max(most, taken - before);
    }
    expect(most).toBeLessThanOrEqual(Math.max(16, messages / 100));
    expect(steps).toBeGreaterThanOrEqual((messages * words) / 8_192);
  }
});
