import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type SearchMemoryRequest, SearchMode } from "../../gen/sessions/v1/memory_service.js";
import { RoleType } from "../../gen/sessions/v1/resources.js";
import { invalid, newId, refusal, timestamp } from "../support/contract.js";
import { startService, type TestService } from "../support/service.js";

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.stop());

type Search = Parameters<TestService["memory"]["searchMemory"]>[0];

const search = (request: Search) => service.memory.searchMemory(request);

/** The ids of what is found, best first. */
const ids = async (request: Search): Promise<string[]> =>
  (await search(request)).results.map(({ message }) => message?.messageId ?? "");

/** A session in which each message has its text as its id. */
async function sessionWith(...contents: string[]): Promise<string> {
  const sessionId = newId();
  await service.memory.addMemory({ sessionId, messages: contents.map((content) => ({ messageId: content, content })) });
  return sessionId;
}

async function userWithSessions(...sessions: string[][]): Promise<{ userId: string; sessionIds: string[] }> {
  const userId = newId("user");
  await service.users.createUser({ userId });
  const sessionIds: string[] = [];
  for (const contents of sessions) {
    const sessionId = newId();
    const messages = contents.map((content) => ({ messageId: content, content }));
    await service.memory.addMemory({ sessionId, userId, messages });
    sessionIds.push(sessionId);
  }
  return { userId, sessionIds };
}

describe("what is found", () => {
  test("messages by word forms, whatever their case and accents, the best first and each as it is", async () => {
    const sessionId = await sessionWith(
      "We walked to the café.",
      "It rained all day.",
      "Cafés close early, walks do not.",
    );
    // What stands between two that match may be what they are about, and comes behind them.
    const { results, mode, unembeddedMessages } = await search({ sessionId, text: "walking CAFE", limit: 2 });
    expect(results.map(({ message }) => message?.messageId).toSorted()).toEqual([
      "Cafés close early, walks do not.",
      "We walked to the café.",
    ]);
    expect(results.map(({ score }) => score)).toEqual(results.map(({ score }) => score).toSorted((a, b) => b - a));
    expect(results.at(-1)?.score).toBeGreaterThan(0);
    const { message } = await service.memory.getMessage({ sessionId, messageId: "We walked to the café." });
    expect(results.map((result) => result.message)).toContainEqual(message);
    expect({ mode, unembeddedMessages }).toEqual({ mode: SearchMode.SEARCH_MODE_LEXICAL, unembeddedMessages: 0 });
  });

  test("in all live sessions of a user, and in no other", async () => {
    const { userId, sessionIds } = await userWithSessions(["a red boat"], ["a blue boat"], ["a green boat"]);
    await userWithSessions(["another boat"]);
    await sessionWith("nobody's boat");
    await service.sessions.deleteSession({ sessionId: sessionIds[2] as string });
    expect((await ids({ userId, text: "boat" })).toSorted()).toEqual(["a blue boat", "a red boat"]);
    expect(await ids({ sessionId: sessionIds[0] as string, text: "boat" })).toEqual(["a red boat"]);
  });

  test("nothing, when no word is known, or there is no such session or user", async () => {
    const sessionId = await sessionWith("a red boat");
    expect(await ids({ sessionId, text: "zeppelin" })).toEqual([]);
    expect(await ids({ sessionId, text: "the of and" })).toEqual([]);
    expect(await ids({ sessionId, text: "?!…" })).toEqual([]);
    expect(await ids({ sessionId: newId(), text: "boat" })).toEqual([]);
    expect(await ids({ userId: newId(), text: "boat" })).toEqual([]);
  });

  test("at most the limit, by default ten and never more than a hundred", async () => {
    const sessionId = await sessionWith(...Array.from({ length: 120 }, (_, n) => `boat number ${n}`));
    expect(await ids({ sessionId, text: "boat" })).toHaveLength(10);
    expect(await ids({ sessionId, text: "boat", limit: 3 })).toHaveLength(3);
    expect(await ids({ sessionId, text: "boat", limit: 1000 })).toHaveLength(100);
  });

  test("with as many neighbors as were asked for, oldest first, of its own session", async () => {
    const { userId } = await userWithSessions(["one", "two", "a boat", "four", "five"], ["a ship"]);
    const around = async (neighbors: number) => {
      const [result] = (await search({ userId, text: "boat", limit: 1, neighbors })).results;
      return [result?.before, result?.after].map((messages) => messages?.map(({ messageId }) => messageId));
    };
    expect(await around(0)).toEqual([[], []]);
    expect(await around(1)).toEqual([["two"], ["four"]]);
    expect(await around(10)).toEqual([
      ["one", "two"],
      ["four", "five"],
    ]);
  });
});

