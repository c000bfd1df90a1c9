import { randomUUID } from "node:crypto";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { GetMemoryResponse, type NewMessage, WindowStart } from "../../gen/sessions/v1/memory_service.js";
import { type Message, RoleType, type Summary } from "../../gen/sessions/v1/resources.js";
import type { Api } from "../support/api.js";
import { invalid, newId, refusal } from "../support/contract.js";
import { CACHE_BYTES, startService, type TestService } from "../support/service.js";

/** Windows of a memory that a model takes: no more tokens than it may have, and a beginning that it understands. */

const { WINDOW_START_ANY, WINDOW_START_USER, WINDOW_START_WHOLE_TOOL_CALLS } = WindowStart;
const { ROLE_TYPE_ASSISTANT, ROLE_TYPE_FUNCTION, ROLE_TYPE_SYSTEM, ROLE_TYPE_TOOL, ROLE_TYPE_USER } = RoleType;

const WINDOW = 20;

describe.each([
  ["with what it keeps in its memory", CACHE_BYTES],
  ["with nothing kept", 0],
])("GetMemory, %s", (_what, cacheBytes) => {
  let service: TestService;
  beforeAll(async () => {
    service = await startService({ cacheBytes, memoryWindow: WINDOW });
  });
  afterAll(() => service.stop());

  type Added = Partial<NewMessage>;
  async function sessionOf(...messages: readonly Added[]): Promise<string> {
    const sessionId = newId();
    await service.memory.addMemory({ sessionId, messages: [...messages] });
    return sessionId;
  }

  /** Messages named by their ids. */
  const said = (messageId: string, roleType: RoleType, groupId?: string): Added => ({ messageId, roleType, groupId });

  async function window(sessionId: string, request: object) {
    const { messages, tokenCount, truncated } = await service.memory.getMemory({ sessionId, lastN: 1000, ...request });
    return { ids: messages.map(({ messageId }) => messageId), tokenCount, truncated };
  }

  const ids = async (sessionId: string, request: object) => (await window(sessionId, request)).ids;

  test.each<[tokens: number, message: Added]>([
    [7, { tokenCount: 7, content: "x".repeat(100) }],
    [0, {}],
    [1, { content: "a" }],
    [1, { content: "four" }],
    [2, { content: "fiver" }],
    [3, { content: "höre 🎧" }],
    [3, { content: "abc", payload: Buffer.from("123456"), payloadType: "text/markdown" }],
    [2, { payload: Buffer.from('{"a":1}'), payloadType: "application/json" }],
    [2, { payload: Buffer.from('{"a":1}'), payloadType: "Application/JSON; charset=utf-8" }],
    [2, { payload: Buffer.from('{"a":1}'), payloadType: "application/vnd.parts+json; v=2" }],
    [1, { content: "abc", payload: Buffer.from("123456"), payloadType: "application/jsonlike" }],
    [1, { content: "abc", payload: Buffer.from("123456"), payloadType: "image/png" }],
    [1, { content: "abc", payload: Buffer.from("123456") }],
    [5, { tokenCount: 5, payload: Buffer.from("123456"), payloadType: "text/plain" }],
  ])("%i tokens has %o", async (tokens, message) => {
    const sessionId = await sessionOf({ content: "x", tokenCount: 100 }, message);
    expect(await service.memory.getMemory({ sessionId, lastN: 1 })).toMatchObject({ tokenCount: tokens });
    expect(await service.memory.getMemory({ sessionId, lastN: 2 })).toMatchObject({ tokenCount: 100 + tokens });
    expect(await ids(sessionId, { maxTokens: tokens })).toHaveLength(tokens > 0 ? 1 : 2);
    expect(await ids(sessionId, { maxTokens: tokens + 99 })).toHaveLength(1);
    expect(await ids(sessionId, { maxTokens: tokens + 100 })).toHaveLength(2);
  });

  test("the newest come whose tokens stay within max_tokens, without a gap", async () => {
    const sessionId = await sessionOf(
      ...[5, 1, 50, 3, 4].map((tokenCount, index) => ({ messageId: `m${index}`, tokenCount })),
    );
    expect(await window(sessionId, { maxTokens: 3 })).toEqual({ ids: [], tokenCount: 0, truncated: false });
    expect(await window(sessionId, { maxTokens: 4 })).toMatchObject({ ids: ["m4"], tokenCount: 4 });
    expect(await window(sessionId, { maxTokens: 6 })).toMatchObject({ ids: ["m4"], tokenCount: 4 });
    expect(await window(sessionId, { maxTokens: 7 })).toMatchObject({ ids: ["m3", "m4"], tokenCount: 7 });
    expect(await window(sessionId, { maxTokens: 56 })).toMatchObject({ ids: ["m3", "m4"], tokenCount: 7 });
    expect(await window(sessionId, { maxTokens: 62, lastN: 4 })).toMatchObject({ ids: ["m1", "m2", "m3", "m4"] });
    expect(await window(sessionId, { maxTokens: 63 })).toMatchObject({ ids: ["m0", "m1", "m2", "m3", "m4"] });
    expect(await window(sessionId, { maxTokens: 0 })).toMatchObject({ ids: { length: 5 }, tokenCount: 63 });
  });

  test("after an update of its token count a message has as many", async () => {
    const sessionId = await sessionOf({ messageId: "m1", content: "12345678" }, { messageId: "m2", tokenCount: 1 });
    expect(await window(sessionId, { maxTokens: 3 })).toMatchObject({ ids: ["m1", "m2"], tokenCount: 3 });
    await service.memory.updateMessage({ sessionId, messageId: "m1", tokenCount: 9 });
    expect(await window(sessionId, { maxTokens: 3 })).toMatchObject({ ids: ["m2"], tokenCount: 1 });
    expect(await window(sessionId, {})).toMatchObject({ tokenCount: 10 });
  });

  test("the summary is counted first, and always comes", async () => {
    const sessionId = await sessionOf(...["m1", "m2", "m3"].map((messageId) => ({ messageId, tokenCount: 10 })));
    await service.memory.setSummary({ sessionId, recentMessageId: "m1", content: "x".repeat(20) });
    const read = async (maxTokens: number) => {
      const { summary, messages, tokenCount } = await service.memory.getMemory({ sessionId, maxTokens });
      return [summary?.content.length, messages.map(({ messageId }) => messageId).join(), tokenCount];
    };
    expect(await read(0)).toEqual([20, "m2,m3", 25]);
    expect(await read(25)).toEqual([20, "m2,m3", 25]);
    expect(await read(24)).toEqual([20, "m3", 15]);
    expect(await read(14)).toEqual([20, "", 5]);
    expect(await read(4)).toEqual([20, "", 5]);
    await service.memory.setSummary({ sessionId, recentMessageId: "m1", content: "x".repeat(20), tokenCount: 15 });
    expect(await read(25)).toEqual([20, "m3", 25]);
    expect(await read(24)).toEqual([20, "", 15]);
  });

  test("where the summary alone has more, not even a message without tokens comes", async () => {
    const sessionId = await sessionOf({ messageId: "m1" }, { messageId: "m2" });
    await service.memory.setSummary({ sessionId, recentMessageId: "m1", tokenCount: 3 });
    expect(await ids(sessionId, { lastN: 0, maxTokens: 3 })).toEqual(["m2"]);
    expect(await ids(sessionId, { lastN: 0, maxTokens: 2 })).toEqual([]);
  });

  test("truncated tells of what does not fit into max_bytes, and of nothing that max_tokens or window_start leaves out", async () => {
    const sessionId = await sessionOf(
      ...[1_000, 1_000, 10].map((size, index) => ({
        content: "x".repeat(size),
        tokenCount: 1,
        roleType: ROLES[index],
      })),
    );
    expect(await window(sessionId, { maxTokens: 2 })).toMatchObject({ ids: { length: 2 }, truncated: false });
    expect(await window(sessionId, { windowStart: WINDOW_START_USER })).toMatchObject({ truncated: false });
    expect(await window(sessionId, { maxBytes: 2_000 })).toMatchObject({ ids: { length: 2 }, truncated: true });
    expect(await window(sessionId, { maxBytes: 2_000, maxTokens: 2 })).toMatchObject({ truncated: false });
    expect(await window(sessionId, { maxBytes: 1_000, maxTokens: 2 })).toMatchObject({
      ids: { length: 1 },
      truncated: true,
    });
  });
  const ROLES = [ROLE_TYPE_USER, ROLE_TYPE_USER, ROLE_TYPE_ASSISTANT];

  test("a window may begin with a message of the user, and then none comes before", async () => {
    const sessionId = await sessionOf(
      said("s1", ROLE_TYPE_SYSTEM),
      said("a1", ROLE_TYPE_ASSISTANT),
      said("u1", ROLE_TYPE_USER),
      said("t1", ROLE_TYPE_TOOL),
      said("u2", ROLE_TYPE_USER),
      said("a2", ROLE_TYPE_ASSISTANT),
    );
    const windowStart = WINDOW_START_USER;
    expect(await ids(sessionId, { windowStart })).toEqual(["u1", "t1", "u2", "a2"]);
    expect(await ids(sessionId, { windowStart, lastN: 3 })).toEqual(["u2", "a2"]);
    expect(await ids(sessionId, { windowStart, lastN: 1 })).toEqual([]);
  });

  test("a window of whole tool calls does not begin with what tools have answered", async () => {
    const sessionId = await sessionOf(
      said("t0", ROLE_TYPE_TOOL),
      said("u1", ROLE_TYPE_USER),
      said("a1", ROLE_TYPE_ASSISTANT),
      said("t1", ROLE_TYPE_TOOL),
      said("f1", ROLE_TYPE_FUNCTION),
      said("a2", ROLE_TYPE_ASSISTANT),
    );
    const windowStart = WINDOW_START_WHOLE_TOOL_CALLS;
    expect(await ids(sessionId, { windowStart })).toEqual(["u1", "a1", "t1", "f1", "a2"]);
    expect(await ids(sessionId, { windowStart, lastN: 4 })).toEqual(["a1", "t1", "f1", "a2"]);
    expect(await ids(sessionId, { windowStart, lastN: 3 })).toEqual(["a2"]);
    for (const other of [WINDOW_START_ANY, 0]) {
      expect(await ids(sessionId, { windowStart: other, lastN: 3 })).toEqual(["t1", "f1", "a2"]);
    }
  });

  test("a group of which an older message is cut off is left out, wherever its others are", async () => {
    const sessionId = await sessionOf(
      said("a1", ROLE_TYPE_ASSISTANT, "one"),
      said("a2", ROLE_TYPE_ASSISTANT, "two"),
      said("b1", ROLE_TYPE_ASSISTANT, "one"),
      said("c0", ROLE_TYPE_ASSISTANT),
      said("b2", ROLE_TYPE_ASSISTANT, "two"),
      said("a3", ROLE_TYPE_ASSISTANT, "three"),
      said("c1", ROLE_TYPE_ASSISTANT, "one"),
    );
    const windowStart = WINDOW_START_WHOLE_TOOL_CALLS;
    expect(await ids(sessionId, { windowStart })).toHaveLength(7);
    expect(await ids(sessionId, { windowStart, lastN: 6 })).toEqual(["a2", "c0", "b2", "a3"]);
    expect(await ids(sessionId, { windowStart, lastN: 5 })).toEqual(["c0", "a3"]);
    expect(await ids(sessionId, { windowStart, lastN: 1 })).toEqual([]);
    // What is deleted is no part of a group any more.
    await service.memory.deleteMessage({ sessionId, messageId: "a2" });
    expect(await ids(sessionId, { windowStart, lastN: 5 })).toEqual(["c0", "b2", "a3"]);
  });

  test("what is left out at the beginning takes the rest of its group along", async () => {
    const sessionId = await sessionOf(
      said("t1", ROLE_TYPE_TOOL, "one"),
      said("u1", ROLE_TYPE_USER),
      said("a1", ROLE_TYPE_ASSISTANT, "one"),
      said("t2", ROLE_TYPE_TOOL),
    );
    expect(await ids(sessionId, { windowStart: WINDOW_START_WHOLE_TOOL_CALLS })).toEqual(["u1", "t2"]);
  });

  test("tokens, bytes and the summary cut groups off, too", async () => {
    const group = ["m1", "m2", "m3"].map((messageId) => ({
      messageId,
      groupId: "g",
      tokenCount: 5,
      content: "x".repeat(1_000),
    }));
    const sessionId = await sessionOf(...group, { messageId: "last", tokenCount: 5 });
    const windowStart = WINDOW_START_WHOLE_TOOL_CALLS;
    expect(await window(sessionId, { windowStart, maxTokens: 20 })).toMatchObject({ ids: { length: 4 } });
    expect(await window(sessionId, { windowStart, maxTokens: 19 })).toMatchObject({ ids: ["last"], tokenCount: 5 });
    expect(await window(sessionId, { windowStart, maxBytes: 3_000 })).toMatchObject({ ids: ["last"], truncated: true });
    await service.memory.setSummary({ sessionId, recentMessageId: "m1", tokenCount: 1 });
    expect(await window(sessionId, { windowStart, lastN: 0 })).toMatchObject({ ids: ["last"], tokenCount: 6 });
    expect(await window(sessionId, { windowStart })).toMatchObject({ ids: { length: 4 } });
  });

  test("groups are told by their oldest message however far back it is, and however many are between", async () => {
    const sessionId = await sessionOf(said("first", ROLE_TYPE_USER, "long"));
    for (let n = 0; n < 3; n++) {
      const messages = Array.from({ length: 500 }, (_, index) => ({ groupId: `${n} ${Math.floor(index / 2)}` }));
      await service.memory.addMemory({ sessionId, messages });
    }
    await service.memory.addMemory({
      sessionId,
      messages: [said("last", ROLE_TYPE_USER, "long"), said("own", ROLE_TYPE_USER, "new")],
    });
    const windowStart = WINDOW_START_WHOLE_TOOL_CALLS;
    for (const [lastN, expected] of [
      [2, 1],
      [10, 9],
      [11, 9],
      [1000, 999],
    ] as const) {
      const found = await ids(sessionId, { windowStart, lastN });
      expect(found).toHaveLength(expected);
      expect(found).not.toContain("last");
      expect(found.at(-1)).toBe("own");
    }
  });

  test("many long groups are all told", async () => {
    const sessionId = newId();
    for (let n = 0; n < 2; n++) {
      const messages = Array.from({ length: 900 }, (_, index) => ({ groupId: `g${index % 6}` }));
      await service.memory.addMemory({ sessionId, messages });
    }
    await service.memory.addMemory({ sessionId, messages: [{ messageId: "own", groupId: "new" }] });
    expect(await ids(sessionId, { windowStart: WINDOW_START_WHOLE_TOOL_CALLS, lastN: 20 })).toEqual(["own"]);
  });

  test("a negative max_tokens and a window_start that there is not are refused, both at once", async () => {
    expect(
      await refusal(service.memory.getMemory({ sessionId: newId(), maxTokens: -1, windowStart: 4 as never })),
    ).toEqual(invalid("max_tokens", "window_start"));
  });
});

