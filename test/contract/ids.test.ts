import { afterAll, beforeAll, expect, test } from "vitest";
import { invalid, newId, refusal, sessionNotFound, texts } from "../support/contract.js";
import { startService, type TestService } from "../support/service.js";

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.stop());

const ODD = [
  "a/b",
  "/",
  "default/x",
  "../..",
  "ünï",
  "u\u0308ni\u0308",
  "$x",
  "$where",
  "a.b",
  ".",
  "__proto__",
  "constructor",
  "toString",
  "null",
  "0",
  " x ",
  "x",
  "X",
  "*",
  "%00%2F",
  '"quoted" \\ \'',
  "new\u2028line",
  "\ufeffbom",
  "\u{1f9d9}\u200d\u2642\ufe0f",
  "\uffff",
  "𝒳".repeat(256),
  "x".repeat(256),
];

test("odd ids of sessions are each an id of its own, compared byte for byte", async () => {
  for (const sessionId of ODD) await service.sessions.createSession({ sessionId, metadata: { of: sessionId } });
  for (const sessionId of ODD) {
    const { session } = await service.sessions.getSession({ sessionId });
    expect(session).toMatchObject({ sessionId, metadata: { of: sessionId } });
  }
  const { sessions, missingSessionIds } = await service.sessions.batchGetSessions({ sessionIds: ODD });
  expect(sessions.map(({ sessionId }) => sessionId)).toEqual(ODD);
  expect(missingSessionIds).toEqual([]);
  for (const sessionId of ["Ünï", " x", "X ", "a", "b", "b.a", "𝒳".repeat(255)]) {
    expect(await refusal(service.sessions.getSession({ sessionId }))).toEqual(sessionNotFound(sessionId));
  }
});

test("odd ids of messages are each an id of its own within a session", async () => {
  const sessionId = newId();
  await service.memory.addMemory({
    sessionId,
    messages: ODD.map((messageId) => ({ messageId, content: `of ${messageId}` })),
  });
  for (const messageId of ODD) {
    const { message } = await service.memory.getMessage({ sessionId, messageId });
    expect(message).toMatchObject({ messageId, content: `of ${messageId}` });
  }
  const chunks = await service.memory.listMessages({ sessionId });
  expect(chunks.flatMap(({ messages }) => messages.map(({ messageId }) => messageId))).toEqual(ODD);
  const last = ODD.at(-2) as string;
  const { summary } = await service.memory.setSummary({ sessionId, content: "s", recentMessageId: last });
  expect(summary?.recentMessageId).toBe(last);
  expect((await service.memory.getMemory({ sessionId })).messages.map(({ messageId }) => messageId)).toEqual([
    ODD.at(-1),
  ]);
});

test("odd ids of users are each an id of its own, with sessions of their own", async () => {
  for (const [index, userId] of ODD.entries()) {
    await service.users.createUser({ userId, email: `${index}` });
    await service.sessions.createSession({ sessionId: `of-user-${index}`, userId });
  }
  for (const [index, userId] of ODD.entries()) {
    const { user } = await service.users.getUser({ userId });
    expect(user).toMatchObject({ userId, email: `${index}`, sessionCount: 1 });
    const chunks = await service.sessions.listSessions({ userId });
    expect(chunks.flatMap(({ sessions }) => sessions)).toMatchObject([{ sessionId: `of-user-${index}`, userId }]);
  }
});

test("sessions of odd ids can be paged, deleted and restored", async () => {
  const tag = newId();
  const ids = ODD.map((id) => `${[...id].slice(0, 200).join("")}#2`);
  for (const sessionId of ids) {
    await service.memory.addMemory({ sessionId, sessionMetadata: { tag }, messages: texts("hello") });
    await service.sessions.deleteSession({ sessionId });
    const { session } = await service.sessions.undeleteSession({ sessionId, restoreMemory: true });
    expect(session).toMatchObject({ sessionId, messageCount: 1 });
  }
  const paged: string[] = [];
  for (let cursor = ""; ; ) {
    const [chunk] = await service.sessions.listSessions({ metadata: { tag }, limit: 4, cursor });
    paged.push(...(chunk?.sessions ?? []).map(({ sessionId }) => sessionId));
    cursor = chunk?.nextCursor ?? "";
    if (cursor === "") break;
  }
  expect(new Set(paged)).toEqual(new Set(ids));
  expect(paged).toHaveLength(ids.length);
});

const BAD: [string, string][] = [
  ["nothing", ""],
  ["a blank", " "],
  ["blanks of Unicode", "\u00a0\u2003\u3000"],
  ["a line feed in it", "a\nb"],
  ["a zero byte", "a\u0000"],
  ["an escape", "\u001b[0m"],
  ["a delete", "a\u007f"],
  ["a C1 control", "a\u0085b"],
  ["257 letters", "x".repeat(257)],
  ["257 astral characters", "𝒳".repeat(257)],
  ["very many letters", "x".repeat(100_000)],
];

test("ids that are blank, too long or have control characters are refused wherever an id is", async () => {
  for (const [what, id] of BAD) {
    const good = newId();
    const calls: [Promise<unknown>, string][] = [
      [service.sessions.createSession({ sessionId: id }), "session_id"],
      [service.sessions.createSession({ sessionId: good, userId: id }), "user_id"],
      [service.sessions.getSession({ sessionId: id }), "session_id"],
      [service.sessions.batchGetSessions({ sessionIds: [good, id] }), "session_ids[1]"],
      [service.sessions.listSessions({ userId: id }), "user_id"],
      [service.memory.addMemory({ sessionId: id }), "session_id"],
      [service.memory.addMemory({ sessionId: good, userId: id }), "user_id"],
      [service.memory.addMemory({ sessionId: good, messages: [{ messageId: id }] }), "messages[0].message_id"],
      [service.memory.getMemory({ sessionId: id }), "session_id"],
      [service.memory.listMessages({ sessionId: id }), "session_id"],
      [service.memory.getMessage({ sessionId: good, messageId: id }), "message_id"],
      [service.memory.setSummary({ sessionId: good, recentMessageId: id }), "recent_message_id"],
      [service.users.createUser({ userId: id }), "user_id"],
      [service.users.getUser({ userId: id }), "user_id"],
    ];
    const outcomes = await Promise.all(calls.map(([call]) => refusal(call)));
    for (const [index, outcome] of outcomes.entries()) {
      expect(outcome, `${what}, ${calls[index]?.[1]}`).toEqual(invalid(calls[index]?.[1] as string));
    }
  }
});

test("256 astral characters are an id, counted in code points", async () => {
  const sessionId = `${"🦉".repeat(255)}!`;
  const { session } = await service.sessions.createSession({ sessionId });
  expect(session?.sessionId).toBe(sessionId);
});
