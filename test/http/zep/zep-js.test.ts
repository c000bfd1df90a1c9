import { randomUUID } from "node:crypto";
import {
  APIError,
  type IMessage,
  Memory,
  MemorySearchPayload,
  MemorySearchResult,
  Message,
  NotFoundError,
  Session,
  ZepClient,
} from "@getzep/zep-js";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { newId } from "../../support/contract.js";
import { startZep, type ZepService } from "./support.js";

/** The last SDK for JavaScript of the legacy API, as it comes from npm: what its documentation says is what happens. */
let zep: ZepService;
let client: ZepClient;
const warn = vi.spyOn(console, "warn").mockImplementation(() => {});

beforeAll(async () => {
  zep = await startZep();
  client = await ZepClient.init(zep.url);
});
afterAll(async () => {
  warn.mockRestore();
  await zep.stop();
});
beforeEach(() => warn.mockClear());
afterEach(() => expect(warn, "the SDK has nothing to warn of").not.toHaveBeenCalled());

const add = (sessionId: string, ...messages: (string | IMessage)[]) =>
  client.memory.addMemory(
    sessionId,
    new Memory({
      messages: messages.map((message) =>
        typeof message === "string" ? { role: "human", content: message } : message,
      ),
    }),
  );
const contents = async (sessionId: string, lastn?: number) =>
  (await client.memory.getMemory(sessionId, lastn))?.messages.map(({ content }) => content);

describe("a client", () => {
  it("finds a server that is new enough", async () => {
    await expect(ZepClient.init(zep.url)).resolves.toBeInstanceOf(ZepClient);
  });

  it("may have a base URL that ends in a slash", async () => {
    const id = newId();
    const slashed = await ZepClient.init(`${zep.url}/`);
    await slashed.memory.addSession(new Session({ session_id: id, metadata: {} }));
    expect((await slashed.memory.getSession(id)).session_id).toBe(id);
  });

  it("may find the server through a proxy that has the API only", async () => {
    await expect(ZepClient.init(`${zep.url}/api/v1`)).resolves.toBeInstanceOf(ZepClient);
  });
});