/** What the protos say, over the list of all messages. */
function defined(
  all: readonly Message[],
  memory: GetMemoryResponse,
  recentSequence: number,
  query: Query,
): Pick<GetMemoryResponse, "messages" | "tokenCount" | "truncated"> {
  const wanted =
    query.lastN > 0 ? all.slice(-query.lastN) : all.filter(({ sequence }) => sequence > recentSequence).slice(-WINDOW);
  const own = memory.summary ? tokensOf(memory.summary) : 0;
  const sum = (messages: readonly Message[]) => messages.reduce((total, message) => total + tokensOf(message), own);
  const isAffordable = (messages: readonly Message[]) => query.maxTokens === 0 || sum(messages) <= query.maxTokens;
  const fits = (messages: readonly Message[]) => {
    const answer = { ...memory, messages: [...messages], tokenCount: sum(messages), truncated: true };
    return GetMemoryResponse.encode(answer).finish().length <= (query.maxBytes || 4 * 1024 * 1024);
  };
  const affordable = newestWhere(wanted, isAffordable);
  const window = newestWhere(affordable, fits);
  const messages = started(window, all, query.windowStart);
  return { messages, tokenCount: sum(messages), truncated: window.length < affordable.length };
}

function newestWhere(messages: readonly Message[], isFine: (some: readonly Message[]) => boolean): Message[] {
  let count = 0;
  while (count < messages.length && isFine(messages.slice(messages.length - count - 1))) count++;
  return messages.slice(messages.length - count);
}

