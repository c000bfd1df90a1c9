import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import type { Session } from "../../gen/sessions/v1/resources.js";
import {
  aMoment,
  invalid,
  millis,
  newId,
  refusal,
  sessionNotFound,
  texts,
  timestamp,
  until,
  withIds,
} from "../support/contract.js";
import { expiresAt, expireTime, idleTtl } from "../support/expiry.js";
import { startService, type TestService } from "../support/service.js";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const RETENTION = 30 * DAY;

/** It looks for what has expired every 25 ms. */
let service: TestService;
let stored: TestService["database"]["sessions"];
beforeAll(async () => {
  service = await startService({ purgeIntervalMs: 100, retentionMs: RETENTION });
  stored = service.database.sessions;
});
afterAll(() => service.stop());

const shown = async (sessionId: string): Promise<Session> => {
  const { session } = await service.sessions.getSession({ sessionId, showDeleted: true });
  if (!session) throw new Error("unreachable");
  return session;
};
const isLive = async (sessionId: string) => (await shown(sessionId)).deleteTime === undefined;
const expired = (sessionId: string) => until(async () => !(await isLive(sessionId)));
const memoryOf = async (sessionId: string) =>
  (await service.memory.getMemory({ sessionId })).messages.map(({ content }) => content);
/** Long enough for several looks. */
const severalLooks = async () => {
  const sessionId = newId("marker");
  await service.sessions.createSession({ sessionId, expiry: idleTtl(1) });
  await expired(sessionId);
};

describe("a session with an expire_time", () => {
  it("says when it expires, in every answer that has it", async () => {
    const sessionId = newId();
    const at = Date.now() + HOUR;
    const expected = { expiry: expireTime(at), expiresAt: timestamp(at) };
    const { session } = await service.sessions.createSession({ sessionId, expiry: expireTime(at) });
    expect(session).toMatchObject(expected);
    await service.memory.addMemory({ sessionId, messages: texts("a") });
    expect((await service.sessions.getSession({ sessionId })).session).toMatchObject(expected);
    expect((await service.memory.getMemory({ sessionId })).session).toMatchObject(expected);
    expect((await service.sessions.batchGetSessions({ sessionIds: [sessionId] })).sessions).toMatchObject([expected]);
    const listed = await service.sessions.listSessions({ createdAfter: timestamp(millis(session?.createTime) - 1) });
    const found = listed.flatMap(({ sessions }) => sessions).find((one) => one.sessionId === sessionId);
    expect(found).toEqual((await service.sessions.getSession({ sessionId })).session);
    expect((await service.memory.clearMemory({ sessionId })).session).toMatchObject(expected);
  });

  it("is soft-deleted then with its memory, not before, and counted no more", async () => {
    const sessionId = newId();
    const userId = newId("user");
    await service.users.createUser({ userId });
    const expiry = expireTime(Date.now() + HOUR);
    await service.memory.addMemory({ sessionId, userId, messages: texts("a", "b"), expiry });
    await severalLooks();
    expect(await memoryOf(sessionId)).toEqual(["a", "b"]);
    // As if all but the last of the hour had passed.
    const at = new Date(Date.now() + 200);
    await stored.updateOne({ _id: `default/${sessionId}` }, { $set: { expireTime: at, expiresAt: at } });
    await expired(sessionId);
    const session = await shown(sessionId);
    const deletedAt = millis(session.deleteTime);
    expect(deletedAt).toBeGreaterThanOrEqual(at.getTime());
    expect(millis(session.purgeTime)).toBe(deletedAt + RETENTION);
    expect(session).toMatchObject({ messageCount: 0, lastMessageTime: undefined });
    expect(millis(session.updateTime)).toBe(deletedAt);
    expect(await memoryOf(sessionId)).toEqual([]);
    expect(await refusal(service.sessions.getSession({ sessionId }))).toEqual(sessionNotFound(sessionId));
    expect((await service.users.getUser({ userId })).user).toMatchObject({ sessionCount: 0 });
    expect(await service.sessions.listSessions({ userId })).toEqual([]);
  });

  it("is left alone by what is added", async () => {
    const sessionId = newId();
    const at = Date.now() + HOUR;
    await service.sessions.createSession({ sessionId, expiry: expireTime(at) });
    await service.memory.addMemory({ sessionId, messages: texts("a") });
    expect(await shown(sessionId)).toMatchObject({ expiresAt: timestamp(at) });
  });

  it("of a part of a millisecond expires with the whole one", async () => {
    const seconds = Math.floor(Date.now() / 1000) + 3_600;
    const expiry = { $case: "expireTime" as const, value: { seconds, nanos: 1_000_001 } };
    const { session } = await service.sessions.createSession({ sessionId: newId(), expiry });
    expect(session).toMatchObject({ expiry: expireTime(seconds * 1000 + 2) });
    const last = { $case: "expireTime" as const, value: { seconds: 253_402_300_799, nanos: 999_999_999 } };
    const { session: eternal } = await service.sessions.createSession({ sessionId: newId(), expiry: last });
    expect(eternal?.expiresAt).toEqual({ seconds: 253_402_300_799, nanos: 999_000_000 });
  });
});

