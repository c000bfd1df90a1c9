import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import type { ListSessionsRequest, ListSessionsResponse } from "../../gen/sessions/v1/session_service.js";
import type { JsonObject } from "../../src/domain/json.js";
import { contains } from "../../src/domain/metadata.js";
import type { Loose } from "../support/api.js";
import { aMoment, invalid, millis, newId, refusal, texts, timestamp } from "../support/contract.js";
import { startService, type TestService } from "../support/service.js";

const [BY_CREATE_TIME, BY_UPDATE_TIME, BY_LAST_MESSAGE_TIME] = [1, 2, 3] as const;

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.stop());

const list = (request: Loose<ListSessionsRequest>) => service.sessions.listSessions(request);
const idsOf = (chunks: ListSessionsResponse[]) =>
  chunks.flatMap(({ sessions }) => sessions.map(({ sessionId }) => sessionId));
const ids = async (request: Loose<ListSessionsRequest>) => idsOf(await list(request));

/** Sessions of one user of their own, so that a test's listings see no other's. */
async function sessionsOfUser(count: number): Promise<{ userId: string; sessionIds: string[] }> {
  const userId = newId("user");
  await service.users.createUser({ userId });
  const sessionIds = Array.from({ length: count }, (_, n) => newId(`s${n}`));
  for (const sessionId of sessionIds) {
    await service.sessions.createSession({ sessionId, userId });
    await aMoment();
  }
  return { userId, sessionIds };
}

test("without any filter all live sessions come, oldest first, as GetSession shows them", async () => {
  const own = await startService();
  onTestFinished(() => own.stop());
  expect(await own.sessions.listSessions({})).toEqual([]);
  for (const sessionId of ["one", "two", "three", "gone"]) {
    await own.memory.addMemory({ sessionId, sessionMetadata: { of: sessionId }, messages: texts("hello") });
    await aMoment();
  }
  await own.sessions.deleteSession({ sessionId: "gone" });
  const chunks = await own.sessions.listSessions({});
  expect(idsOf(chunks)).toEqual(["one", "two", "three"]);
  expect(chunks).toHaveLength(1);
  expect(chunks[0]?.nextCursor).toBe("");
  expect(chunks[0]?.sessions[1]).toEqual((await own.sessions.getSession({ sessionId: "two" })).session);
});

test("a user's sessions are the ones that belong to them now", async () => {
  const { userId, sessionIds } = await sessionsOfUser(3);
  const [kept, freed, deleted] = sessionIds as [string, string, string];
  await service.sessions.updateSession({ sessionId: freed, userId: "" });
  await service.sessions.deleteSession({ sessionId: deleted });
  expect(await ids({ userId })).toEqual([kept]);
  expect(await ids({ userId: newId("unknown") })).toEqual([]);
});

test("the sessions of a deleted user are not listed, unless deleted ones are", async () => {
  const { userId, sessionIds } = await sessionsOfUser(2);
  await service.users.deleteUser({ userId });
  expect(await ids({ userId })).toEqual([]);
  expect(await ids({ userId, showDeleted: true })).toEqual(sessionIds);
});

test("show_deleted lists live and soft-deleted sessions, but none that is purged", async () => {
  const { userId, sessionIds } = await sessionsOfUser(3);
  const [live, deleted, purged] = sessionIds as [string, string, string];
  const { session } = await service.sessions.deleteSession({ sessionId: deleted });
  await service.sessions.purgeSession({ sessionId: purged });
  const chunks = await list({ userId, showDeleted: true });
  expect(idsOf(chunks)).toEqual([live, deleted]);
  expect(chunks[0]?.sessions[1]).toEqual(session);
  expect(await ids({ userId, showDeleted: false })).toEqual([live]);
});

