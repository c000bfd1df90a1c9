import { randomUUID } from "node:crypto";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { RoleType } from "../../../gen/sessions/v1/resources.js";
import { canonicalUuid } from "../../../src/http/zep/uuids.js";
import { newId } from "../../support/contract.js";
import { startZep, type ZepService } from "./support.js";

/** What is written by one API is there by the other: the legacy one is another way to the same sessions. */
let zep: ZepService;
beforeAll(async () => {
  zep = await startZep();
});
afterAll(() => zep.stop());

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const memoryOf = async (id: string) => (await zep.call("GET", `/sessions/${id}/memory`)).json;

describe("messages of the gRPC API", () => {
  it("whose ids are no UUIDs have some, by which they are found", async () => {
    const id = newId();
    const ids = ["1", "message two", "UPPER-CASE", "A987FBC9-4BED-4078-8F07-9141BA07C9F3", randomUUID()];
    await zep.memory.addMemory({
      sessionId: id,
      messages: ids.map((messageId) => ({ messageId, content: messageId })),
    });
    const { messages } = await memoryOf(id);
    const uuids = messages.map(({ uuid }: { uuid: string }) => uuid);
    for (const uuid of uuids) expect(uuid).toMatch(UUID);
    expect(new Set(uuids).size).toBe(ids.length);
    expect(uuids.at(-1)).toBe(ids.at(-1));
    for (const [index, uuid] of uuids.entries()) {
      const { json } = await zep.call("GET", `/sessions/${id}/messages/${uuid}`);
      expect(json).toMatchObject({ uuid, content: ids[index] });
      await zep.call("PATCH", `/sessions/${id}/messages/${uuid}`, { metadata: { index } });
      const { message } = await zep.memory.getMessage({ sessionId: id, messageId: ids[index] as string });
      expect(message?.metadata).toEqual({ index });
    }
    const otherSession = newId();
    await zep.memory.addMemory({ sessionId: otherSession, messages: [{ content: "x" }] });
    expect((await zep.call("GET", `/sessions/${otherSession}/messages/${uuids[0]}`)).status).toBe(404);
  });

  it("have the role that they have, or the name of their kind", async () => {
    const id = newId();
    const roles = [
      { role: "Ann", roleType: RoleType.ROLE_TYPE_USER },
      { roleType: RoleType.ROLE_TYPE_ASSISTANT },
      { roleType: RoleType.ROLE_TYPE_TOOL },
      {},
    ];
    await zep.memory.addMemory({ sessionId: id, messages: roles });
    const { messages } = await memoryOf(id);
    expect(messages.map(({ role }: { role: string }) => role)).toEqual(["Ann", "assistant", "tool", ""]);
  });

  it("may be summarised by ids that are no UUIDs", async () => {
    const id = newId();
    await zep.memory.addMemory({ sessionId: id, messages: [{ messageId: "1", content: "x" }] });
    const { uuid } = (await memoryOf(id)).messages[0];
    await zep.memory.setSummary({ sessionId: id, content: "short", recentMessageId: "1" });
    const { summary } = await memoryOf(id);
    expect([summary.recent_message_uuid, summary.uuid]).toEqual([uuid, expect.stringMatching(UUID)]);
    expect((await memoryOf(id)).summary).toEqual(summary);
    await zep.memory.setSummary({ sessionId: id, content: "shorter", recentMessageId: "1" });
    expect((await memoryOf(id)).summary.uuid).not.toBe(summary.uuid);
  });

  it("are counted on every page, also when some were deleted, and past the end", async () => {
    const id = newId();
    const texts = Array.from({ length: 7 }, (_, index) => ({ messageId: String(index), content: String(index) }));
    await zep.memory.addMemory({ sessionId: id, messages: texts });
    await zep.memory.deleteMessage({ sessionId: id, messageId: "2" });
    const page = async (cursor: number) => {
      const { messages, ...counts } = (await zep.call("GET", `/sessions/${id}/messages?limit=3&cursor=${cursor}`)).json;
      return { texts: messages.map(({ content }: { content: string }) => content), ...counts };
    };
    expect([await page(1), await page(2), await page(3)]).toEqual([
      { texts: ["0", "1", "3"], total_count: 6, row_count: 3 },
      { texts: ["4", "5", "6"], total_count: 6, row_count: 3 },
      { texts: [], total_count: 6, row_count: 0 },
    ]);
  });
});