function started(window: readonly Message[], all: readonly Message[], start: WindowStart): Message[] {
  if (start === WINDOW_START_USER) {
    const first = window.findIndex(({ roleType }) => roleType === ROLE_TYPE_USER);
    return first < 0 ? [] : window.slice(first);
  }
  let left = [...window];
  if (start !== WINDOW_START_WHOLE_TOOL_CALLS) return left;
  // Until nothing more is to be left out.
  for (;;) {
    const isThere = new Set(left.map(({ sequence }) => sequence));
    const next = left.filter(
      ({ sequence, roleType, groupId }, index) =>
        !(index === 0 && (roleType === ROLE_TYPE_TOOL || roleType === ROLE_TYPE_FUNCTION)) &&
        !(
          groupId !== undefined &&
          all.some((older) => older.groupId === groupId && older.sequence < sequence && !isThere.has(older.sequence))
        ),
    );
    if (next.length === left.length) return left;
    left = next;
  }
}

function tokensOf({ tokenCount, content, ...rest }: Message | Summary): number {
  if (tokenCount > 0) return tokenCount;
  const { payload = [], payloadType = "" } = "payload" in rest ? rest : {};
  return Math.ceil((Buffer.byteLength(content) + (payloadType.startsWith("text/") ? payload.length : 0)) / 4);
}