test("each order, both ways", async () => {
  const { userId, sessionIds } = await sessionsOfUser(3);
  const [a, b, c] = sessionIds as [string, string, string];
  await service.sessions.updateSession({ sessionId: a, metadata: { touched: true } });
  await service.memory.addMemory({ sessionId: b, messages: [{ createTime: timestamp(Date.now() - 60_000) }] });
  await service.memory.addMemory({ sessionId: a, messages: [{ createTime: timestamp(Date.now() - 90_000) }] });
  const expected = [
    [0, [a, b, c]],
    [BY_CREATE_TIME, [a, b, c]],
    [BY_UPDATE_TIME, [b, c, a]],
    [BY_LAST_MESSAGE_TIME, [c, a, b]],
  ] as const;
  for (const [order, ordered] of expected) {
    expect(await ids({ userId, order })).toEqual(ordered);
    expect(await ids({ userId, order, descending: true })).toEqual([...ordered].reverse());
  }
});

test("sessions of the same time come in the order of their ids' bytes, also from chunk to chunk", async () => {
  const userId = newId("user");
  await service.users.createUser({ userId });
  // 𝒳 comes after ﬁ by bytes, and before it by UTF-16 code units.
  const sessionIds = ["B", "a", "ä", "ﬁ", "𝒳"].map((start) => `${start}-${userId}`);
  for (const sessionId of sessionIds) await service.sessions.createSession({ sessionId, userId });
  expect(await ids({ userId, order: BY_LAST_MESSAGE_TIME })).toEqual(sessionIds);
  expect(await ids({ userId, order: BY_LAST_MESSAGE_TIME, chunkSize: 1 })).toEqual(sessionIds);
  const backwards = { userId, order: BY_LAST_MESSAGE_TIME, descending: true } as const;
  expect(await ids({ ...backwards, chunkSize: 2 })).toEqual([...sessionIds].reverse());
});

test("created_after and created_before exclude themselves", async () => {
  const { userId, sessionIds } = await sessionsOfUser(3);
  const [a, b, c] = sessionIds as [string, string, string];
  const { session } = await service.sessions.getSession({ sessionId: b });
  const at = millis(session?.createTime);
  expect(await ids({ userId, createdAfter: timestamp(at) })).toEqual([c]);
  expect(await ids({ userId, createdAfter: timestamp(at - 1) })).toEqual([b, c]);
  expect(await ids({ userId, createdBefore: timestamp(at) })).toEqual([a]);
  expect(await ids({ userId, createdBefore: timestamp(at + 1) })).toEqual([a, b]);
  expect(await ids({ userId, createdAfter: timestamp(at - 1), createdBefore: timestamp(at + 1) })).toEqual([b]);
  expect(await ids({ userId, createdAfter: timestamp(at), createdBefore: timestamp(at) })).toEqual([]);
  const within = { userId, createdAfter: timestamp(at - 1), order: BY_UPDATE_TIME, descending: true } as const;
  expect(await ids(within)).toEqual([c, b]);
});

test("a part of a millisecond in created_after and created_before counts", async () => {
  const { userId, sessionIds } = await sessionsOfUser(1);
  const { session } = await service.sessions.getSession({ sessionId: sessionIds[0] });
  const at = timestamp(millis(session?.createTime));
  const justAfter = { ...at, nanos: at.nanos + 1 };
  expect(await ids({ userId, createdBefore: justAfter })).toEqual(sessionIds);
  expect(await ids({ userId, createdAfter: justAfter })).toEqual([]);
});

