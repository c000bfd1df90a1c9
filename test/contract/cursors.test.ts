import { afterAll, beforeAll, expect, test } from "vitest";
import { aMoment, invalidCursor, newId, refusal, texts } from "../support/contract.js";
import { startService, type TestService } from "../support/service.js";

let service: TestService;
let userId: string;
let sessionId: string;
let cursors: { sessions: string; messages: string; users: string; erasures: string };

beforeAll(async () => {
  service = await startService();
  [userId, sessionId] = [newId("user"), newId()];
  for (const id of [userId, newId("user")]) await service.users.createUser({ userId: id });
  await service.memory.addMemory({ sessionId, userId, sessionMetadata: { a: 1, b: [2] }, messages: texts("a", "b") });
  await service.memory.addMemory({
    sessionId: newId(),
    userId,
    sessionMetadata: { a: 1, b: [2] },
    messages: texts("c"),
  });
  for (const id of [newId("gone"), newId("gone")]) {
    await service.users.createUser({ userId: id });
    await service.users.purgeUser({ userId: id });
  }
  cursors = {
    sessions: (await service.sessions.listSessions({ ...FILTERS, userId, limit: 1 })).at(-1)?.nextCursor as string,
    messages: (await service.memory.listMessages({ sessionId, limit: 1 })).at(-1)?.nextCursor as string,
    users: (await service.users.listUsers({ limit: 1 })).at(-1)?.nextCursor as string,
    erasures: (await service.purge.listErasures({ limit: 1 })).at(-1)?.nextCursor as string,
  };
});
afterAll(() => service.stop());

const FILTERS = {
  metadata: { a: 1, b: [2] },
  createdAfter: { seconds: 5, nanos: 0 },
  createdBefore: { seconds: 4_000_000_000, nanos: 0 },
  lastMessageAfter: { seconds: 5, nanos: 0 },
  lastMessageBefore: { seconds: 4_000_000_000, nanos: 0 },
  order: 1 as const,
  descending: false,
  showDeleted: false,
};

const listSessions = (changed: object) =>
  service.sessions.listSessions({ ...FILTERS, userId, cursor: cursors.sessions, ...changed });

test("a cursor fits the listing that it is from, also with another limit, chunk size or order of keys", async () => {
  expect(cursors.sessions).not.toBe("");
  for (const same of [{}, { limit: 5 }, { chunkSize: 1 }, { metadata: { b: [2], a: 1 } }, { order: 0 }]) {
    const [chunk] = await listSessions(same);
    expect(chunk?.sessions).toHaveLength(1);
  }
});

test("a cursor does not fit when any filter or the order has changed", async () => {
  const changes: object[] = [
    { userId: undefined },
    { userId: newId("user") },
    { metadata: undefined },
    { metadata: { a: 1 } },
    { metadata: { a: 1, b: [3] } },
    { metadata: { a: "1", b: [2] } },
    { createdAfter: undefined },
    { createdAfter: { seconds: 6, nanos: 0 } },
    { createdBefore: undefined },
    { createdBefore: { seconds: 4_000_000_001, nanos: 0 } },
    { lastMessageAfter: undefined },
    { lastMessageAfter: { seconds: 6, nanos: 0 } },
    { lastMessageBefore: undefined },
    { lastMessageBefore: { seconds: 4_000_000_001, nanos: 0 } },
    { order: 2 },
    { order: 3 },
    { descending: true },
    { showDeleted: true },
  ];
  for (const change of changes) {
    expect(await refusal(listSessions(change)), JSON.stringify(change)).toEqual(invalidCursor);
  }
});

test("a cursor of messages fits its session and direction only", async () => {
  const cursor = cursors.messages;
  expect(await service.memory.listMessages({ sessionId, cursor })).toHaveLength(1);
  expect(await refusal(service.memory.listMessages({ sessionId, cursor, descending: true }))).toEqual(invalidCursor);
  expect(await refusal(service.memory.listMessages({ sessionId: newId(), cursor }))).toEqual(invalidCursor);
});

test("a cursor of one kind of listing fits no other", async () => {
  expect(await service.users.listUsers({ cursor: cursors.users })).toHaveLength(1);
  for (const cursor of [cursors.messages, cursors.users]) {
    expect(await refusal(listSessions({ cursor }))).toEqual(invalidCursor);
    expect(await refusal(service.sessions.listSessions({ cursor }))).toEqual(invalidCursor);
  }
  for (const cursor of [cursors.sessions, cursors.users]) {
    expect(await refusal(service.memory.listMessages({ sessionId, cursor }))).toEqual(invalidCursor);
  }
  for (const cursor of [cursors.sessions, cursors.messages, cursors.erasures]) {
    expect(await refusal(service.users.listUsers({ cursor }))).toEqual(invalidCursor);
  }
  expect(await service.purge.listErasures({ cursor: cursors.erasures })).toHaveLength(1);
  expect(await refusal(service.purge.listErasures({ cursor: cursors.users }))).toEqual(invalidCursor);
});