describe("filters", () => {
  const at = (ms: number) => timestamp(1_700_000_000_000 + ms);
  let sessionId: string;
  beforeAll(async () => {
    sessionId = newId();
    const message = (n: number, roleType: RoleType, metadata: object) => ({
      messageId: `${n}`,
      content: `the boat, part ${n}`,
      roleType,
      metadata: { ...metadata },
      createTime: at(n),
    });
    await service.memory.addMemory({
      sessionId,
      messages: [
        message(1, RoleType.ROLE_TYPE_USER, { tags: ["a", "b"], deep: { x: 1, y: 2 } }),
        message(2, RoleType.ROLE_TYPE_ASSISTANT, { tags: ["b"], deep: { x: 1 } }),
        message(3, RoleType.ROLE_TYPE_TOOL, { tags: [], deep: { x: 2 } }),
        message(4, RoleType.ROLE_TYPE_UNSPECIFIED, {}),
      ],
    });
  });
  const found = async (filter: Search) => (await ids({ sessionId, text: "boat", ...filter })).toSorted();

  test("by role type, of which there may be several", async () => {
    expect(await found({ roleTypes: [RoleType.ROLE_TYPE_USER] })).toEqual(["1"]);
    expect(await found({ roleTypes: [RoleType.ROLE_TYPE_TOOL, RoleType.ROLE_TYPE_ASSISTANT] })).toEqual(["2", "3"]);
    expect(await found({ roleTypes: [RoleType.ROLE_TYPE_UNSPECIFIED] })).toEqual(["4"]);
  });

  test("by time, both ends excluded", async () => {
    expect(await found({ createdAfter: at(1), createdBefore: at(4) })).toEqual(["2", "3"]);
    expect(await found({ createdAfter: at(4) })).toEqual([]);
  });

  test("by metadata that is contained, nested", async () => {
    expect(await found({ metadata: { tags: ["b"] } })).toEqual(["1", "2"]);
    expect(await found({ metadata: { deep: { x: 1 } } })).toEqual(["1", "2"]);
    expect(await found({ metadata: { tags: ["b"], deep: { y: 2 } } })).toEqual(["1"]);
    expect(await found({ metadata: { tags: "b" } })).toEqual([]);
  });

  test("by metadata alone: the newest first, without a score", async () => {
    const { results } = await search({ sessionId, metadata: { tags: [] } });
    expect(results.map(({ message, score }) => [message?.messageId, score])).toEqual([
      ["3", 0],
      ["2", 0],
      ["1", 0],
    ]);
  });

  test("let what they leave out be a neighbor still", async () => {
    const { results } = await search({
      sessionId,
      text: "boat",
      roleTypes: [RoleType.ROLE_TYPE_ASSISTANT],
      neighbors: 1,
    });
    expect(results.map(({ before, after }) => [before[0]?.messageId, after[0]?.messageId])).toEqual([["1", "3"]]);
  });

  test("whose terms many messages share by chance find only those that contain the metadata", async () => {
    const other = newId();
    const messages = Array.from({ length: 60 }, (_, n) => ({
      messageId: `${n}`,
      content: "boat",
      metadata: {
        pairs: [
          { a: 1, b: n === 0 ? 1 : 2 },
          { a: 2, b: n === 0 ? 2 : 1 },
        ],
      },
    }));
    await service.memory.addMemory({ sessionId: other, messages });
    expect(await ids({ sessionId: other, text: "boat", metadata: { pairs: [{ a: 1, b: 1 }] }, limit: 1 })).toEqual([
      "0",
    ]);
  });
});