describe("a session with an idle_ttl", () => {
  it("expires so long after its creation while it has no message, and then after the last one", async () => {
    const sessionId = newId();
    const { session: created } = await service.sessions.createSession({ sessionId, expiry: idleTtl(HOUR) });
    expect(created).toMatchObject({ expiry: idleTtl(HOUR) });
    expect(expiresAt(created)).toBe(millis(created?.createTime) + HOUR);
    for (const text of ["a", "b"]) {
      await aMoment();
      await service.memory.addMemory({ sessionId, messages: texts(text) });
      const session = await shown(sessionId);
      expect(expiresAt(session)).toBe(millis(session.lastMessageTime) + HOUR);
      // It is no change of the session itself.
      expect(session.etag).toBe(created?.etag);
    }
  });

  it("is soft-deleted when nothing was added for so long, not before", async () => {
    const sessionId = newId();
    await service.memory.addMemory({ sessionId, messages: texts("a"), expiry: idleTtl(HOUR) });
    for (const text of ["b", "c"]) await service.memory.addMemory({ sessionId, messages: texts(text) });
    const { session } = await service.sessions.updateSession({ sessionId, expiry: idleTtl(300) });
    await expired(sessionId);
    expect(expiresAt(session)).toBe(millis(session?.lastMessageTime) + 300);
    expect(millis((await shown(sessionId)).deleteTime)).toBeGreaterThanOrEqual(expiresAt(session) ?? 0);
  });

  it("lives on when old messages are imported: when they were added counts, not when they were made", async () => {
    const sessionId = newId();
    const before = Date.now();
    const old = { content: "a", createTime: timestamp(Date.UTC(2001, 1, 3)) };
    await service.memory.addMemory({ sessionId, messages: [old], expiry: idleTtl(HOUR) });
    const session = await shown(sessionId);
    expect(millis(session.lastMessageTime)).toBe(Date.UTC(2001, 1, 3));
    expect(expiresAt(session)).toBeGreaterThanOrEqual(before + HOUR);
    await severalLooks();
    expect(await isLive(sessionId)).toBe(true);
  });

  it("keeps what its messages have given when they are deleted or cleared", async () => {
    const sessionId = newId();
    await service.sessions.createSession({ sessionId, expiry: idleTtl(HOUR) });
    await aMoment();
    await service.memory.addMemory({ sessionId, messages: withIds("m1", "m2") });
    const { expiresAt: moment } = await shown(sessionId);
    await service.memory.deleteMessage({ sessionId, messageId: "m2" });
    expect(await shown(sessionId)).toMatchObject({ expiresAt: moment, messageCount: 1 });
    await service.memory.clearMemory({ sessionId });
    expect(await shown(sessionId)).toMatchObject({ expiresAt: moment, messageCount: 0 });
  });

  it("is not moved by a repetition, by an addition of nothing, or by changes of what is there", async () => {
    const sessionId = newId();
    await service.memory.addMemory({ sessionId, messages: withIds("m1"), expiry: idleTtl(HOUR) });
    const { expiresAt: moment } = await shown(sessionId);
    await aMoment();
    await service.memory.addMemory({ sessionId, messages: withIds("m1") });
    await service.memory.addMemory({ sessionId, messages: [] });
    await service.memory.updateMessage({ sessionId, messageId: "m1", metadata: { a: 1 } });
    await service.memory.setSummary({ sessionId, recentMessageId: "m1", content: "so far" });
    await service.sessions.updateSession({ sessionId, metadata: { a: 1 } });
    expect(await shown(sessionId)).toMatchObject({ expiresAt: moment });
  });

  it("of a part of a millisecond counts it as a whole one", async () => {
    const expiry = { $case: "idleTtl" as const, value: { seconds: 3_600, nanos: 1 } };
    const { session } = await service.sessions.createSession({ sessionId: newId(), expiry });
    expect(session).toMatchObject({ expiry: idleTtl(HOUR + 1) });
  });
});