const refusedEverywhere = async (cursor: (good: string) => string, what: string) => {
  expect(await refusal(listSessions({ cursor: cursor(cursors.sessions) })), what).toEqual(invalidCursor);
  expect(await refusal(service.memory.listMessages({ sessionId, cursor: cursor(cursors.messages) })), what).toEqual(
    invalidCursor,
  );
  expect(await refusal(service.users.listUsers({ cursor: cursor(cursors.users) })), what).toEqual(invalidCursor);
  expect(await refusal(service.purge.listErasures({ cursor: cursor(cursors.erasures) })), what).toEqual(invalidCursor);
};

test("garbage is no cursor", async () => {
  const garbage = ["x", " ", "0", "null", "ünï", "../..", "%00", "AAAA", "W10", "e30", "bnVsbA", "a".repeat(100_000)];
  for (const text of garbage) await refusedEverywhere(() => text, text.slice(0, 20));
});

test("a truncated cursor is none, wherever it is cut", async () => {
  for (let length = 1; length < cursors.sessions.length; length += 3) {
    await refusedEverywhere((good) => good.slice(0, Math.min(length, good.length - 1)), `cut at ${length}`);
  }
  await refusedEverywhere((good) => good.slice(0, -1), "without its last character");
  await refusedEverywhere((good) => good.slice(1), "without its first character");
});

test("a cursor with anything added to it is none", async () => {
  for (const extra of ["A", "=", "!", " ", "\n", "x".repeat(10)]) {
    await refusedEverywhere((good) => good + extra, JSON.stringify(`${extra} after`));
    await refusedEverywhere((good) => extra + good, JSON.stringify(`${extra} before`));
  }
});

/** The same cursor with other things in it, as one who has looked into it would make. */
const forged = (change: (parts: unknown[]) => unknown) => (good: string) => {
  const parts = JSON.parse(Buffer.from(good, "base64url").toString()) as unknown[];
  return Buffer.from(JSON.stringify(change(parts))).toString("base64url");
};

test("a forged cursor is none", async () => {
  const forgeries: [string, (parts: unknown[]) => unknown][] = [
    ["another version", ([, ...rest]) => [2, ...rest]],
    ["another listing", ([version, , ...rest]) => [version, "AAAAAAAAAAAAAAAA", ...rest]],
    ["no position", ([version, hash]) => [version, hash]],
    ["a position of text", ([version, hash, , ...rest]) => [version, hash, "1", ...rest]],
    ["a position that is no time", ([version, hash, , ...rest]) => [version, hash, 1e300, ...rest]],
    ["a position with a fraction", ([version, hash, , ...rest]) => [version, hash, 1.5, ...rest]],
    ["no number", ([version, hash, , ...rest]) => [version, hash, null, ...rest]],
    ["an operator", ([version, hash]) => [version, hash, { $gt: 0 }, { $gt: "" }]],
    ["too much", (parts) => [...parts, 1]],
    ["an object", (parts) => ({ ...parts })],
  ];
  for (const [what, change] of forgeries) await refusedEverywhere(forged(change), what);
});

test("a cursor outlives the session and the messages that it points to", async () => {
  const [tag, ids] = [newId("tag"), [newId("1"), newId("2"), newId("3")]];
  for (const id of ids) {
    await service.sessions.createSession({ sessionId: id, metadata: { tag } });
    await aMoment();
  }
  const [page] = await service.sessions.listSessions({ metadata: { tag }, limit: 1 });
  await service.sessions.purgeSession({ sessionId: ids[0] });
  const [rest] = await service.sessions.listSessions({ metadata: { tag }, cursor: page?.nextCursor });
  expect(rest?.sessions.map((session) => session.sessionId)).toEqual(ids.slice(1));
});

test("a cursor in the messages of a session that was erased and made anew is none", async () => {
  const sessionId = newId();
  await service.memory.addMemory({ sessionId, messages: texts("a", "b", "c") });
  const [first] = await service.memory.listMessages({ sessionId, chunkSize: 1 });
  await service.sessions.purgeSession({ sessionId });
  await service.memory.addMemory({ sessionId, messages: texts("d", "e", "f") });
  const stale = service.memory.listMessages({ sessionId, cursor: first?.nextCursor });
  expect(await refusal(stale)).toEqual(invalidCursor);
});
