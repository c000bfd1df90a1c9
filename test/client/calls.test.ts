import { afterAll, beforeAll, expect, test } from "vitest";
import type { GetMemoryRequest, JsonObject, ListSessionsRequest, RoleType } from "../../src/client/index.js";
import { startService, type TestService } from "../support/service.js";
import { clientTo, collect, failure } from "./support.js";

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.stop());

const connect = () => clientTo(service.address);

test("a session is created, read, updated, deleted, restored and purged", async () => {
  const client = connect();
  await client.createUser({ userId: "life-user", email: "a@example.org", firstName: "Ann" });
  const created = await client.createSession({ sessionId: "life", userId: "life-user", metadata: { a: { b: 1 } } });
  expect(created).toMatchObject({ sessionId: "life", userId: "life-user", metadata: { a: { b: 1 } }, messageCount: 0 });
  expect(created.createTime).toBeInstanceOf(Date);
  expect(Math.abs(created.createTime.getTime() - Date.now())).toBeLessThan(60_000);
  expect(created.lastMessageTime).toBeUndefined();
  expect(await client.getSession({ sessionId: "life" })).toEqual(created);

  const merged = await client.updateSession({ sessionId: "life", metadata: { a: { c: 2 } }, etag: created.etag });
  expect(merged.metadata).toEqual({ a: { b: 1, c: 2 } });
  const patched = await client.updateSession({
    sessionId: "life",
    metadata: { a: { b: null } },
    metadataMode: "merge-patch",
  });
  expect(patched.metadata).toEqual({ a: { c: 2 } });
  const replaced = await client.updateSession({ sessionId: "life", metadata: { z: [] }, metadataMode: "replace" });
  expect(replaced).toMatchObject({ metadata: { z: [] }, userId: "life-user" });
  expect((await client.updateSession({ sessionId: "life", userId: null })).userId).toBeUndefined();

  const { sessions, missingSessionIds } = await client.batchGetSessions({ sessionIds: ["life", "none"] });
  expect(sessions.map(({ sessionId }) => sessionId)).toEqual(["life"]);
  expect(missingSessionIds).toEqual(["none"]);

  const deleted = await client.deleteSession({ sessionId: "life" });
  expect(deleted?.purgeTime?.getTime()).toBeGreaterThan(Date.now());
  expect(await client.deleteSession({ sessionId: "none", allowMissing: true })).toBeUndefined();
  expect((await client.getSession({ sessionId: "life", showDeleted: true })).deleteTime).toEqual(deleted?.deleteTime);
  expect((await client.undeleteSession({ sessionId: "life", restoreMemory: true })).deleteTime).toBeUndefined();
  expect(await client.purgeSession({ sessionId: "life" })).toEqual({ purgedMessages: 0 });
});

test("a memory is forked, as a whole and in part, for the same user, another one and nobody", async () => {
  const client = connect();
  for (const userId of ["fork-user", "fork-other"]) await client.createUser({ userId });
  const metadata = { a: { b: 1 } };
  await client.addMemory({
    sessionId: "forked",
    userId: "fork-user",
    sessionMetadata: metadata,
    messages: [{ messageId: "m1", content: "one" }, { messageId: "m2" }],
  });
  const whole = await client.forkSession({ sessionId: "forked" });
  expect(whole).toMatchObject({
    userId: "fork-user",
    metadata,
    messageCount: 2,
    forkedFrom: { sessionId: "forked", sequence: 2 },
  });
  expect(await client.getSession({ sessionId: whole.sessionId })).toEqual(whole);
  const part = await client.forkSession({
    sessionId: "forked",
    newSessionId: "fork-part",
    upToMessageId: "m1",
    userId: "fork-other",
    metadata: { a: { c: 2 } },
  });
  expect(part).toMatchObject({ sessionId: "fork-part", userId: "fork-other", metadata: { a: { b: 1, c: 2 } } });
  const { messages } = await client.getMemory({ sessionId: "fork-part" });
  expect(messages.map(({ content }) => content)).toEqual(["one"]);
  const nobodys = await client.forkSession({ sessionId: "forked", userId: null });
  expect(nobodys.userId).toBeUndefined();
  expect((await client.getSession({ sessionId: "forked" })).forkedFrom).toBeUndefined();
});