describe("AddMemory", () => {
  it("gives an expiry only to a session that it creates", async () => {
    const sessionId = newId();
    await service.memory.addMemory({ sessionId, messages: texts("a") });
    await service.memory.addMemory({ sessionId, messages: texts("b"), expiry: idleTtl(1) });
    expect(await shown(sessionId)).toMatchObject({ expiry: undefined, expiresAt: undefined });
    await service.sessions.deleteSession({ sessionId });
    await service.memory.addMemory({ sessionId, messages: texts("b"), expiry: idleTtl(1) });
    expect(await shown(sessionId)).toMatchObject({ expiry: undefined, expiresAt: undefined });
  });

  it("can be repeated when its expire_time has passed, and is refused then only where it would create", async () => {
    const sessionId = newId();
    const request = { sessionId, messages: withIds("m1") };
    const answer = await service.memory.addMemory(request);
    const expiry = expireTime(Date.now() - 1);
    expect(await service.memory.addMemory({ ...request, expiry })).toEqual(answer);
    const elsewhere = { ...request, sessionId: newId(), expiry };
    expect(await refusal(service.memory.addMemory(elsewhere))).toEqual(invalid("expire_time"));
  });
});

describe("UpdateSession", () => {
  it("sets, replaces, leaves and clears an expiry, each a change of the session", async () => {
    const sessionId = newId();
    const at = Date.now() + HOUR;
    const { session: created } = await service.sessions.createSession({ sessionId });
    expect(created).toMatchObject({ expiry: undefined, expiresAt: undefined });
    const { session: timed } = await service.sessions.updateSession({ sessionId, expiry: expireTime(at) });
    expect(timed).toMatchObject({ expiry: expireTime(at), expiresAt: timestamp(at) });
    const { session: idle } = await service.sessions.updateSession({ sessionId, expiry: idleTtl(DAY) });
    expect(idle).toMatchObject({ expiry: idleTtl(DAY), expiresAt: timestamp(millis(created?.createTime) + DAY) });
    const { session: left } = await service.sessions.updateSession({ sessionId, metadata: { a: 1 } });
    expect(left).toMatchObject({ expiry: idleTtl(DAY), expiresAt: idle?.expiresAt });
    const { session: cleared } = await service.sessions.updateSession({ sessionId, clearExpiry: true });
    expect(cleared).toMatchObject({ expiry: undefined, expiresAt: undefined });
    const etags = [created, timed, idle, left, cleared].map((session) => session?.etag);
    expect(new Set(etags).size).toBe(5);
    expect(await shown(sessionId)).toEqual(cleared);
  });

  it("counts an idle_ttl from when the newest message was added, without one from the creation", async () => {
    const sessionId = newId();
    await service.sessions.createSession({ sessionId });
    await aMoment();
    await service.memory.addMemory({ sessionId, messages: texts("a") });
    await aMoment();
    const { session } = await service.sessions.updateSession({ sessionId, expiry: idleTtl(HOUR) });
    expect(expiresAt(session)).toBe(millis(session?.lastMessageTime) + HOUR);
  });

  it("counts an idle_ttl on from where another one has begun: what has come back, or had its messages deleted, does not end", async () => {
    const [back, deleted] = [newId(), newId()];
    for (const sessionId of [back, deleted]) {
      await service.memory.addMemory({ sessionId, messages: withIds("m1", "m2"), expiry: idleTtl(HOUR) });
      await aMoment();
    }
    await service.sessions.deleteSession({ sessionId: back });
    await service.sessions.undeleteSession({ sessionId: back, restoreMemory: true });
    await service.memory.addMemory({ sessionId: deleted, messages: withIds("m3") });
    await service.memory.deleteMessage({ sessionId: deleted, messageId: "m3" });
    for (const sessionId of [back, deleted]) {
      const before = expiresAt(await shown(sessionId)) ?? 0;
      const { session } = await service.sessions.updateSession({ sessionId, expiry: idleTtl(HOUR + 5) });
      expect(expiresAt(session)).toBe(before + 5);
      const { session: shorter } = await service.sessions.updateSession({ sessionId, expiry: idleTtl(HOUR / 2) });
      expect(expiresAt(shorter)).toBe(before - HOUR / 2);
    }
  });

  it("has a session that has been idle for longer expire soon", async () => {
    const sessionId = newId();
    await service.memory.addMemory({ sessionId, messages: texts("a") });
    await aMoment();
    await service.sessions.updateSession({ sessionId, expiry: idleTtl(1) });
    await expired(sessionId);
  });

  it("that clears an expiry leaves nothing of it, as in a session that never had one", async () => {
    const [cleared, plain] = [newId(), newId()];
    for (const sessionId of [cleared, plain]) await service.sessions.createSession({ sessionId });
    for (const expiry of [idleTtl(HOUR), expireTime(Date.now() + HOUR)]) {
      await service.sessions.updateSession({ sessionId: cleared, expiry });
      await service.sessions.updateSession({ sessionId: cleared, clearExpiry: true });
    }
    const [one, other] = await Promise.all([cleared, plain].map((id) => stored.findOne({ _id: `default/${id}` })));
    expect(Object.keys(one ?? {}).sort()).toEqual(Object.keys(other ?? {}).sort());
  });

  it("of a soft-deleted session is NOT_FOUND, and a wrong etag changes nothing", async () => {
    const sessionId = newId();
    await service.sessions.createSession({ sessionId });
    const update = { sessionId, expiry: idleTtl(HOUR) };
    expect(await refusal(service.sessions.updateSession({ ...update, etag: "x" }))).toMatchObject({ code: "ABORTED" });
    expect(await shown(sessionId)).toMatchObject({ expiry: undefined });
    await service.sessions.deleteSession({ sessionId });
    expect(await refusal(service.sessions.updateSession(update))).toEqual(sessionNotFound(sessionId));
  });
});