describe("sessions", () => {
  it("are added with a user and metadata, and got", async () => {
    const [id, userId] = [newId(), newId("user")];
    await client.user.add({ user_id: userId });
    const data = { session_id: id, user_id: userId, metadata: { foo: "bar", nested: { deep: [1, { two: null }] } } };
    const added = await client.memory.addSession(new Session(data));
    expect(added).toMatchObject(data);
    expect(added.uuid).toMatch(/^[0-9a-f-]{36}$/);
    expect(Math.abs(Date.parse(added.created_at ?? "") - Date.now())).toBeLessThan(60_000);
    expect(added.updated_at).toBe(added.created_at);
    expect(await client.memory.getSession(id)).toEqual(added);
  });

  it("need not be created: adding memory does so, or adds to the one that is there", async () => {
    const id = newId();
    await add(id, "first");
    expect(await client.memory.getSession(id)).toMatchObject({ session_id: id });
    await add(id, "second");
    expect(await contents(id)).toEqual(["first", "second"]);
  });

  it("have their metadata merged when updated", async () => {
    const id = newId();
    await client.memory.addSession(
      new Session({ session_id: id, metadata: { foo: "bar", n: { a: 1, list: [1, 2] } } }),
    );
    const update = { qax: "baz", n: { b: 2, list: [3] }, gone: null };
    const updated = await client.memory.updateSession(new Session({ session_id: id, metadata: update }));
    const merged = { foo: "bar", qax: "baz", n: { a: 1, b: 2, list: [3] }, gone: null };
    expect(updated.metadata).toEqual(merged);
    expect((await client.memory.getSession(id)).metadata).toEqual(merged);
  });

  it("can be sent back as they were got", async () => {
    const id = newId();
    await client.memory.addSession(new Session({ session_id: id, metadata: { a: 1 } }));
    const got = await client.memory.getSession(id);
    expect((await client.memory.updateSession(got)).metadata).toEqual({ a: 1 });
  });

  it("are not added twice, and not for users who are not there", async () => {
    const id = newId();
    await client.memory.addSession(new Session({ session_id: id, metadata: { first: true } }));
    const again = client.memory.addSession(new Session({ session_id: id, metadata: { second: true } }));
    await expect(again).rejects.toMatchObject({ name: "APIError", code: 400 });
    expect((await client.memory.getSession(id)).metadata).toEqual({ first: true });
    const foreign = new Session({ session_id: newId(), user_id: newId("nobody"), metadata: {} });
    await expect(client.memory.addSession(foreign)).rejects.toMatchObject({ code: 400 });
    await expect(client.memory.getSession(foreign.session_id)).rejects.toThrow(NotFoundError);
  });

  it("are deleted with their memory", async () => {
    const id = newId();
    await add(id, "x");
    expect(await client.memory.deleteMemory(id)).toBe("OK");
    await expect(client.memory.getSession(id)).rejects.toThrow(NotFoundError);
    expect(await client.memory.getMemory(id)).toMatchObject({ messages: [], summary: undefined });
    expect(await client.message.getSessionMessages(id)).toEqual([]);
    await expect(client.memory.deleteMemory(id)).rejects.toThrow(NotFoundError);
    const again = client.memory.addSession(new Session({ session_id: id, metadata: {} }));
    await expect(again).rejects.toMatchObject({ code: 400 });
  });

  it("are undeleted by adding memory, and what was deleted remains deleted", async () => {
    const id = newId();
    await client.memory.addSession(new Session({ session_id: id, metadata: { kept: true } }));
    await add(id, "old");
    await client.memory.deleteMemory(id);
    await add(id, "new");
    expect(await contents(id)).toEqual(["new"]);
    expect((await client.memory.getSession(id)).metadata).toEqual({ kept: true });
  });

  it("are undeleted by an update, without their memory", async () => {
    const id = newId();
    await client.memory.addSession(new Session({ session_id: id, metadata: { a: 1 } }));
    await add(id, "old");
    await client.memory.deleteMemory(id);
    const updated = await client.memory.updateSession(new Session({ session_id: id, metadata: { b: 2 } }));
    expect(updated).toMatchObject({ deleted_at: null, metadata: { a: 1, b: 2 } });
    expect(await contents(id)).toEqual([]);
  });
});