test("last_message_after and last_message_before exclude themselves, and what has no last message", async () => {
  const { userId, sessionIds } = await sessionsOfUser(5);
  const [old, newer, newest, , deleted] = sessionIds as [string, string, string, string, string];
  const at = 1_600_000_000_000;
  const made = [
    [newest, at + 1],
    [newer, at],
    [old, at - 1],
    [deleted, at],
  ] as const;
  for (const [sessionId, time] of made) {
    await service.memory.addMemory({ sessionId, messages: [{ createTime: timestamp(time) }] });
  }
  await service.sessions.deleteSession({ sessionId: deleted });

  for (const showDeleted of [false, true]) {
    const own = { userId, showDeleted };
    expect(await ids({ ...own, lastMessageAfter: timestamp(at) })).toEqual([newest]);
    expect(await ids({ ...own, lastMessageAfter: timestamp(at - 1) })).toEqual([newer, newest]);
    expect(await ids({ ...own, lastMessageBefore: timestamp(at) })).toEqual([old]);
    expect(await ids({ ...own, lastMessageBefore: timestamp(at + 1) })).toEqual([old, newer]);
    expect(await ids({ ...own, lastMessageAfter: { seconds: -62_135_596_800, nanos: 0 } })).toHaveLength(3);
    const within = { ...own, lastMessageAfter: timestamp(at - 1), lastMessageBefore: timestamp(at + 1) };
    expect(await ids(within)).toEqual([newer]);
    expect(await ids({ ...own, lastMessageAfter: timestamp(at), lastMessageBefore: timestamp(at) })).toEqual([]);
    // A part of a millisecond counts.
    const justAfter = { ...timestamp(at), nanos: timestamp(at).nanos + 1 };
    expect(await ids({ ...own, lastMessageBefore: justAfter })).toEqual([old, newer]);
    expect(await ids({ ...own, lastMessageAfter: justAfter })).toEqual([newest]);
  }

  // Cleared, it has no last message; with another, it has another.
  await service.memory.clearMemory({ sessionId: newer });
  await service.memory.addMemory({ sessionId: newest, messages: [{ createTime: timestamp(at + 60_000) }] });
  expect(await ids({ userId, lastMessageAfter: timestamp(at - 1), lastMessageBefore: timestamp(at + 60_000) })).toEqual(
    [],
  );
  expect(await ids({ userId, lastMessageBefore: timestamp(at + 60_001) })).toEqual([old, newest]);
});

test("last_message_after narrows each order and goes with every other filter, from chunk to chunk", async () => {
  const { userId, sessionIds } = await sessionsOfUser(9);
  const at = 1_600_000_000_000;
  // Their last messages are in another order than their creation, and their updates in a third.
  for (const [index, sessionId] of sessionIds.entries()) {
    const time = at + ((index * 4) % 9);
    await service.memory.addMemory({ sessionId, messages: [{ createTime: timestamp(time) }] });
  }
  for (const [index, sessionId] of sessionIds.entries()) {
    if (index % 2 === 0) await service.sessions.updateSession({ sessionId, metadata: { even: true } });
  }
  const all = (await list({ userId })).flatMap(({ sessions }) => sessions);
  const orders = [
    [BY_CREATE_TIME, "createTime"],
    [BY_UPDATE_TIME, "updateTime"],
    [BY_LAST_MESSAGE_TIME, "lastMessageTime"],
  ] as const;
  const createdAfter = all[0]?.createTime;
  const lastMessageAfter = timestamp(at + 1);
  const lastMessageBefore = timestamp(at + 7);
  for (const metadata of [{}, { even: true }] as JsonObject[]) {
    for (const [order, time] of orders) {
      const expected = all
        .filter(
          (session) =>
            millis(session.createTime) > millis(createdAfter) && contains(session.metadata as JsonObject, metadata),
        )
        .filter(({ lastMessageTime }) => millis(lastMessageTime) > at + 1 && millis(lastMessageTime) < at + 7)
        .sort((a, b) => millis(a[time]) - millis(b[time]) || (a.sessionId < b.sessionId ? -1 : 1))
        .map(({ sessionId }) => sessionId);
      const request = { userId, metadata, createdAfter, lastMessageAfter, lastMessageBefore, order, chunkSize: 2 };
      expect(expected.length).toBeGreaterThan(1);
      expect(await ids(request)).toEqual(expected);
      expect(await ids({ ...request, descending: true })).toEqual([...expected].reverse());
      expect(await resumed(request)).toEqual(expected);
    }
  }
});

/** The same listing, each session by a call of its own. */
async function resumed(request: Loose<ListSessionsRequest>): Promise<string[]> {
  const found: string[] = [];
  let cursor = "";
  do {
    const chunks = await list({ ...request, limit: 1, cursor });
    found.push(...idsOf(chunks));
    cursor = chunks.at(-1)?.nextCursor ?? "";
  } while (cursor !== "");
  return found;
}