const anyMessage = fc.record({
  roleType: fc.constantFrom(1, 2, 2, 3, 3, 4, 5, 5) as fc.Arbitrary<RoleType>,
  content: fc.oneof(fc.string({ unit: "grapheme", maxLength: 12 }), fc.constant("x".repeat(400))),
  payload: fc.uint8Array({ maxLength: 9 }),
  payloadType: fc.constantFrom("", "text/plain", "image/png"),
  tokenCount: fc.constantFrom(0, 0, 0, 1, 20),
  groupId: fc.option(fc.constantFrom("a", "b", "c", "d"), { nil: undefined }),
});

const anyQuery = fc.record({
  lastN: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 40 })),
  maxTokens: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 90 })),
  maxBytes: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: 6_000 })),
  windowStart: fc.constantFrom(...Object.values(WindowStart)),
});
type Query = typeof anyQuery extends fc.Arbitrary<infer Q> ? Q : never;

/** What is done between reads. */
const anyStep = fc.oneof(
  { weight: 4, arbitrary: fc.record({ add: fc.array(anyMessage, { minLength: 1, maxLength: 20 }) }) },
  { weight: 2, arbitrary: fc.record({ remove: fc.nat(40) }) },
  { weight: 1, arbitrary: fc.record({ summarize: fc.nat(40), tokenCount: fc.constantFrom(0, 30) }) },
);

