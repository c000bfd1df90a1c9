import { isDeepStrictEqual } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { JsonObject, JsonValue } from "../../src/domain/json.js";
import { invalid, newId, refusal, sessionNotFound } from "../support/contract.js";
import { startService, type TestService } from "../support/service.js";

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.stop());

/** Exact: own keys only, whatever their names; the assertions of vitest look at `constructor`. */
function expectSame(received: JsonObject | undefined, sent: JsonObject, what: string): void {
  expect(isDeepStrictEqual(received, sent), `${what}: ${JSON.stringify(received)?.slice(0, 200)}`).toBe(true);
}

/** `__proto__` as an ordinary key, which an object literal cannot say. */
const parse = (json: string): JsonObject => JSON.parse(json) as JsonObject;

/** Both objects' own keys, `__proto__` among them. */
const plus = (a: JsonObject, b: JsonObject): JsonObject =>
  Object.fromEntries([...Object.entries(a), ...Object.entries(b)]);

const nested = (levels: number, inner: JsonValue = 1): JsonObject => {
  let value = inner;
  for (let level = 1; level < levels; level++) value = { n: value };
  return { n: value };
};

const ODD: [string, JsonObject][] = [
  ["keys with dots", { "a.b": 1, "a.b.c": { "d.e": 2 }, ".": 3 }],
  ["keys with dollars", { $set: { $where: "1" }, $: 1, "$a.$b": 2 }],
  ["__proto__", parse('{"__proto__": {"__proto__": 1, "x": null}, "a": {"__proto__": "text"}}')],
  ["other keys of prototypes", parse('{"constructor": {"prototype": {"x": 1}}, "toString": null, "toJSON": "x"}')],
  ["the empty key", { "": { "": "" } }],
  ["keys with control characters", { "a\u0000b": 1, "\u0000": 2, "\n": 3 }],
  ["keys that differ in their normal form only", { "\u00e9": 1, "e\u0301": 2 }],
  ["keys and values that begin with a byte order mark", { "\ufeffa": "\ufeffx", a: "x" }],
  ["keys that look like numbers", { 10: "ten", 9: "nine", "-1": "minus", "01": "one" }],
  ["nulls", { a: null, b: [null, [null]], c: { d: null } }],
  ["large and small numbers", { a: 2 ** 53, b: -(2 ** 53), c: 1.7976931348623157e308, d: 5e-324, e: 0.1, f: -0 }],
  ["empty objects and arrays", { a: {}, b: [], c: [{}, [], [[]]], d: "" }],
  ["text of all kinds", { a: "🦉", b: "\u0000", c: "\ud7ff\ue000\uffff", d: "</script>", e: "a\r\nb" }],
  ["booleans", { a: true, b: false }],
  ["32 levels of objects", nested(32)],
  ["32 levels of arrays", { a: JSON.parse(`${"[".repeat(31)}${"]".repeat(31)}`) }],
  ["5000 keys", Object.fromEntries(Array.from({ length: 5000 }, (_, n) => [`k${n}`, n]))],
  ["5000 elements", { list: Array.from({ length: 5000 }, (_, n) => n) }],
];

test("any metadata of a session comes back exactly as it went in", async () => {
  for (const [what, metadata] of ODD) {
    const sessionId = newId();
    const { session } = await service.sessions.createSession({ sessionId, metadata });
    expectSame(session?.metadata, metadata, what);
    expectSame((await service.sessions.getSession({ sessionId })).session?.metadata, metadata, what);
    const [chunk] = await service.sessions.listSessions({ metadata });
    expect(
      chunk?.sessions.map((found) => found.sessionId),
      what,
    ).toContain(sessionId);
  }
});

test("any metadata passes through every mode of an update as it is", async () => {
  for (const [what, metadata] of ODD) {
    for (const metadataMode of [1, 3] as const) {
      const sessionId = newId();
      await service.sessions.createSession({ sessionId });
      const { session } = await service.sessions.updateSession({ sessionId, metadata, metadataMode });
      expectSame(session?.metadata, metadata, what);
    }
    // What is there already is merged into by an unrelated update.
    for (const metadataMode of [1, 2] as const) {
      const sessionId = newId();
      await service.sessions.createSession({ sessionId, metadata });
      const { session } = await service.sessions.updateSession({ sessionId, metadata: { zz: 1 }, metadataMode });
      expectSame(session?.metadata, plus(metadata, { zz: 1 }), what);
    }
  }
});

test("a merge patch sets odd keys, and removes them", async () => {
  const odd = parse('{"a.b": 1, "$set": {"x": 1}, "__proto__": {"y": 1}, "constructor": 2, "": 3, "\\u0000": 4}');
  const sessionId = newId();
  await service.sessions.createSession({ sessionId });
  const patch = async (metadata: JsonObject) =>
    (await service.sessions.updateSession({ sessionId, metadata, metadataMode: 2 })).session?.metadata;
  expectSame(await patch(odd), odd, "set");
  const rest = await patch(parse('{"__proto__": {"y": null, "z": 2}, "$set": null, "a.b": null, "": null}'));
  expectSame(rest, parse('{"__proto__": {"z": 2}, "constructor": 2, "\\u0000": 4}'), "removed");
});

