import { afterAll, beforeAll, expect, test } from "vitest";
import {
  millis,
  newId,
  refusal,
  sessionExists,
  sessionNotFound,
  sessionSoftDeleted,
  texts,
  userNotUsable,
} from "../support/contract.js";
import { startService, type TestService } from "../support/service.js";

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.stop());

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

test("a new session is empty, live, and read as it was answered", async () => {
  const sessionId = newId();
  const before = Date.now();
  const { session } = await service.sessions.createSession({ sessionId });
  expect(session).toMatchObject({
    sessionId,
    uid: expect.stringMatching(UUID),
    userId: undefined,
    metadata: {},
    updateTime: session?.createTime,
    lastMessageTime: undefined,
    deleteTime: undefined,
    purgeTime: undefined,
    messageCount: 0,
    etag: expect.stringMatching(/^.{1,64}$/),
  });
  expect(millis(session?.createTime)).toBeGreaterThan(before - 1000);
  expect(millis(session?.createTime)).toBeLessThan(Date.now() + 1000);
  expect((await service.sessions.getSession({ sessionId })).session).toEqual(session);
});

test("a new session keeps its metadata and belongs to its user", async () => {
  const [sessionId, userId] = [newId(), newId("user")];
  await service.users.createUser({ userId });
  const { session } = await service.sessions.createSession({ sessionId, userId, metadata: { a: { b: [1, null] } } });
  expect(session).toMatchObject({ userId, metadata: { a: { b: [1, null] } } });
  expect((await service.sessions.getSession({ sessionId })).session).toEqual(session);
});

test("creating an id that exists is refused and changes nothing", async () => {
  const sessionId = newId();
  await service.sessions.createSession({ sessionId, metadata: { a: 1 } });
  await service.memory.addMemory({ sessionId, messages: texts("hello") });
  const before = await service.sessions.getSession({ sessionId });
  const again = service.sessions.createSession({ sessionId, metadata: { b: 2 } });
  expect(await refusal(again)).toEqual(sessionExists(sessionId));
  expect(await service.sessions.getSession({ sessionId })).toEqual(before);
});

test("creating a soft-deleted id is refused and leaves it deleted, with its memory restorable", async () => {
  const sessionId = newId();
  await service.memory.addMemory({ sessionId, messages: texts("hello") });
  const { session: deleted } = await service.sessions.deleteSession({ sessionId });
  expect(await refusal(service.sessions.createSession({ sessionId, metadata: { b: 2 } }))).toEqual(
    sessionSoftDeleted(sessionId),
  );
  expect((await service.sessions.getSession({ sessionId, showDeleted: true })).session).toEqual(deleted);
  const { session } = await service.sessions.undeleteSession({ sessionId, restoreMemory: true });
  expect(session).toMatchObject({ messageCount: 1, metadata: {} });
});

test("a session of an unknown user is refused and not stored", async () => {
  const [sessionId, userId] = [newId(), newId("user")];
  expect(await refusal(service.sessions.createSession({ sessionId, userId }))).toEqual(userNotUsable(userId));
  expect(await refusal(service.sessions.getSession({ sessionId, showDeleted: true }))).toEqual(
    sessionNotFound(sessionId),
  );
});

test("a session of a deleted user is refused and not stored", async () => {
  const [sessionId, userId] = [newId(), newId("user")];
  await service.users.createUser({ userId });
  await service.users.deleteUser({ userId });
  expect(await refusal(service.sessions.createSession({ sessionId, userId }))).toEqual(userNotUsable(userId));
  expect(await refusal(service.sessions.getSession({ sessionId, showDeleted: true }))).toEqual(
    sessionNotFound(sessionId),
  );
});

test("of many who create one id at once, exactly one succeeds", async () => {
  const sessionId = newId();
  const calls = Array.from({ length: 10 }, (_, n) => service.sessions.createSession({ sessionId, metadata: { n } }));
  const outcomes = await Promise.allSettled(calls);
  const [created, ...others] = outcomes.flatMap((outcome) =>
    outcome.status === "fulfilled" ? [outcome.value.session] : [],
  );
  expect(others).toEqual([]);
  expect((await service.sessions.getSession({ sessionId })).session).toEqual(created);
  for (const [index, { status }] of outcomes.entries()) {
    if (status === "rejected")
      expect(await refusal(calls[index] as Promise<unknown>)).toEqual(sessionExists(sessionId));
  }
});

test("a missing session is not found, also with show_deleted", async () => {
  const sessionId = newId();
  expect(await refusal(service.sessions.getSession({ sessionId }))).toEqual(sessionNotFound(sessionId));
  expect(await refusal(service.sessions.getSession({ sessionId, showDeleted: true }))).toEqual(
    sessionNotFound(sessionId),
  );
});

test("a soft-deleted session is not found unless it is asked for", async () => {
  const sessionId = newId();
  await service.sessions.createSession({ sessionId });
  const { session: deleted } = await service.sessions.deleteSession({ sessionId });
  expect(await refusal(service.sessions.getSession({ sessionId }))).toEqual(sessionNotFound(sessionId));
  expect((await service.sessions.getSession({ sessionId, showDeleted: true })).session).toEqual(deleted);
});

test("a batch answers in the order of the request, twice for an id that comes twice, and names what is missing", async () => {
  const [a, b, gone, never] = [newId("a"), newId("b"), newId("gone"), newId("never")];
  for (const sessionId of [a, b, gone]) await service.sessions.createSession({ sessionId });
  await service.sessions.deleteSession({ sessionId: gone });
  const batch = await service.sessions.batchGetSessions({ sessionIds: [never, b, gone, a, b, never] });
  expect(batch.sessions.map(({ sessionId }) => sessionId)).toEqual([b, a, b]);
  expect(batch.missingSessionIds).toEqual([never, gone, never]);
  expect(batch.sessions[1]).toEqual((await service.sessions.getSession({ sessionId: a })).session);
});

test("a session that is purged and created again is another one", async () => {
  const sessionId = newId();
  const { session: first } = await service.sessions.createSession({ sessionId, metadata: { a: 1 } });
  await service.sessions.purgeSession({ sessionId });
  const { session: second } = await service.sessions.createSession({ sessionId });
  expect(second?.uid).not.toBe(first?.uid);
  expect(second?.metadata).toEqual({});
});