describe("what is refused", () => {
  const DURATION_FAULTS = [
    { seconds: 0, nanos: 0 },
    { seconds: -1, nanos: 0 },
    { seconds: 1, nanos: -1 },
    { seconds: 1, nanos: 1_000_000_000 },
    { seconds: 36_500 * 86_400, nanos: 1 },
  ].map((value) => ({ $case: "idleTtl" as const, value }));
  const TIME_FAULTS = [
    { seconds: 253_402_300_800, nanos: 0 },
    { seconds: 0, nanos: -1 },
  ].map((value) => ({ $case: "expireTime" as const, value }));
  const PAST = expireTime(Date.now() - HOUR);

  it.each([...DURATION_FAULTS, ...TIME_FAULTS])("%j, by every method that takes one", async (expiry) => {
    const sessionId = newId();
    const fault = invalid(expiry.$case === "idleTtl" ? "idle_ttl" : "expire_time");
    expect(await refusal(service.sessions.createSession({ sessionId, expiry }))).toEqual(fault);
    expect(await refusal(service.memory.addMemory({ sessionId, expiry }))).toEqual(fault);
    expect(await refusal(service.sessions.updateSession({ sessionId, expiry }))).toEqual(fault);
  });

  it("a moment that has passed, an expiry that is also to be cleared, and all faults at once", async () => {
    const sessionId = newId();
    expect(await refusal(service.sessions.createSession({ sessionId: "", expiry: PAST }))).toEqual(
      invalid("session_id", "expire_time"),
    );
    expect(await refusal(service.memory.addMemory({ sessionId, expiry: PAST }))).toEqual(invalid("expire_time"));
    const both = { sessionId, expiry: idleTtl(0), clearExpiry: true };
    expect(await refusal(service.sessions.updateSession(both))).toEqual(invalid("idle_ttl", "clear_expiry"));
    expect(await refusal(service.sessions.getSession({ sessionId, showDeleted: true }))).toMatchObject({
      code: "NOT_FOUND",
    });
  });

  it("but not the longest idle_ttl", async () => {
    const expiry = { $case: "idleTtl" as const, value: { seconds: 36_500 * 86_400, nanos: 0 } };
    expect((await service.sessions.createSession({ sessionId: newId(), expiry })).session).toMatchObject({ expiry });
  });
});