test("merging keys of prototypes pollutes nothing", async () => {
  const sessionId = newId();
  await service.sessions.createSession({ sessionId });
  const metadata = parse('{"__proto__": {"polluted": 1}, "constructor": {"prototype": {"polluted": 1}}}');
  await service.sessions.updateSession({ sessionId, metadata });
  expect(({} as { polluted?: number }).polluted).toBeUndefined();
  const fresh = await service.sessions.createSession({ sessionId: newId(), metadata: {} });
  expect(fresh.session?.metadata).toEqual({});
});

test("messages, summaries and users keep any metadata too", async () => {
  const sessionId = newId();
  const messages = ODD.map(([, metadata], index) => ({ messageId: `m${index}`, metadata }));
  await service.memory.addMemory({ sessionId, messages });
  const memory = await service.memory.getMemory({ sessionId, lastN: 1000 });
  for (const [index, [what, metadata]] of ODD.entries()) expectSame(memory.messages[index]?.metadata, metadata, what);
  for (const [what, metadata] of ODD) {
    const { summary } = await service.memory.setSummary({ sessionId, recentMessageId: "m0", metadata });
    expectSame(summary?.metadata, metadata, what);
    const { user } = await service.users.createUser({ userId: newId("user"), metadata });
    expectSame(user?.metadata, metadata, what);
    const { message } = await service.memory.updateMessage({
      sessionId,
      messageId: "m0",
      metadata,
      metadataMode: 3,
    });
    expectSame(message?.metadata, metadata, what);
  }
});

/** Metadata of exactly this many bytes as compact JSON. */
const ofBytes = (bytes: number): JsonObject => ({ a: "x".repeat(bytes - '{"a":""}'.length) });

const REFUSED: [string, JsonObject][] = [
  ["64 KiB and a byte", ofBytes(64 * 1024 + 1)],
  ["64 KiB and a byte in characters of two bytes", { a: `${"é".repeat(32 * 1024 - 4)}x` }],
  ["33 levels of objects", nested(33)],
  ["32 levels of objects around an array", nested(32, [])],
  ["33 levels of arrays", { a: JSON.parse(`${"[".repeat(32)}${"]".repeat(32)}`) }],
  ["80 levels", nested(80)],
  ["NaN", { a: [{ b: Number.NaN }] }],
  ["an infinity", { a: Number.POSITIVE_INFINITY }],
  ["a negative infinity", { a: { b: Number.NEGATIVE_INFINITY } }],
];

test("metadata over the limits and numbers that are none are refused wherever metadata is", async () => {
  for (const [what, metadata] of REFUSED) {
    const [sessionId, userId] = [newId(), newId("user")];
    const calls: [Promise<unknown>, string][] = [
      [service.sessions.createSession({ sessionId, metadata }), "metadata"],
      [service.sessions.updateSession({ sessionId, metadata, metadataMode: 3 }), "metadata"],
      [service.sessions.listSessions({ metadata }), "metadata"],
      [service.memory.addMemory({ sessionId, sessionMetadata: metadata }), "session_metadata"],
      [service.memory.addMemory({ sessionId, messages: [{}, { metadata }] }), "messages[1].metadata"],
      [service.memory.updateMessage({ sessionId, messageId: "m", metadata }), "metadata"],
      [service.memory.setSummary({ sessionId, recentMessageId: "m", metadata }), "metadata"],
      [service.users.createUser({ userId, metadata }), "metadata"],
      [service.users.updateUser({ userId, metadata }), "metadata"],
    ];
    const outcomes = await Promise.all(calls.map(([call]) => refusal(call)));
    for (const [index, outcome] of outcomes.entries()) {
      expect(outcome, `${what}, call ${index}`).toEqual(invalid(calls[index]?.[1] as string));
    }
    expect(await refusal(service.sessions.getSession({ sessionId }))).toEqual(sessionNotFound(sessionId));
  }
});

test("metadata of exactly 64 KiB as compact JSON is kept, whatever its bytes on the wire", async () => {
  // Small values: more than five times as many bytes on the wire as in JSON.
  const dense = { a: Array.from({ length: 32 * 1024 - 4 }, () => 0) };
  expect(JSON.stringify(dense)).toHaveLength(64 * 1024 - 1);
  for (const metadata of [ofBytes(64 * 1024), { a: "é".repeat(32 * 1024 - 4) }, dense]) {
    const { session } = await service.sessions.createSession({ sessionId: newId(), metadata });
    expectSame(session?.metadata, metadata, JSON.stringify(metadata).slice(0, 20));
  }
});