describe("memory", () => {
  it("keeps what the messages have, in order", async () => {
    const id = newId();
    const uuid = randomUUID();
    const history: IMessage[] = [
      { role: "human", content: "Who was Octavia Butler?" },
      { role: "ai", content: "An American science fiction author – 1947 to 2006.", token_count: 12 },
      { role: "human", content: "Which books?", metadata: { foo: "bar", n: { a: [1, null] } }, uuid },
    ];
    const result: unknown = await client.memory.addMemory(
      id,
      new Memory({ messages: history.map((m) => new Message(m)) }),
    );
    expect(result).toBe("OK");
    const memory = await client.memory.getMemory(id);
    const [first, second, third] = memory?.messages ?? [];
    expect(first).toMatchObject({ role: "human", content: "Who was Octavia Butler?", token_count: 0 });
    expect(second).toMatchObject({ role: "ai", token_count: 12 });
    expect(third).toMatchObject({ uuid, metadata: { foo: "bar", n: { a: [1, null] } } });
    expect(first?.uuid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(memory?.summary).toBeUndefined();
  });

  it("of an unknown session is empty", async () => {
    expect(await client.memory.getMemory(newId())).toMatchObject({ messages: [] });
  });

  it("gives the newest lastn, oldest first, and twelve when not told", async () => {
    const id = newId();
    const all = Array.from({ length: 30 }, (_, index) => `message ${index}`);
    await add(id, ...all);
    expect(await contents(id, 3)).toEqual(all.slice(-3));
    expect(await contents(id, 100)).toEqual(all);
    expect(await contents(id)).toEqual(all.slice(-12));
  });

  it("gives the summary and what follows it", async () => {
    const id = newId();
    const uuid = randomUUID();
    await add(id, "one", { role: "ai", content: "two", uuid }, "three", "four");
    const summary = {
      sessionId: id,
      content: "They counted.",
      recentMessageId: uuid,
      tokenCount: 3,
      metadata: { a: 1 },
    };
    await zep.memory.setSummary(summary);
    const memory = await client.memory.getMemory(id);
    expect(memory?.messages.map(({ content }) => content)).toEqual(["three", "four"]);
    expect(memory?.summary).toMatchObject({
      uuid: expect.stringMatching(/^[0-9a-f-]{36}$/),
      content: "They counted.",
      recent_message_uuid: uuid,
      token_count: 3,
      metadata: { a: 1 },
    });
    expect(await contents(id, 3)).toEqual(["two", "three", "four"]);
    await client.memory.deleteMemory(id);
    expect((await client.memory.getMemory(id))?.summary).toBeUndefined();
  });

  it("can be added again by whoever did not hear of it, once", async () => {
    const id = newId();
    const message = { role: "human", content: "once", uuid: randomUUID() };
    await add(id, message);
    await add(id, message);
    expect(await contents(id)).toEqual(["once"]);
    await expect(add(id, { ...message, content: "other" })).rejects.toMatchObject({ name: "APIError", code: 400 });
    await expect(add(id, { ...message, uuid: "1" })).rejects.toMatchObject({ code: 400 });
  });

  it("is searched for what a text says, and by metadata", async () => {
    const id = newId();
    await add(
      id,
      { role: "human", content: "Two days in Lisbon?", metadata: { system: { entities: [{ Label: "LOC" }] }, n: 1 } },
      { role: "ai", content: "Start in Alfama.", metadata: { n: 2 } },
      { role: "human", content: "And to eat?" },
    );
    const search = async (payload: ConstructorParameters<typeof MemorySearchPayload>[0], limit?: number) =>
      (await client.memory.searchMemory(id, new MemorySearchPayload(payload), limit)).map(
        ({ message }) => message?.content,
      );
    expect((await search({ text: "alfama" }))[0]).toBe("Start in Alfama.");
    const [first] = await client.memory.searchMemory(
      id,
      new MemorySearchPayload({ text: "lisbon", search_type: "mmr", mmr_lambda: 0.3 }),
    );
    expect(first).toBeInstanceOf(MemorySearchResult);
    expect(first).toMatchObject({
      message: { role: "human", content: "Two days in Lisbon?", metadata: { n: 1 } },
    });
    expect(first?.dist).toBeGreaterThan(0);
    const located = { jsonpath: '$.system.entities[*] ? (@.Label == "LOC")' };
    expect(await search({ metadata: { where: located } })).toEqual(["Two days in Lisbon?"]);
    const either = { or: [located, { and: [{ jsonpath: "$.n ? (@ > 1)" }, { jsonpath: "$.n ? (@ < 3)" }] }] };
    expect(await search({ metadata: { where: either } })).toEqual(["Start in Alfama.", "Two days in Lisbon?"]);
    expect(await search({ metadata: { where: either } }, 1)).toEqual(["Start in Alfama."]);
    expect(await search({ text: "lisbon", metadata: { end_date: "2020-01-01" } })).toEqual([]);
    expect(await client.memory.searchMemory(newId(), new MemorySearchPayload({ text: "x" }))).toEqual([]);
    const bad = client.memory.searchMemory(id, new MemorySearchPayload({ metadata: { where: { jsonpath: "$$" } } }));
    await expect(bad).rejects.toMatchObject({ code: 400, responseData: expect.stringMatching(/^[^\n]+\.\n$/) });
  });
});

describe("messages", () => {
  it("are got one by one and page by page", async () => {
    const id = newId();
    await add(id, "one", "two", "three", "four", "five");
    const all = await client.message.getSessionMessages(id);
    expect(all.map(({ content }) => content)).toEqual(["one", "two", "three", "four", "five"]);
    const page = async (limit: number, cursor: number) =>
      (await client.message.getSessionMessages(id, limit, cursor)).map(({ content }) => content);
    expect([await page(2, 1), await page(2, 2), await page(2, 3), await page(2, 4)]).toEqual([
      ["one", "two"],
      ["three", "four"],
      ["five"],
      [],
    ]);
    const [, second] = all as [Message, Message];
    expect(await client.message.getSessionMessage(id, second.uuid ?? "")).toEqual(second);
    await expect(client.message.getSessionMessage(id, randomUUID())).rejects.toThrow(NotFoundError);
    await expect(client.message.getSessionMessage(newId(), second.uuid ?? "")).rejects.toThrow(NotFoundError);
    await expect(client.message.getSessionMessage(id, "nope")).rejects.toMatchObject({ code: 400 });
  });

  it("have their metadata merged, except for what is the server's", async () => {
    const id = newId();
    const uuid = randomUUID();
    const metadata = { foo: 1, keep: { a: 1 }, system: { intent: "greeting" } };
    await add(id, { role: "human", content: "hello", uuid, token_count: 5, metadata });
    const update = { foo: "bar", keep: { b: 2 }, system: { intent: "other" } };
    const updated = await client.message.updateSessionMessageMetadata(id, uuid, update);
    const expected = { foo: "bar", keep: { a: 1, b: 2 }, system: { intent: "greeting" } };
    expect(updated).toMatchObject({ uuid, content: "hello", token_count: 5, metadata: expected });
    expect(await client.message.getSessionMessage(id, uuid)).toEqual(updated);
    await expect(client.message.updateSessionMessageMetadata(id, randomUUID(), {})).rejects.toThrow(NotFoundError);
  });
});

describe("users", () => {
  it("are added, got and updated", async () => {
    const userId = newId("user");
    const data = { user_id: userId, email: "a@b.c", first_name: "Ann", last_name: "Ash", metadata: { foo: "bar" } };
    const added = await client.user.add(data);
    expect(added).toMatchObject(data);
    expect(await client.user.get(userId)).toEqual(added);
    const updated = await client.user.update({ user_id: userId, first_name: "Eve", metadata: { foo: "baz", more: 1 } });
    expect(updated).toMatchObject({ ...data, first_name: "Eve", metadata: { foo: "baz", more: 1 } });
    await expect(client.user.add(data)).rejects.toThrow(APIError);
    await expect(client.user.get(newId("nobody"))).rejects.toThrow(NotFoundError);
    await expect(client.user.update({ user_id: newId("nobody") })).rejects.toThrow(NotFoundError);
  });

  it("have sessions, which go with them; then all their ids are free", async () => {
    const [userId, ...ids] = [newId("user"), newId("a"), newId("b")];
    await client.user.add({ user_id: userId });
    for (const id of ids) {
      await client.memory.addSession(new Session({ session_id: id, user_id: userId, metadata: {} }));
      await add(id, "theirs");
    }
    expect((await client.user.getSessions(userId)).map((session) => session.session_id)).toEqual(ids);
    expect(await client.user.delete(userId)).toBe("OK");
    await expect(client.user.get(userId)).rejects.toThrow(NotFoundError);
    await expect(client.user.delete(userId)).rejects.toThrow(NotFoundError);
    expect(await client.user.getSessions(userId)).toEqual([]);
    for (const id of ids) await expect(client.memory.getSession(id)).rejects.toThrow(NotFoundError);

    await client.user.add({ user_id: userId });
    for (const id of ids)
      await client.memory.addSession(new Session({ session_id: id, user_id: userId, metadata: {} }));
    expect(await contents(ids[0] as string)).toEqual([]);
  });
});

describe("ids", () => {
  it.each(["a b", "ü–日本 😀", "a?b#c", "a:b@c;d,e=f&g+h$i", ".well-known", "…", '"quoted" <id>'])(
    "are what they are: %s",
    async (text) => {
      const id = `${newId()}${text}`;
      await add(id, "x");
      expect(await contents(id)).toEqual(["x"]);
      expect((await client.memory.getSession(id)).session_id).toBe(id);
    },
  );

  it("may be encoded where the SDK does not", async () => {
    const id = `${newId()}50%/day`;
    await add(encodeURIComponent(id), "x");
    expect(await contents(encodeURIComponent(id))).toEqual(["x"]);
    expect((await zep.sessions.getSession({ sessionId: id })).session?.messageCount).toBe(1);
  });
});