const METADATA: JsonObject = {
  text: "a",
  accent: "\u00e9",
  number: 1.5,
  zero: 0,
  yes: true,
  nothing: null,
  nested: { deep: { deeper: "x" }, other: 2 },
  list: [1, "two", null, { a: 1, b: 2 }, { a: 3 }, [4, 5]],
  empty: {},
  none: [],
  "a.b": { $set: 1 },
  "": { "": "blank" },
};

const MATCHING: [string, JsonObject][] = [
  ["nothing at all", {}],
  ["a string", { text: "a" }],
  ["a number", { number: 1.5 }],
  ["zero, whatever its sign", { zero: -0 }],
  ["a boolean", { yes: true }],
  ["null", { nothing: null }],
  ["a nested value", { nested: { deep: { deeper: "x" } } }],
  ["an object with some of its keys", { nested: { deep: {} } }],
  ["several keys", { text: "a", nested: { other: 2 } }],
  ["elements of an array, in any order", { list: ["two", 1] }],
  ["an element that comes twice", { list: [1, 1] }],
  ["two parts of one element", { list: [{ a: 1 }, { b: 2 }] }],
  ["null in an array", { list: [null] }],
  ["a part of an object in an array", { list: [{ b: 2 }] }],
  ["objects in an array", { list: [{ a: 3 }, { a: 1 }] }],
  ["an array in an array", { list: [[5]] }],
  ["an array in an array, in any order", { list: [[5, 4]] }],
  ["an empty array, for any array", { list: [], none: [] }],
  ["an empty object, for any object", { empty: {}, nested: {} }],
  ["an empty array and an empty object in an array", { list: [[], {}] }],
  ["all of it", METADATA],
  ["keys with dots and dollars", { "a.b": { $set: 1 } }],
  ["empty keys", { "": { "": "blank" } }],
];

const OTHER: [string, JsonObject][] = [
  ["another string", { text: "b" }],
  ["a prefix", { text: "" }],
  ["a string in other letters", { text: "A" }],
  ["the same letters in other bytes", { accent: "e\u0301" }],
  ["a number as text", { number: "1.5" }],
  ["true for 1", { number: true }],
  ["null for a missing key", { missing: null }],
  ["a missing key", { missing: {} }],
  ["an empty array for a missing key", { missing: [] }],
  ["false for null", { nothing: false }],
  ["an object for a scalar", { text: {} }],
  ["a scalar for an object", { nested: "x" }],
  ["an array for an object", { empty: [] }],
  ["an object for an array", { none: {} }],
  ["an element for its array", { list: 1 }],
  ["an array for its element", { text: ["a"] }],
  ["an empty array for a scalar", { text: [] }],
  ["an array in an array for an element", { list: [["two"]] }],
  ["one element that is not there", { list: [1, 2] }],
  ["two elements taken for one", { list: [{ a: 3, b: 2 }] }],
  ["an element of an inner array", { list: [4] }],
  ["a path as a key", { "nested.other": 2 }],
  ["a key as a path", { a: { b: { $set: 1 } } }],
  ["an operator", { number: { $gt: 0 } }],
  ["one of two keys", { text: "a", number: 2 }],
  ["a key of a prototype", { toString: {} } as never],
];

test("metadata that a session contains finds it, nested and with arrays; what it does not contain does not", async () => {
  const { userId, sessionIds } = await sessionsOfUser(1);
  await service.sessions.updateSession({ sessionId: sessionIds[0], metadata: METADATA });
  for (const [what, metadata] of MATCHING) expect(await ids({ userId, metadata }), what).toEqual(sessionIds);
  for (const [what, metadata] of OTHER) expect(await ids({ userId, metadata }), what).toEqual([]);
});

