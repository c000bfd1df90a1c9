import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { SearchMode } from "../../gen/sessions/v1/memory_service.js";
import { RoleType } from "../../gen/sessions/v1/resources.js";
import { newId, refusal, timestamp } from "../support/contract.js";
import { startEndpoint, type TestEndpoint } from "../support/embeddings-endpoint.js";
import { eventually } from "../support/eventually.js";
import { startService, type TestService } from "../support/service.js";

const { SEARCH_MODE_LEXICAL: LEXICAL, SEARCH_MODE_SEMANTIC: SEMANTIC, SEARCH_MODE_HYBRID: HYBRID } = SearchMode;

let endpoint: TestEndpoint;
let service: TestService;
beforeAll(async () => {
  endpoint = await startEndpoint();
  service = await startService({ embeddings: endpoint.settings });
});
afterAll(async () => {
  await service.stop();
  await endpoint.stop();
});

type Search = Parameters<TestService["memory"]["searchMemory"]>[0];

const ids = async (request: Search): Promise<string[]> =>
  (await service.memory.searchMemory(request)).results.map(({ message }) => message?.messageId ?? "");

/** A session in which each message has its text as its id, all of them embedded. */
async function sessionWith(contents: string[], userId?: string): Promise<string> {
  const sessionId = newId();
  const messages = contents.map((content) => ({ messageId: content, content }));
  await service.memory.addMemory({ sessionId, userId, messages });
  await allEmbedded({ sessionId });
  return sessionId;
}

const allEmbedded = (scope: Search) =>
  eventually("all is embedded", async () => {
    const { unembeddedMessages } = await service.memory.searchMemory({ ...scope, text: "x", mode: LEXICAL });
    return unembeddedMessages === 0;
  });

const CATS = ["my cat sleeps", "the automobile is red", "a physician called", "we sailed the ship"];

describe("semantic search", () => {
  test("finds what means the same in other words, the nearest first, with falling scores", async () => {
    const sessionId = await sessionWith(CATS);
    const of = async (text: string) => {
      const answer = await service.memory.searchMemory({ sessionId, text, mode: SEMANTIC });
      expect(answer.mode).toBe(SEMANTIC);
      const scores = answer.results.map(({ score }) => score);
      expect(scores).toEqual(scores.toSorted((a, b) => b - a));
      return answer.results.map(({ message }) => message?.messageId);
    };
    expect((await of("feline"))[0]).toBe("my cat sleeps");
    expect((await of("vehicle"))[0]).toBe("the automobile is red");
    expect(await of("surgeon")).toHaveLength(4);
  });

  test("in all live sessions of a user, and in no other", async () => {
    const userId = newId("user");
    await service.users.createUser({ userId });
    await sessionWith(["a kitten"], userId);
    const gone = await sessionWith(["a feline"], userId);
    await sessionWith(["nobody's cat"]);
    await service.sessions.deleteSession({ sessionId: gone });
    expect(await ids({ userId, text: "cat", mode: SEMANTIC })).toEqual(["a kitten"]);
  });

  test("only what the filters let through, with the neighbors in its session", async () => {
    const sessionId = newId();
    const message = (n: number, content: string, roleType: RoleType, metadata: object) => ({
      messageId: `${n}`,
      content,
      roleType,
      metadata: { ...metadata },
      createTime: timestamp(1_700_000_000_000 + n),
    });
    await service.memory.addMemory({
      sessionId,
      messages: [
        message(1, "a cat", RoleType.ROLE_TYPE_USER, { pairs: [{ a: 1, b: 1 }] }),
        message(2, "a kitten", RoleType.ROLE_TYPE_ASSISTANT, {
          pairs: [
            { a: 1, b: 2 },
            { a: 2, b: 1 },
          ],
        }),
        message(3, "a feline", RoleType.ROLE_TYPE_USER, {}),
        message(4, "a car", RoleType.ROLE_TYPE_USER, {}),
      ],
    });
    await allEmbedded({ sessionId });
    const found = async (filter: Search) =>
      (await ids({ sessionId, text: "cats are purring", mode: SEMANTIC, ...filter })).toSorted();
    expect(await found({ roleTypes: [RoleType.ROLE_TYPE_ASSISTANT] })).toEqual(["2"]);
    expect(await found({ createdAfter: timestamp(1_700_000_000_002) })).toEqual(["3", "4"]);
    expect(await found({ metadata: { pairs: [{ a: 1, b: 1 }] }, limit: 1 })).toEqual(["1"]);
    const { results } = await service.memory.searchMemory({
      sessionId,
      text: "cat",
      mode: SEMANTIC,
      metadata: { pairs: [{ a: 1, b: 2 }] },
      neighbors: 2,
    });
    expect(results.map(({ before, after }) => [before, after].map((some) => some.map((one) => one.messageId)))).toEqual(
      [[["1"], ["3", "4"]]],
    );
  });

  test("in a session of more messages than are read at a time", async () => {
    const sessionId = newId();
    for (let from = 0; from < 2_500; from += 500) {
      const messages = Array.from({ length: 500 }, (_, n) => ({
        messageId: `${from + n}`,
        content: from + n === 2_345 ? "the surgeon" : `number ${from + n}`,
      }));
      await service.memory.addMemory({ sessionId, messages });
    }
    await eventually("all is embedded", async () => {
      const { unembeddedMessages } = await service.memory.searchMemory({ sessionId, text: "x" });
      return unembeddedMessages === 0;
    });
    expect(await ids({ sessionId, text: "physician", mode: SEMANTIC, limit: 1 })).toEqual(["2345"]);
  });
});