describe("what comes back", () => {
  const NONE = { expiry: undefined, expiresAt: undefined, deleteTime: undefined };

  it("of what has expired has no expiry any more: with its memory, without it, and when it is added to", async () => {
    const [whole, empty, added] = [newId(), newId(), newId()];
    for (const sessionId of [whole, empty, added])
      await service.memory.addMemory({ sessionId, messages: texts("old"), expiry: idleTtl(100) });
    await Promise.all([whole, empty, added].map(expired));
    expect(await shown(whole)).toMatchObject({ expiry: undefined, expiresAt: undefined });
    const { session } = await service.sessions.undeleteSession({ sessionId: whole, restoreMemory: true });
    expect(session).toMatchObject(NONE);
    await service.sessions.undeleteSession({ sessionId: empty });
    expect(await service.memory.addMemory({ sessionId: added, messages: texts("new") })).toMatchObject({
      sessionCreated: false,
      sessionUndeleted: true,
    });
    await severalLooks();
    for (const sessionId of [whole, empty, added]) expect(await shown(sessionId)).toMatchObject(NONE);
    expect(await memoryOf(whole)).toEqual(["old"]);
    expect(await memoryOf(empty)).toEqual([]);
    expect(await memoryOf(added)).toEqual(["new"]);
  });

  it("of what was deleted by hand keeps its idle_ttl, counted anew", async () => {
    const [undeleted, revived] = [newId(), newId()];
    for (const sessionId of [undeleted, revived]) {
      await service.sessions.createSession({ sessionId, expiry: idleTtl(HOUR) });
      const { session } = await service.sessions.deleteSession({ sessionId });
      expect(session).toMatchObject({ expiry: idleTtl(HOUR), expiresAt: undefined });
      expect(await shown(sessionId)).toEqual(session);
    }
    await aMoment();
    const { session } = await service.sessions.undeleteSession({ sessionId: undeleted });
    expect(session).toMatchObject({ expiry: idleTtl(HOUR) });
    expect(expiresAt(session)).toBe(millis(session?.updateTime) + HOUR);
    await service.memory.addMemory({ sessionId: revived, messages: texts("a") });
    const again = await shown(revived);
    expect(expiresAt(again)).toBe(millis(again.lastMessageTime) + HOUR);
  });

  it("of what was deleted by hand keeps an expire_time to come, and loses one that has passed", async () => {
    const sessionId = newId();
    const expiry = expireTime(Date.now() + HOUR);
    await service.sessions.createSession({ sessionId, expiry });
    await service.sessions.deleteSession({ sessionId });
    const { session } = await service.sessions.undeleteSession({ sessionId });
    expect(session).toMatchObject({ expiry, expiresAt: expiry.value });
    await service.sessions.deleteSession({ sessionId });
    // As if the hour had passed.
    await stored.updateOne({ _id: `default/${sessionId}` }, { $set: { expireTime: new Date(Date.now() - 1) } });
    expect((await service.sessions.undeleteSession({ sessionId })).session).toMatchObject(NONE);
  });

  it("with its user keeps its expiry, and does not expire while they are deleted", async () => {
    const [sessionId, userId] = [newId(), newId("user")];
    await service.users.createUser({ userId });
    await service.memory.addMemory({ sessionId, userId, messages: texts("a"), expiry: idleTtl(HOUR) });
    await service.users.deleteUser({ userId });
    expect(await shown(sessionId)).toMatchObject({ expiry: idleTtl(HOUR), expiresAt: undefined });
    await service.users.undeleteUser({ userId, restoreSessions: true });
    const restored = await shown(sessionId);
    expect(restored).toMatchObject({ expiry: idleTtl(HOUR), messageCount: 1 });
    expect(expiresAt(restored)).toBe(millis(restored.updateTime) + HOUR);
    expect((await service.users.getUser({ userId })).user).toMatchObject({ sessionCount: 1 });
    await service.sessions.updateSession({ sessionId, expiry: idleTtl(1) });
    await expired(sessionId);
    expect((await service.users.getUser({ userId })).user).toMatchObject({ sessionCount: 0 });
  });
});