describe("messages of the legacy API", () => {
  it("say what kind of speaker they have, and keep their ids in one form", async () => {
    const id = newId();
    const uuid = randomUUID();
    const forms = [
      uuid.toUpperCase(),
      `{${randomUUID()}}`,
      `urn:uuid:${randomUUID()}`,
      randomUUID().replaceAll("-", ""),
    ];
    const roles = ["user", "Human", "ai", "assistant", "system", "function", "tool", "Ann", ""];
    const messages = roles.map((role, index) => ({ role, content: "x", uuid: forms[index] }));
    await zep.call("POST", `/sessions/${id}/memory`, { messages });
    const stored = (await zep.memory.getMemory({ sessionId: id, lastN: 100 })).messages;
    expect(stored[0]?.messageId).toBe(uuid);
    for (const { messageId } of stored) expect(messageId).toMatch(UUID);
    expect(stored.map(({ roleType }) => roleType)).toEqual([3, 3, 2, 2, 1, 4, 5, 0, 0]);
    expect(stored.map(({ role }) => role)).toEqual(roles);
    for (const form of forms) {
      const { json } = await zep.call("GET", `/sessions/${id}/messages/${encodeURIComponent(form)}`);
      expect(json.uuid).toBe(canonicalUuid(form));
    }
  });

  it("are of now, whatever they say", async () => {
    const id = newId();
    const before = Date.now() - 10_000;
    const created_at = "2020-01-01T00:00:00Z";
    await zep.call("POST", `/sessions/${id}/memory`, { messages: [{ content: "x", created_at }] });
    const [message] = (await memoryOf(id)).messages;
    expect(Date.parse(message.created_at)).toBeGreaterThan(before);
    expect(message.updated_at).toBe(message.created_at);
  });
});

describe("sessions and users", () => {
  it("are the same by both", async () => {
    const [id, userId] = [newId(), newId("user")];
    await zep.call("POST", "/user", { user_id: userId, email: "a@b.c", metadata: { a: 1 } });
    await zep.call("POST", "/sessions", { session_id: id, user_id: userId, metadata: { b: 2 } });
    const { session } = await zep.sessions.getSession({ sessionId: id });
    const { user } = await zep.users.getUser({ userId });
    expect(session).toMatchObject({ userId, metadata: { b: 2 } });
    expect(user).toMatchObject({ email: "a@b.c", metadata: { a: 1 }, sessionCount: 1 });
    const { json } = await zep.call("GET", `/sessions/${id}`);
    expect([json.uuid, json.created_at]).toEqual([
      session?.uid,
      new Date((session?.createTime?.seconds ?? 0) * 1000 + (session?.createTime?.nanos ?? 0) / 1e6).toISOString(),
    ]);
  });

  it("stay restorable when they are deleted by a legacy client", async () => {
    const id = newId();
    await zep.call("POST", `/sessions/${id}/memory`, { messages: [{ content: "x" }] });
    await zep.call("DELETE", `/sessions/${id}/memory`);
    await zep.sessions.undeleteSession({ sessionId: id, restoreMemory: true });
    expect((await memoryOf(id)).messages).toHaveLength(1);
  });

  it("are brought back by an update with their user, who counts them", async () => {
    const [id, userId] = [newId(), newId("user")];
    await zep.users.createUser({ userId });
    await zep.sessions.createSession({ sessionId: id, userId });
    await zep.sessions.deleteSession({ sessionId: id });
    const { status } = await zep.call("PATCH", `/sessions/${id}`, { metadata: { a: 1 } });
    expect([status, (await zep.users.getUser({ userId })).user?.sessionCount]).toEqual([200, 1]);
    await zep.sessions.deleteSession({ sessionId: id });
    await zep.users.deleteUser({ userId });
    expect((await zep.call("PATCH", `/sessions/${id}`, {})).status).toBe(400);
    // Whom the other API has deleted can still be erased.
    expect((await zep.call("DELETE", `/user/${userId}`)).status).toBe(200);
    expect((await zep.call("POST", "/sessions", { session_id: id })).status).toBe(201);
  });
});

describe("a call", () => {
  it("has one line in the log, with what it was and no content", async () => {
    const lines: Record<string, unknown>[] = [];
    const log = pino({ level: "info" }, { write: (line: string) => void lines.push(JSON.parse(line)) });
    const logged = await startZep({ log });
    onTestFinished(() => logged.stop());
    const headers = { "x-request-id": "mine" };
    await logged.call("POST", "/sessions/s/memory", { messages: [{ content: "secret" }] }, headers);
    await logged.call("PATCH", "/sessions/s", { metadata: { secret: 1 } }, headers);
    await logged.call("GET", "/sessions?limit=5", undefined, headers);
    await logged.call("GET", "/sessions/other", undefined, headers);
    const calls = lines.filter(({ msg }) => msg === "call");
    expect(calls.map(({ method, code, session, request_id }) => [method, code, session, request_id])).toEqual([
      ["zep.v1/AddMemory", "OK", "s", "mine"],
      ["zep.v1/UpdateSession", "OK", "s", "mine"],
      ["zep.v1/ListSessions", "OK", undefined, "mine"],
      ["zep.v1/GetSession", "NOT_FOUND", "other", "mine"],
    ]);
    expect(JSON.stringify(lines)).not.toContain("secret");

    const metrics = await (await fetch(`${logged.url}/metrics`)).text();
    for (const method of ["zep.v1/AddMemory", "zep.v1/UpdateSession", "zep.v1/ListSessions"])
      expect(metrics).toContain(`sessions_calls_total{method="${method}",code="OK"} 1`);
  });
});