test("a filter by metadata finds sessions across users, and follows every change", async () => {
  const [sessionId, tag] = [newId(), newId("tag")];
  await service.sessions.createSession({ sessionId, metadata: { tag, n: 1 } });
  const metadata = { tag };
  expect(await ids({ metadata })).toEqual([sessionId]);
  await service.sessions.updateSession({ sessionId, metadata: { n: 2 } });
  expect(await ids({ metadata: { tag, n: 1 } })).toEqual([]);
  expect(await ids({ metadata: { tag, n: 2 } })).toEqual([sessionId]);
  await service.sessions.updateSession({ sessionId, metadata: {}, metadataMode: 3 });
  expect(await ids({ metadata })).toEqual([]);
  await service.sessions.updateSession({ sessionId, metadata: { tag } });
  await service.sessions.deleteSession({ sessionId });
  expect(await ids({ metadata })).toEqual([]);
  expect(await ids({ metadata, showDeleted: true })).toEqual([sessionId]);
  await service.memory.addMemory({ sessionId });
  expect(await ids({ metadata })).toEqual([sessionId]);
});

test("a filter finds what is in metadata of very many values too", async () => {
  const [sessionId, tag] = [newId(), newId("tag")];
  const wide = Object.fromEntries(Array.from({ length: 1000 }, (_, n) => [`key-${n}`, n]));
  await service.sessions.createSession({ sessionId, metadata: { ...wide, tag } });
  expect(await ids({ metadata: { tag, "key-999": 999 } })).toEqual([sessionId]);
  expect(await ids({ metadata: { ...wide, tag } })).toEqual([sessionId]);
  expect(await ids({ metadata: { tag, "key-999": 998 } })).toEqual([]);
});

test("few that match among many that do not are all found, chunk by chunk", async () => {
  const tag = newId("tag");
  const found: string[] = [];
  for (let n = 0; n < 30; n++) {
    const sessionId = newId();
    const pair = n % 10 === 0;
    // Each has the same values at the same places, so that only a look at the whole tells them apart.
    const list = pair ? [{ a: 1, b: 2 }] : [{ a: 1 }, { b: 2 }];
    await service.sessions.createSession({ sessionId, metadata: { tag, list } });
    if (pair) found.push(sessionId);
  }
  const filter = { metadata: { tag, list: [{ a: 1, b: 2 }] } };
  expect(new Set(await ids(filter))).toEqual(new Set(found));
  const chunks = await list({ ...filter, chunkSize: 1 });
  expect(chunks.map(({ sessions }) => sessions.length)).toEqual([1, 1, 1]);
  expect(new Set(idsOf(chunks))).toEqual(new Set(found));
  expect(chunks.map(({ nextCursor }) => nextCursor === "")).toEqual([false, false, true]);
});

test("all filters apply together", async () => {
  const { userId, sessionIds } = await sessionsOfUser(4);
  const [a, b, c, d] = sessionIds as [string, string, string, string];
  for (const sessionId of [a, b, d]) await service.sessions.updateSession({ sessionId, metadata: { yes: 1 } });
  await service.sessions.deleteSession({ sessionId: d });
  const { session } = await service.sessions.getSession({ sessionId: a });
  const filter = { userId, metadata: { yes: 1 }, createdAfter: session?.createTime };
  expect(await ids(filter)).toEqual([b]);
  expect(await ids({ ...filter, showDeleted: true, descending: true })).toEqual([d, b]);
  expect(await ids({ ...filter, metadata: {} })).toEqual([b, c]);
});

test("chunks hold chunk_size sessions, and only the last one of a complete listing has no cursor", async () => {
  const { userId, sessionIds } = await sessionsOfUser(4);
  for (const [chunkSize, sizes] of [
    [1, [1, 1, 1, 1]],
    [2, [2, 2]],
    [3, [3, 1]],
    [4, [4]],
    [5, [4]],
    [1_000_000, [4]],
  ] as const) {
    const chunks = await list({ userId, chunkSize });
    expect(idsOf(chunks)).toEqual(sessionIds);
    expect(chunks.map(({ sessions }) => sessions.length)).toEqual(sizes);
    expect(chunks.map(({ nextCursor }) => nextCursor === "")).toEqual(sizes.map((_, n) => n === sizes.length - 1));
  }
});