describe("hybrid search", () => {
  test("is what is done when nobody says how, and puts what the words find in the order of words and meaning", async () => {
    const userId = newId("user");
    await service.users.createUser({ userId });
    for (const who of ["physician", "baker", "butcher"]) await sessionWith([`the boat of the ${who}`], userId);
    const { results, mode } = await service.memory.searchMemory({ userId, text: "boat surgeon" });
    expect(mode).toBe(HYBRID);
    expect(results[0]?.message?.messageId).toBe("the boat of the physician");
    expect(results).toHaveLength(3);
    const scores = results.map(({ score }) => score);
    expect(scores).toEqual(scores.toSorted((a, b) => b - a));
    expect(scores.at(-1)).toBeGreaterThan(0);
    // By the words alone that one is no better than the others: none has said "surgeon".
    const lexical = await service.memory.searchMemory({ userId, text: "boat surgeon", mode: LEXICAL });
    expect(lexical.mode).toBe(LEXICAL);
    expect(new Set(lexical.results.map(({ score }) => score)).size).toBe(1);
  });

  test("finds by its words what was added just now, and says how much is not embedded yet", async () => {
    const own = await startEndpoint();
    const other = await startService({ embeddings: own.settings });
    const sessionId = newId();
    await other.memory.searchMemory({ sessionId, text: "boat" });
    own.behaviour = "down";
    await other.memory.addMemory({
      sessionId,
      messages: [{ messageId: "1", content: "a red boat" }, { content: "no" }],
    });
    // What the text means is known, as it was asked before.
    const answer = await other.memory.searchMemory({ sessionId, text: "boat", limit: 1 });
    expect(answer.results.map(({ message }) => message?.messageId)).toEqual(["1"]);
    expect([answer.mode, answer.unembeddedMessages]).toEqual([HYBRID, 2]);
    await other.stop();
    await own.stop();
  });

  test("finds each once by metadata that only looking at many can tell, best first", async () => {
    const sessionId = newId();
    const isMarked = (n: number): boolean => (n < 900 ? n % 20 === 0 : n > 1_200 && n % 2 === 0);
    const pair = (b: number) => [
      { a: 1, b },
      { a: 2, b: 1 },
    ];
    for (let from = 0; from < 1_300; from += 650) {
      const messages = Array.from({ length: 650 }, (_, n) => ({
        messageId: `${from + n}`,
        content: `boat ${from + n}`,
        metadata: { pairs: pair(isMarked(from + n) ? 1 : 2) },
      }));
      await service.memory.addMemory({ sessionId, messages });
    }
    await allEmbedded({ sessionId });
    const request = { sessionId, text: "boat", metadata: { pairs: [{ a: 1, b: 1 }] }, limit: 100 };
    const { results, mode } = await service.memory.searchMemory(request);
    expect(mode).toBe(HYBRID);
    const found = results.map(({ message }) => Number(message?.messageId));
    expect(found.toSorted((a, b) => a - b)).toEqual([...Array(1_300).keys()].filter(isMarked));
    const scores = results.map(({ score }) => score);
    expect(scores).toEqual(scores.toSorted((a, b) => b - a));
  });

  test("finds nothing without a word that is known, and by metadata alone says that it is lexical", async () => {
    const sessionId = await sessionWith(["a red boat"]);
    expect(await ids({ sessionId, text: "zeppelin" })).toEqual([]);
    await service.memory.updateMessage({ sessionId, messageId: "a red boat", metadata: { a: 1 } });
    const { results, mode } = await service.memory.searchMemory({ sessionId, metadata: { a: 1 } });
    expect([results.length, mode]).toEqual([1, LEXICAL]);
  });
});