test("a window of a memory, and state that is changed with what is added", async () => {
  const client = connect();
  const sessionId = "windowed";
  const messages = [
    { messageId: "u1", roleType: "user", tokenCount: 1 },
    { messageId: "a1", roleType: "assistant", tokenCount: 2, groupId: "call" },
    { messageId: "t1", roleType: "tool", tokenCount: 3, groupId: "call" },
    { messageId: "a2", roleType: "assistant", tokenCount: 4 },
  ] as const;
  await client.addMemory({ sessionId, messages: messages.slice(0, 3), sessionMetadata: { a: { b: 1 } } });
  const grown = await client.addMemory({
    sessionId,
    messages,
    mergeSessionMetadata: { a: { b: null }, c: 3 },
    metadataMode: "merge-patch",
  });
  expect(grown.messages.map(({ sequence }) => sequence)).toEqual([1, 2, 3, 4]);

  const whole = await client.getMemory({ sessionId });
  expect(whole).toMatchObject({ tokenCount: 10, session: { metadata: { a: {}, c: 3 }, messageCount: 4 } });
  expect(whole.messages.map(({ groupId }) => groupId)).toEqual([undefined, "call", "call", undefined]);
  const window = async (request: Omit<GetMemoryRequest, "sessionId">) => {
    const memory = await client.getMemory({ sessionId, ...request });
    return { ids: memory.messages.map(({ messageId }) => messageId), tokenCount: memory.tokenCount };
  };
  expect(await window({ maxTokens: 8 })).toEqual({ ids: ["t1", "a2"], tokenCount: 7 });
  expect(await window({ maxTokens: 8, windowStart: "any" })).toEqual({ ids: ["t1", "a2"], tokenCount: 7 });
  expect(await window({ maxTokens: 8, windowStart: "whole-tool-calls" })).toEqual({ ids: ["a2"], tokenCount: 4 });
  expect(await window({ windowStart: "user" })).toMatchObject({ ids: { length: 4 } });
  await expect(window({ windowStart: "middle" as "any" })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
});

test("a session expires when it is told to, by dates and milliseconds", async () => {
  const client = connect();
  const expireTime = new Date(Date.now() + 3_600_000);
  const timed = await client.createSession({ sessionId: "expiring", expireTime });
  expect(timed).toMatchObject({ expireTime, expiresAt: expireTime });
  expect(timed.idleTtlMs).toBeUndefined();
  const idle = await client.updateSession({ sessionId: "expiring", idleTtlMs: 86_400_001 });
  expect(idle).toMatchObject({ idleTtlMs: 86_400_001, expiresAt: new Date(idle.createTime.getTime() + 86_400_001) });
  expect(idle.expireTime).toBeUndefined();
  expect(await client.getSession({ sessionId: "expiring" })).toEqual(idle);
  const cleared = await client.updateSession({ sessionId: "expiring", clearExpiry: true });
  expect([cleared.expireTime, cleared.idleTtlMs, cleared.expiresAt]).toEqual([undefined, undefined, undefined]);
  await client.addMemory({ sessionId: "expiring too", messages: [{ content: "a" }], idleTtlMs: 1_000_000 });
  expect(await client.getSession({ sessionId: "expiring too" })).toMatchObject({ idleTtlMs: 1_000_000 });

  for (const idleTtlMs of [0, -1, Number.NaN]) {
    expect(await failure(client.createSession({ sessionId: "x", idleTtlMs }))).toMatchObject({
      code: "INVALID_ARGUMENT",
      violations: [{ field: "idle_ttl" }],
    });
  }
  expect(await failure(client.createSession({ sessionId: "x", expireTime, idleTtlMs: 1 }))).toMatchObject({
    code: "INVALID_ARGUMENT",
    violations: [{ field: "expire_time" }],
  });
});

test("messages come back as they went in", async () => {
  const client = connect();
  const roleTypes: RoleType[] = ["system", "assistant", "user", "function", "tool"];
  const createTime = new Date("2021-03-04T05:06:07.089Z");
  const added = await client.addMemory({
    sessionId: "memory",
    sessionMetadata: { made: true },
    messages: [
      ...roleTypes.map((roleType) => ({ roleType, role: "r", content: roleType })),
      {
        messageId: "own",
        payload: new Uint8Array([0, 255]),
        payloadType: "x/y",
        metadata: { k: 1 },
        tokenCount: 7,
        createTime,
      },
    ],
  });
  expect(added.sessionCreated).toBe(true);
  expect(added.messages.at(-1)).toEqual({ messageId: "own", sequence: 6, createTime });

  const { messages, session, summary } = await client.getMemory({ sessionId: "memory" });
  expect(session).toMatchObject({ metadata: { made: true }, messageCount: 6, lastMessageTime: createTime });
  expect(summary).toBeUndefined();
  expect(messages.slice(0, 5).map(({ roleType }) => roleType)).toEqual(roleTypes);
  expect(messages[0]?.payload).toBeUndefined();
  const own = await client.getMessage({ sessionId: "memory", messageId: "own" });
  expect(own).toEqual(messages[5]);
  expect(own).toMatchObject({ payloadType: "x/y", metadata: { k: 1 }, tokenCount: 7, createTime });
  expect(own.roleType).toBeUndefined();
  expect(own.payload).toStrictEqual(new Uint8Array([0, 255]));

  const updated = await client.updateMessage({
    sessionId: "memory",
    messageId: "own",
    tokenCount: 0,
    metadata: { l: 2 },
  });
  expect(updated).toMatchObject({ tokenCount: 0, metadata: { k: 1, l: 2 }, payloadType: "x/y" });
  const said = { content: "…", payload: new Uint8Array(), payloadType: "" };
  const edited = await client.updateMessage({ sessionId: "memory", messageId: "own", etag: updated.etag, ...said });
  expect(edited).toMatchObject({ content: "…", payload: undefined, payloadType: undefined, tokenCount: 0 });
  const stale = client.updateMessage({ sessionId: "memory", messageId: "own", content: "late", etag: updated.etag });
  await expect(stale).rejects.toMatchObject({ code: "ABORTED", reason: "ETAG_MISMATCH" });
  const set = await client.setSummary({
    sessionId: "memory",
    content: "so far",
    recentMessageId: "own",
    tokenCount: 2,
  });
  expect((await client.getMemory({ sessionId: "memory", lastN: 1 })).summary).toEqual(set);
  await client.deleteMessage({ sessionId: "memory", messageId: "own" });
  const left = await collect(client.listMessages({ sessionId: "memory", descending: true }));
  expect(left.map(({ sequence }) => sequence)).toEqual([5, 4, 3, 2, 1]);
  const rewound = await client.rewindMemory({ sessionId: "memory", afterSequence: 3, expectedLastSequence: 6 });
  expect(rewound).toMatchObject({ rewoundMessages: 2, truncated: false, session: { messageCount: 3 } });
  expect(rewound.messages.map(({ sequence, roleType }) => [sequence, roleType])).toEqual([
    [4, roleTypes[3]],
    [5, roleTypes[4]],
  ]);
  const nothing = {
    sessionId: "memory",
    afterMessageId: (await client.getMemory({ sessionId: "memory" })).messages.at(-1)?.messageId,
  };
  expect(await client.rewindMemory(nothing)).toMatchObject({ messages: [], rewoundMessages: 0 });
  const late = client.rewindMemory({ sessionId: "memory", afterSequence: 0, expectedLastSequence: 5 });
  await expect(late).rejects.toMatchObject({ code: "ABORTED", reason: "SEQUENCE_MISMATCH" });
  expect((await client.clearMemory({ sessionId: "memory" })).messageCount).toBe(0);
  expect(await client.getMemory({ sessionId: "nobody" })).toEqual({ messages: [], truncated: false, tokenCount: 0 });
});

test("a memory comes as far as it is asked for, and what is larger than most clients take comes to this one", async () => {
  const client = connect();
  const content = "x".repeat(1024 * 1024);
  await client.addMemory({ sessionId: "large", messages: Array.from({ length: 6 }, () => ({ content })) });
  expect(await client.getMemory({ sessionId: "large" })).toMatchObject({ messages: { length: 6 }, truncated: false });
  const cut = await client.getMemory({ sessionId: "large", maxBytes: 2.5 * 1024 * 1024 });
  expect(cut).toMatchObject({ messages: [{ sequence: 5 }, { sequence: 6 }], truncated: true });
});

test("of a batch that is too large the rest is named", async () => {
  const client = connect();
  const ids = Array.from({ length: 70 }, (_, index) => `batch-${index}`);
  const metadata = { pad: "m".repeat(63_000) };
  await Promise.all(ids.map((sessionId) => client.createSession({ sessionId, metadata })));
  const { sessions, unreadSessionIds } = await client.batchGetSessions({ sessionIds: ids });
  expect(unreadSessionIds.length).toBeGreaterThan(0);
  expect([...sessions.map(({ sessionId }) => sessionId), ...unreadSessionIds]).toEqual(ids);
});

test("messages are found by what they say, with those around them", async () => {
  const client = connect();
  await client.createUser({ userId: "seeker" });
  const createTime = new Date("2024-05-06T07:08:09.010Z");
  await client.addMemory({
    sessionId: "sought",
    userId: "seeker",
    messages: [
      { messageId: "1", roleType: "user", content: "Where to?" },
      {
        messageId: "2",
        roleType: "assistant",
        content: "Take the tram to Belém.",
        metadata: { city: "Lisbon" },
        createTime,
      },
      { messageId: "3", roleType: "user", content: "Thanks." },
    ],
  });
  const found = await client.searchMemory({ userId: "seeker", text: "trams", limit: 1, neighbors: 1 });
  expect(found).toMatchObject({ mode: "lexical", unembeddedMessages: 0 });
  const [result] = found.results;
  expect(result?.message).toEqual(await client.getMessage({ sessionId: "sought", messageId: "2" }));
  expect(result?.score).toBeGreaterThan(0);
  expect([result?.before, result?.after].map((some) => some?.map(({ messageId }) => messageId))).toEqual([
    ["1"],
    ["3"],
  ]);

  const ids = async (request: Parameters<typeof client.searchMemory>[0]) =>
    (await client.searchMemory({ sessionId: "sought", ...request })).results.map(({ message }) => message.messageId);
  expect(await ids({ metadata: { city: "Lisbon" } })).toEqual(["2"]);
  expect(await ids({ text: "tram", roleTypes: ["system"] })).toEqual([]);
  expect(await ids({ text: "tram", roleTypes: ["assistant"], createdBefore: new Date("2024-05-07") })).toEqual(["2"]);
  expect(await ids({ text: "tram", createdAfter: createTime, limit: 1 })).not.toContain("2");
  expect(await ids({ text: "zeppelin" })).toEqual([]);
  expect(await failure(client.searchMemory({ text: "tram" }))).toMatchObject({ reason: "INVALID_FIELD" });
  expect(await failure(client.searchMemory({ sessionId: "sought", text: "tram", mode: "hybrid" }))).toMatchObject({
    reason: "EMBEDDINGS_NOT_CONFIGURED",
  });
});

test("any key of metadata survives", async () => {
  const client = connect();
  const metadata = JSON.parse(
    '{"__proto__": {"x": 1}, "a.b": 1, "$set": [null, 1.5], "": "", "constructor": false}',
  ) as JsonObject;
  const session = await client.createSession({ sessionId: "keys", metadata });
  expect(JSON.stringify(session.metadata)).toBe(JSON.stringify(metadata));
  expect(JSON.stringify((await client.getSession({ sessionId: "keys" })).metadata)).toBe(JSON.stringify(metadata));
});

test("users are created, updated, listed, deleted, restored and purged", async () => {
  const client = connect();
  await client.createUser({ userId: "u1", lastName: "Ng", metadata: { a: 1 } });
  await client.createUser({ userId: "u2" });
  const updated = await client.updateUser({ userId: "u1", email: "n@example.org" });
  expect(updated).toMatchObject({ lastName: "Ng", email: "n@example.org", metadata: { a: 1 }, sessionCount: 0 });
  expect((await collect(client.listUsers())).map(({ userId }) => userId)).toEqual(expect.arrayContaining(["u1", "u2"]));
  await client.addMemory({ sessionId: "of-u1", userId: "u1", messages: [{ content: "hi" }] });
  expect((await client.deleteUser({ userId: "u1" })).deleteTime).toBeInstanceOf(Date);
  await client.undeleteUser({ userId: "u1", restoreSessions: true });
  expect((await client.getUser({ userId: "u1" })).sessionCount).toBe(1);
  const purged = await client.purgeUser({ userId: "u1" });
  expect(purged).toMatchObject({ purgedSessions: 1, purgedMessages: 1 });
  expect(purged.receipt).toMatchObject({ purgedSessions: 1, purgedMessages: 1, beginTime: expect.any(Date) });
  expect(await collect(client.listErasures())).toContainEqual(purged.receipt);
});

test("sessions are listed by user, metadata, time and order", async () => {
  const client = connect();
  for (const n of [1, 2, 3]) {
    await client.createSession({ sessionId: `order-${n}`, metadata: { list: { of: "order" }, odd: n % 2 === 1 } });
  }
  const first = await client.getSession({ sessionId: "order-1" });
  await client.updateSession({ sessionId: "order-1", metadata: {} });
  type Narrowed = Omit<ListSessionsRequest, "metadata"> & { readonly odd?: boolean };
  const ids = async ({ odd, ...rest }: Narrowed) => {
    const metadata = { list: { of: "order" }, ...(odd !== undefined && { odd }) };
    return (await collect(client.listSessions({ ...rest, metadata }))).map(({ sessionId }) => sessionId);
  };
  expect(await ids({})).toEqual(["order-1", "order-2", "order-3"]);
  expect(await ids({ descending: true, odd: true })).toEqual(["order-3", "order-1"]);
  expect(await ids({ order: "updateTime" })).toEqual(["order-2", "order-3", "order-1"]);
  expect(await ids({ createdAfter: first.createTime })).not.toContain("order-1");
  const createTime = new Date("2024-05-01T10:00:00Z");
  await client.addMemory({ sessionId: "order-2", messages: [{ content: "x", createTime }] });
  expect(await ids({ lastMessageAfter: new Date(createTime.getTime() - 1) })).toEqual(["order-2"]);
  expect(await ids({ lastMessageBefore: createTime })).toEqual([]);
});

test("what was soft-deleted is counted and purged", async () => {
  const client = connect();
  await client.addMemory({ sessionId: "gone", messages: [{ content: "1" }, { content: "2" }] });
  await client.deleteSession({ sessionId: "gone" });
  const wouldGo = await client.purgeDeleted({ olderThanMs: 0, dryRun: true });
  expect(wouldGo.purgedSessions).toBeGreaterThanOrEqual(1);
  expect(await client.purgeDeleted({ olderThanMs: 3_600_000 })).toMatchObject({ purgedSessions: 0 });
  expect(await client.purgeDeleted({ olderThanMs: 0 })).toEqual(wouldGo);
  expect((await failure(client.getSession({ sessionId: "gone", showDeleted: true }))).code).toBe("NOT_FOUND");
});

test("a page has the cursor of the next one", async () => {
  const client = connect();
  await client.addMemory({ sessionId: "pages", messages: Array.from({ length: 25 }, () => ({ content: "x" })) });
  const request = { sessionId: "pages", limit: 10, chunkSize: 4 };
  const first = await client.listMessages(request).page();
  const second = await client.listMessages({ ...request, cursor: first.nextCursor }).page();
  const third = await client.listMessages({ ...request, cursor: second.nextCursor }).page();
  const sequences = [first, second, third].flatMap(({ items }) => items.map(({ sequence }) => sequence));
  expect(sequences).toEqual(Array.from({ length: 25 }, (_, index) => index + 1));
  expect(third.nextCursor).toBe("");

  const sizes: number[] = [];
  for await (const { items } of client.listMessages(request).chunks()) sizes.push(items.length);
  expect(sizes).toEqual([4, 4, 2]);
});