describe("what changes is found as it is, by the next search", () => {
  test("what is added, edited, deleted, cleared, and comes back with an undelete", async () => {
    const sessionId = await sessionWith("a red boat");
    const boats = () => ids({ sessionId, text: "boat" });
    expect(await boats()).toEqual(["a red boat"]);
    await service.memory.addMemory({ sessionId, messages: [{ messageId: "new", content: "another boat" }] });
    expect((await boats()).toSorted()).toEqual(["a red boat", "new"]);

    await service.memory.updateMessage({ sessionId, messageId: "new", metadata: { kind: "ship" } });
    expect(await ids({ sessionId, metadata: { kind: "ship" } })).toEqual(["new"]);
    await service.memory.deleteMessage({ sessionId, messageId: "a red boat" });
    expect(await boats()).toEqual(["new"]);

    await service.sessions.deleteSession({ sessionId });
    expect(await boats()).toEqual([]);
    await service.sessions.undeleteSession({ sessionId, restoreMemory: true });
    expect(await boats()).toEqual(["new"]);
    await service.memory.clearMemory({ sessionId });
    expect(await boats()).toEqual([]);
    await service.memory.addMemory({ sessionId, messages: [{ messageId: "last", content: "the last boat" }] });
    expect(await boats()).toEqual(["last"]);
    await service.sessions.purgeSession({ sessionId });
    expect(await boats()).toEqual([]);
  });

  test("a session that comes to a user, and goes to another", async () => {
    const { userId, sessionIds } = await userWithSessions(["a red boat"], ["a blue boat"]);
    const { userId: other } = await userWithSessions(["their boat"]);
    expect((await ids({ userId, text: "boat" })).toSorted()).toEqual(["a blue boat", "a red boat"]);
    expect(await ids({ userId: other, text: "boat" })).toEqual(["their boat"]);
    await service.sessions.updateSession({ sessionId: sessionIds[0] as string, userId: other });
    expect(await ids({ userId, text: "boat" })).toEqual(["a blue boat"]);
    expect((await ids({ userId: other, text: "boat" })).toSorted()).toEqual(["a red boat", "their boat"]);
    await service.users.deleteUser({ userId: other });
    expect(await ids({ userId: other, text: "boat" })).toEqual([]);
  });

  test("also when another process has changed it", async () => {
    const sessionId = await sessionWith("a red boat");
    const databaseName = service.database.db.databaseName;
    const other = await startService({ databaseName });
    const boats = async () =>
      (await other.memory.searchMemory({ sessionId, text: "boat" })).results.map(({ message }) => message?.messageId);
    expect(await boats()).toEqual(["a red boat"]);
    await service.memory.addMemory({ sessionId, messages: [{ messageId: "new", content: "another boat" }] });
    expect((await boats()).toSorted()).toEqual(["a red boat", "new"]);
    await service.memory.deleteMessage({ sessionId, messageId: "new" });
    expect(await boats()).toEqual(["a red boat"]);
    await other.server.stop();
    other.close();
    await other.database.close();
  });
});