describe("while the endpoint fails", () => {
  let own: TestEndpoint;
  let other: TestService;
  beforeAll(async () => {
    own = await startEndpoint();
    other = await startService({ embeddings: own.settings });
  });
  afterAll(async () => {
    await other.stop();
    await own.stop();
  });

  test.each(["down", "too few", "too short", "not finite", "garbage", { status: 500 }, { status: 401 }] as const)(
    "(%o) searches go on by the words and say so, semantic ones are told to come again",
    async (behaviour) => {
      const sessionId = newId();
      await other.memory.addMemory({ sessionId, messages: [{ messageId: "1", content: "a red boat" }] });
      own.behaviour = behaviour;
      for (const mode of [SearchMode.SEARCH_MODE_UNSPECIFIED, HYBRID]) {
        const answer = await other.memory.searchMemory({ sessionId, text: `boat ${newId()}`, mode });
        expect(answer.mode).toBe(LEXICAL);
        expect(answer.results.map(({ message }) => message?.messageId)).toEqual(["1"]);
      }
      const refused = await refusal(other.memory.searchMemory({ sessionId, text: `boat ${newId()}`, mode: SEMANTIC }));
      expect(refused).toMatchObject({ code: "UNAVAILABLE", reason: "EMBEDDINGS_UNAVAILABLE" });
      own.behaviour = "right";
      await eventually("searches are hybrid again", async () => {
        const answer = await other.memory.searchMemory({ sessionId, text: `boat ${newId()}` });
        return answer.mode === HYBRID;
      });
    },
  );

  test("who has no time to wait for it does not have others go without", async () => {
    const sessionId = newId();
    await other.memory.addMemory({ sessionId, messages: [{ messageId: "1", content: "a red boat" }] });
    const search = (options = {}) => other.memory.searchMemory({ sessionId, text: `boat ${newId()}` }, options);
    await eventually("searches are hybrid", async () => (await search()).mode === HYBRID);
    own.behaviour = "silent";
    // Half of it is for the endpoint, which is too little to tell whether that is slow; the other half is for the search itself.
    expect((await search({ deadlineMs: 1_900 })).mode).toBe(LEXICAL);
    own.release();
    expect((await search()).mode).toBe(HYBRID);
  });

  test("a slow one keeps nobody waiting for longer than two seconds, and the next not at all", async () => {
    const sessionId = newId();
    await other.memory.addMemory({ sessionId, messages: [{ messageId: "1", content: "a red boat" }] });
    own.behaviour = "silent";
    const asked = own.batches.length;
    const search = () => other.memory.searchMemory({ sessionId, text: `boat ${newId()}` });
    expect((await search()).mode).toBe(LEXICAL);
    const before = own.texts.filter((text) => text.startsWith("boat ")).length;
    // At once, for it is left alone for no more than a second at first.
    for (const { mode } of await Promise.all([1, 2, 3, 4, 5].map(search))) expect(mode).toBe(LEXICAL);
    expect(own.texts.filter((text) => text.startsWith("boat "))).toHaveLength(before);
    expect(own.batches.length).toBeGreaterThan(asked);
    own.behaviour = "right";
  });
});

test("without an endpoint nothing is written that would not be without this", async () => {
  const plain = await startService();
  const sessionId = newId();
  await plain.memory.addMemory({ sessionId, messages: [{ messageId: "1", content: "a red boat" }] });
  await plain.memory.deleteMessage({ sessionId, messageId: "1" });
  await plain.memory.addMemory({ sessionId, messages: [{ messageId: "2", content: "a red boat" }] });
  await plain.sessions.deleteSession({ sessionId });
  await plain.sessions.undeleteSession({ sessionId, restoreMemory: true });
  const { mode, unembeddedMessages } = await plain.memory.searchMemory({ sessionId, text: "boat" });
  expect([mode, unembeddedMessages]).toEqual([LEXICAL, 0]);
  const { vectors, embedded, sessions } = plain.database;
  expect(await vectors.countDocuments()).toBe(0);
  expect(await embedded.countDocuments()).toBe(0);
  expect(await sessions.countDocuments({ unembedded: { $exists: true } })).toBe(0);
  await plain.stop();
});