test("a limit ends the listing, with a cursor unless nothing is left", async () => {
  const { userId, sessionIds } = await sessionsOfUser(3);
  for (const chunkSize of [0, 1, 2]) {
    for (const limit of [1, 2]) {
      const chunks = await list({ userId, limit, chunkSize });
      expect(idsOf(chunks)).toEqual(sessionIds.slice(0, limit));
      expect(chunks.at(-1)?.nextCursor).not.toBe("");
    }
    for (const limit of [3, 4, 0]) {
      const chunks = await list({ userId, limit, chunkSize });
      expect(idsOf(chunks)).toEqual(sessionIds);
      expect(chunks.at(-1)?.nextCursor).toBe("");
    }
  }
});

test("every chunk's cursor resumes after its last session, in every order, with any limit and chunk size", async () => {
  const { userId, sessionIds } = await sessionsOfUser(4);
  await service.memory.addMemory({ sessionId: sessionIds[2], messages: texts("x") });
  for (const order of [BY_CREATE_TIME, BY_UPDATE_TIME, BY_LAST_MESSAGE_TIME]) {
    for (const descending of [false, true]) {
      const listing = { userId, order, descending };
      const all = await ids(listing);
      for (const [index, { nextCursor: cursor }] of (await list({ ...listing, chunkSize: 1 })).entries()) {
        if (cursor === "") continue;
        expect(await ids({ ...listing, cursor })).toEqual(all.slice(index + 1));
        expect(await ids({ ...listing, cursor, limit: 1, chunkSize: 7 })).toEqual(all.slice(index + 1, index + 2));
      }
    }
  }
});

test("what lives throughout comes exactly once, whatever is created or deleted between two pages", async () => {
  const { userId, sessionIds } = await sessionsOfUser(5);
  const [, second, third] = sessionIds as [string, string, string];
  const [page] = await list({ userId, limit: 2 });
  await service.sessions.deleteSession({ sessionId: second });
  await service.sessions.purgeSession({ sessionId: third });
  await service.sessions.updateSession({ sessionId: sessionIds[3], metadata: { moved: true } });
  const fresh = newId("fresh");
  await service.sessions.createSession({ sessionId: fresh, userId });
  expect(await ids({ userId, cursor: page?.nextCursor })).toEqual([...sessionIds.slice(3), fresh]);
});

test("chunks are about 256 KiB at most, whatever the chunk size", async () => {
  const userId = newId("user");
  await service.users.createUser({ userId });
  for (let n = 0; n < 12; n++) {
    await service.sessions.createSession({ sessionId: newId(), userId, metadata: { big: "x".repeat(60 * 1024) } });
  }
  const chunks = await list({ userId, chunkSize: 1000 });
  expect(chunks.map(({ sessions }) => sessions.length)).toEqual([4, 4, 4]);
  expect(chunks.map(({ nextCursor }) => nextCursor === "")).toEqual([false, false, true]);
});

test("a chunk has 100 sessions when nothing is said", async () => {
  const userId = newId("user");
  await service.users.createUser({ userId });
  await Promise.all(Array.from({ length: 101 }, () => service.sessions.createSession({ sessionId: newId(), userId })));
  const chunks = await list({ userId });
  expect(chunks.map(({ sessions }) => sessions.length)).toEqual([100, 1]);
});

test("all that is wrong with a listing is named at once", async () => {
  const call = list({
    limit: -1,
    chunkSize: -1,
    userId: " ",
    metadata: { a: Number.NaN },
    createdAfter: { seconds: 0, nanos: -1 },
    createdBefore: { seconds: 253_402_300_800, nanos: 0 },
    order: 4 as never,
  });
  expect(await refusal(call)).toEqual(
    invalid("limit", "chunk_size", "user_id", "metadata", "created_after", "created_before", "order"),
  );
});