describe("any window", () => {
  const services: TestService[] = [];
  beforeAll(async () => {
    const databaseName = `test-${randomUUID()}`;
    for (const cacheBytes of [CACHE_BYTES, 200_000, 0]) {
      services.push(await startService({ databaseName, cacheBytes, memoryWindow: WINDOW }));
    }
  });
  afterAll(() => Promise.all(services.map((service) => service.stop())));

  test("is what the definition makes of the list of all messages, at processes that keep much, little and nothing", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(anyStep, fc.array(anyQuery, { minLength: 3, maxLength: 6 })), { minLength: 1, maxLength: 6 }),
        async (steps) => {
          const sessionId = newId();
          let recentSequence = 0;
          for (const [index, [step, queries]] of steps.entries()) {
            const writer = services[index % services.length] as Api;
            const before = await all(writer, sessionId);
            if ("add" in step) await writer.memory.addMemory({ sessionId, messages: step.add });
            const at = (place: number) => before[place % (before.length || 1)];
            const removed = "remove" in step ? at(step.remove) : undefined;
            if (removed) await writer.memory.deleteMessage({ sessionId, messageId: removed.messageId });
            const covered = "summarize" in step ? at(step.summarize) : undefined;
            if (covered && covered.sequence >= recentSequence) {
              const { tokenCount } = step as { tokenCount: number };
              const summary = { content: "in short", recentMessageId: covered.messageId, tokenCount };
              await writer.memory.setSummary({ sessionId, ...summary });
              recentSequence = covered.sequence;
            }
            const messages = await all(writer, sessionId);
            for (const query of queries) {
              for (const { memory } of services) {
                const answer = await memory.getMemory({ sessionId, ...query });
                const expected = defined(messages, answer, recentSequence, query);
                const { tokenCount, truncated } = answer;
                expect({ messages: answer.messages, tokenCount, truncated }, JSON.stringify(query)).toEqual(expected);
              }
            }
          }
        },
      ),
      { numRuns: 40 },
    );
  }, 120_000);

  const all = async ({ memory }: Api, sessionId: string): Promise<Message[]> =>
    (await memory.listMessages({ sessionId, chunkSize: 1000 })).flatMap(({ messages }) => messages);
});