describe("texts that break naive engines", () => {
  const TEXTS = [
    "*CROUS is a French agency",
    "C++ (a language",
    "call +15555550111 now",
    "a\u0000b between",
    "the party 🎉 was fine",
    "O'Brien's pub",
    "İstanbul'da ISPARTA ılık",
    "die Straße in Gießen",
    "東京都に住んでいます",
    "ฉันชอบกินข้าว",
    "السَّلَامُ عَلَيْكُمْ",
    "Привет, Йога",
  ];
  test.each([
    ["*CROUS", 0],
    ["crous", 0],
    ["C++ (a", 1],
    ["+15555550111", 2],
    ["a\u0000b", 3],
    ["🎉", 4],
    ["O'Brien's", 5],
    ["brien", 5],
    ["istanbul", 6],
    ["strasse", 7],
    ["STRASSE", 7],
    ["東京", 8],
    ["กินข้าว", 9],
    ["السلام", 10],
    ["ПРИВЕТ", 11],
  ])("%j is found", async (text, index) => {
    const sessionId = newId();
    await service.memory.addMemory({
      sessionId,
      messages: TEXTS.map((content, n) => ({ messageId: `${n}`, content })),
    });
    expect(await ids({ sessionId, text, limit: 1 })).toEqual([`${index}`]);
  });

  test("a message of 1 MiB, and a question of ten thousand different words", async () => {
    const sessionId = newId();
    const words = Array.from({ length: 10_000 }, (_, n) => `word${n.toString(36)}`);
    const long = `needle ${"hay ".repeat(262_000)}`.slice(0, 1024 * 1024);
    await service.memory.addMemory({ sessionId, messages: [{ messageId: "long", content: long }] });
    await service.memory.addMemory({ sessionId, messages: [{ messageId: "words", content: words.join(" ") }] });
    expect(await ids({ sessionId, text: "needle", limit: 1 })).toEqual(["long"]);
    expect(await ids({ sessionId, text: words.join(" "), limit: 1 })).toEqual(["words"]);
  });

  test("answers stay below what clients take by default, without what has no room", async () => {
    const sessionId = newId();
    for (const messageId of ["1", "2", "3", "4", "5", "6"]) {
      const content = `boat ${"x ".repeat(500_000)}`;
      await service.memory.addMemory({ sessionId, messages: [{ messageId, content }] });
    }
    const { results } = await search({ sessionId, text: "boat", neighbors: 3 });
    expect(results.length).toBeGreaterThanOrEqual(1);
    expect(results.length).toBeLessThanOrEqual(3);
  });
});

describe("what is refused", () => {
  const of = { sessionId: "s", text: "boat" };
  test.each<[string, Search, string[]]>([
    ["neither text nor metadata", { sessionId: "s" }, ["text"]],
    ["empty metadata alone", { sessionId: "s", metadata: {} }, ["text"]],
    ["no scope", { text: "boat" }, ["session_id"]],
    ["two scopes", { ...of, userId: "u" }, ["user_id"]],
    ["a blank session", { text: "boat", sessionId: " " }, ["session_id"]],
    ["a blank user", { text: "boat", userId: "" }, ["user_id"]],
    ["counts below zero", { ...of, limit: -1, neighbors: -1 }, ["limit", "neighbors"]],
    ["unknown enum values", { ...of, mode: 9 as never, roleTypes: [9 as never] }, ["role_types[0]", "mode"]],
    ["times that are none", { ...of, createdAfter: { seconds: 1e15, nanos: 0 } }, ["created_after"]],
    ["metadata that is too deep", { ...of, metadata: deep(40) }, ["metadata"]],
    ["a meaning without a text", { sessionId: "s", metadata: { a: 1 }, mode: SearchMode.SEARCH_MODE_HYBRID }, ["mode"]],
  ])("%s", async (_name, request, fields) => {
    expect(await refusal(search(request))).toEqual(invalid(...fields));
  });

  test.each([SearchMode.SEARCH_MODE_SEMANTIC, SearchMode.SEARCH_MODE_HYBRID])(
    "meanings without an embeddings endpoint (%i)",
    async (mode) => {
      expect(await refusal(search({ ...of, mode }))).toMatchObject({
        code: "FAILED_PRECONDITION",
        reason: "EMBEDDINGS_NOT_CONFIGURED",
      });
    },
  );

  test("a scope that is larger than what may be kept, and it says what to narrow", async () => {
    const small = await startService({ searchCacheBytes: 20_000 });
    const userId = newId("user");
    await small.users.createUser({ userId });
    const sessionId = newId();
    const messages = Array.from({ length: 300 }, (_, n) => ({ content: `boat ${n}` }));
    await small.memory.addMemory({ sessionId, userId, messages });
    expect(await refusal(small.memory.searchMemory({ userId, text: "boat" }))).toMatchObject({
      code: "RESOURCE_EXHAUSTED",
      reason: "SCOPE_TOO_LARGE",
      metadata: { user_id: userId, messages: "300" },
    });
    await small.stop();
  });
});

function deep(levels: number): NonNullable<SearchMemoryRequest["metadata"]> {
  return levels === 0 ? {} : { a: deep(levels - 1) };
}