it("what has expired is purged like anything else", async () => {
  const own = await startService({ purgeIntervalMs: 100, retentionMs: 0 });
  onTestFinished(own.stop);
  const sessionId = newId();
  await own.memory.addMemory({ sessionId, messages: texts("a"), expiry: idleTtl(50) });
  const { sessions, messages } = own.database;
  await until(async () => (await sessions.countDocuments()) + (await messages.countDocuments()) === 0);
});

describe("with a default idle time to live", () => {
  it("a session that says nothing gets it, however it is created, and another its own", async () => {
    const own = await startService({ defaultIdleTtlMs: DAY, httpListen: { host: "127.0.0.1", port: 0 } });
    onTestFinished(own.stop);
    const get = async (sessionId: string) => (await own.sessions.getSession({ sessionId })).session;
    await own.sessions.createSession({ sessionId: "created" });
    await own.memory.addMemory({ sessionId: "added", messages: texts("a") });
    const zep = `http://${own.server.httpAddress}/api/v1/sessions`;
    await fetch(`${zep}/zep/memory`, { method: "POST", body: JSON.stringify({ messages: [{ content: "a" }] }) });
    for (const sessionId of ["created", "added", "zep"]) {
      const session = await get(sessionId);
      expect(session).toMatchObject({ expiry: idleTtl(DAY) });
      expect(expiresAt(session)).toBe(millis(session?.lastMessageTime ?? session?.createTime) + DAY);
    }
    const at = Date.now() + HOUR;
    await own.sessions.createSession({ sessionId: "timed", expiry: expireTime(at) });
    await own.memory.addMemory({ sessionId: "own", expiry: idleTtl(HOUR) });
    expect(await get("timed")).toMatchObject({ expiry: expireTime(at) });
    expect(await get("own")).toMatchObject({ expiry: idleTtl(HOUR) });
    await own.sessions.updateSession({ sessionId: "created", clearExpiry: true });
    await own.memory.addMemory({ sessionId: "created", messages: texts("a") });
    expect(await get("created")).toMatchObject({ expiry: undefined, expiresAt: undefined });
  });
});
