import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Message } from "../../gen/sessions/v1/resources.js";
import {
  etagMismatch,
  invalid,
  messageConflict,
  newId,
  refusal,
  sequenceMismatch,
  timestamp,
  withIds,
} from "../support/contract.js";
import { startEndpoint, type TestEndpoint } from "../support/embeddings-endpoint.js";
import { eventually } from "../support/eventually.js";
import { startService, type TestService } from "../support/service.js";

/** Two processes on one database, which embed. */
let endpoint: TestEndpoint;
let service: TestService;
let other: TestService;
beforeAll(async () => {
  endpoint = await startEndpoint();
  service = await startService({ embeddings: endpoint.settings });
  const databaseName = service.database.db.databaseName;
  other = await startService({ databaseName, embeddings: endpoint.settings });
});
afterAll(async () => {
  await other.stop();
  await service.stop();
  await endpoint.stop();
});

const messageOf = async (sessionId: string, messageId = "m1") =>
  (await service.memory.getMessage({ sessionId, messageId })).message as Message;

const update = async (request: Parameters<TestService["memory"]["updateMessage"]>[0]) =>
  (await service.memory.updateMessage(request)).message as Message;

const RICH = {
  messageId: "m1",
  role: "Ann",
  roleType: 3 as const,
  content: "My number is 0451.",
  payload: Buffer.from([1, 2, 3]),
  payloadType: "application/x-parts",
  metadata: { kind: "number" },
  tokenCount: 6,
};

async function sessionWith(...messages: object[]): Promise<string> {
  const sessionId = newId();
  await service.memory.addMemory({ sessionId, messages });
  return sessionId;
}

describe("an update", () => {
  test("changes what a message says; who said it, where and when stay", async () => {
    const createTime = timestamp(Date.now() - 60_000);
    const sessionId = await sessionWith({ messageId: "m0" }, { ...RICH, createTime });
    const before = await messageOf(sessionId);
    const session = (await service.sessions.getSession({ sessionId })).session;
    const said = { content: "My number is secret.", payload: Buffer.from([9]), payloadType: "text/plain" };
    const after = await update({ sessionId, messageId: "m1", ...said });
    expect(after).toEqual({ ...before, ...said, updateTime: after.updateTime, etag: after.etag });
    expect(await messageOf(sessionId)).toEqual(after);
    expect((await service.sessions.getSession({ sessionId })).session).toEqual(session);
  });

  test("leaves what is unset, and takes away what is empty", async () => {
    const sessionId = await sessionWith(RICH);
    const { messageId, ...rich } = RICH;
    expect(await update({ sessionId, messageId, metadata: { a: 1 } })).toMatchObject({
      ...rich,
      metadata: { kind: "number", a: 1 },
    });
    expect(await update({ sessionId, messageId, content: "" })).toMatchObject({ content: "", payload: rich.payload });
    expect(await update({ sessionId, messageId, payload: Buffer.alloc(0) })).toMatchObject({
      payload: new Uint8Array(),
      payloadType: rich.payloadType,
    });
    expect(await update({ sessionId, messageId, payloadType: "", tokenCount: 0 })).toMatchObject({
      payloadType: "",
      tokenCount: 0,
      metadata: { kind: "number", a: 1 },
    });
    const document = await service.database.messages.findOne({ session: `default/${sessionId}` });
    expect(Object.keys(document ?? {})).not.toEqual(expect.arrayContaining(["payload"]));
    expect(await update({ sessionId, messageId, content: "again", payload: Buffer.from([7]) })).toMatchObject({
      content: "again",
      payload: Buffer.from([7]),
    });
  });

  test("takes as much as AddMemory does, and names all that is too much", async () => {
    const MIB = 1024 * 1024;
    const sessionId = await sessionWith(RICH);
    const most = { content: "ä".repeat(MIB / 2), payload: Buffer.alloc(MIB, 1), payloadType: "🎉".repeat(256) };
    // To compare so much byte by byte takes a test long.
    const isMost = ({ content, payload, payloadType }: Message): boolean =>
      content === most.content && most.payload.equals(payload) && payloadType === most.payloadType;
    expect(isMost(await update({ sessionId, messageId: "m1", ...most }))).toBe(true);
    expect(isMost(await messageOf(sessionId))).toBe(true);
    const call = service.memory.updateMessage({
      sessionId,
      messageId: "m1",
      content: `${most.content}x`,
      payload: Buffer.alloc(MIB + 1),
      payloadType: "x".repeat(257),
      etag: "x".repeat(65),
    });
    expect(await refusal(call)).toEqual(invalid("content", "payload", "payload_type", "etag"));
    expect(isMost(await messageOf(sessionId))).toBe(true);
  });
});

describe("the etag of a message", () => {
  test("is the same in whatever answers with it, another one after each update, and no other message's", async () => {
    const sessionId = await sessionWith(...withIds("m1", "m2"));
    const seen = new Set<string>();
    for (const change of [{}, { tokenCount: 1 }, { content: "m1 again" }, { content: "m1 again" }]) {
      if (Object.keys(change).length > 0) {
        const { etag } = await update({ sessionId, messageId: "m1", ...change });
        expect(etag).toBe((await messageOf(sessionId)).etag);
      }
      for (const { memory } of [service, other]) {
        const [first, second] = (await memory.getMemory({ sessionId })).messages as [Message, Message];
        expect(first.etag).toBe((await messageOf(sessionId)).etag);
        expect((await memory.listMessages({ sessionId }))[0]?.messages).toEqual([first, second]);
        const { results } = await memory.searchMemory({ sessionId, text: "m1", neighbors: 1, limit: 1 });
        expect(results[0]?.message).toEqual(first);
        expect(results[0]?.after).toEqual([second]);
        expect(first.etag).not.toBe(second.etag);
        expect(first.etag.length).toBeLessThanOrEqual(64);
      }
      seen.add((await messageOf(sessionId)).etag);
    }
    expect(seen.size).toBe(4);
    const { etag } = await messageOf(sessionId);
    expect((await service.memory.deleteMessage({ sessionId, messageId: "m1" })).message?.etag).toBe(etag);
  });

  test("guards an update: one that is not the current one is ABORTED and changes nothing", async () => {
    const sessionId = await sessionWith(...withIds("m1", "m2"));
    const { etag: stale } = await messageOf(sessionId);
    const { etag: another } = await messageOf(sessionId, "m2");
    const current = await update({ sessionId, messageId: "m1", content: "second", etag: stale });
    for (const etag of [stale, another, "invented"]) {
      const call = service.memory.updateMessage({ sessionId, messageId: "m1", content: "third", etag });
      expect(await refusal(call)).toEqual(etagMismatch({ session_id: sessionId, message_id: "m1" }, etag));
    }
    expect(await messageOf(sessionId)).toEqual(current);
    await update({ sessionId, messageId: "m1", content: "third", etag: current.etag });
    expect((await messageOf(sessionId)).content).toBe("third");
  });

  test("is not that of a message that had the same id before", async () => {
    const sessionId = await sessionWith(...withIds("m1"));
    const { etag } = await messageOf(sessionId);
    await service.sessions.purgeSession({ sessionId });
    await service.memory.addMemory({ sessionId, messages: withIds("m1") });
    const call = service.memory.updateMessage({ sessionId, messageId: "m1", content: "x", etag });
    expect(await refusal(call)).toEqual(etagMismatch({ session_id: sessionId, message_id: "m1" }, etag));
  });

  test("lets one of several updates that were decided on the same state through", async () => {
    const sessionId = await sessionWith(...withIds("m1"));
    const { etag } = await messageOf(sessionId);
    const outcomes = await Promise.allSettled(
      Array.from({ length: 8 }, (_, n) =>
        (n % 2 ? service : other).memory.updateMessage({ sessionId, messageId: "m1", content: `by ${n}`, etag }),
      ),
    );
    const won = outcomes.findIndex(({ status }) => status === "fulfilled");
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    expect((await messageOf(sessionId)).content).toBe(`by ${won}`);
  });
});

describe("what a message has said before it was edited", () => {
  const SECRET = "tangerine";

  /** Where in the database there is this text, in whatever field, text or bytes. */
  async function placesOf(text: string): Promise<string[]> {
    const { db } = service.database;
    const places: string[] = [];
    for (const { collectionName } of await db.collections()) {
      for (const document of await db.collection(collectionName).find({}, { raw: true }).toArray()) {
        if ((document as unknown as Buffer).includes(text)) places.push(collectionName);
      }
    }
    return places;
  }

  const isAtRest = async () => {
    const { sessions } = service.database;
    return (await sessions.countDocuments({ unembedded: { $exists: true } })) === 0;
  };

  test("is in no collection any more, and no vector of it either", async () => {
    const sessionId = await sessionWith(
      { messageId: "m0", content: "before" },
      { ...RICH, content: `The word is ${SECRET}.`, payload: Buffer.from(`{"word":"${SECRET}"}`), payloadType: SECRET },
      { messageId: "m2", content: "after" },
    );
    await service.memory.setSummary({ sessionId, content: "A word was said.", recentMessageId: "m1" });
    await eventually("all is embedded", isAtRest, 30_000);
    const key = `default/${sessionId}`;
    const vectorOf = async () => (await service.database.vectors.findOne({ session: key, sequence: 2 }))?.vector;
    const vector = await vectorOf();
    expect(vector).toBeDefined();
    expect(await placesOf(SECRET)).toEqual(["messages"]);
    const { summary } = await service.memory.getMemory({ sessionId });

    // So that none is made anew before it is looked for.
    endpoint.behaviour = "silent";
    const said = { content: "The word is gone.", payload: Buffer.alloc(0), payloadType: "" };
    await update({ sessionId, messageId: "m1", ...said });
    expect(await placesOf(SECRET)).toEqual([]);
    expect(await vectorOf()).toBeUndefined();
    expect(await service.database.sessions.findOne({ _id: key })).toHaveProperty("unembedded");
    expect((await service.memory.getMemory({ sessionId })).summary).toEqual(summary);

    endpoint.release();
    await eventually("it is embedded anew", isAtRest, 30_000);
    expect(await vectorOf()).not.toEqual(vector);
    expect(endpoint.texts).toContain("Ann: The word is gone.");
    expect(await placesOf(SECRET)).toEqual([]);
  });

  test("is in no answer any more, of a process that has just answered with it, or another", async () => {
    const sessionId = await sessionWith(
      { messageId: "m0", content: "a word before" },
      { messageId: "m1", content: `the word ${SECRET}` },
      { messageId: "m2", content: "a word after" },
    );
    const answers = async ({ memory }: TestService) => [
      await memory.getMemory({ sessionId, lastN: 10 }),
      await memory.getMemory({ sessionId }),
      await memory.listMessages({ sessionId }),
      await memory.getMessage({ sessionId, messageId: "m1" }),
      await memory.searchMemory({ sessionId, text: "word", neighbors: 2 }),
      await memory.searchMemory({ sessionId, text: "before", mode: 1, neighbors: 2 }),
      await memory.searchMemory({ sessionId, text: SECRET, mode: 1 }),
    ];
    for (const one of [service, other]) {
      for (const answer of await answers(one)) expect(JSON.stringify(answer)).toContain(SECRET);
    }
    await update({ sessionId, messageId: "m1", content: "the word …" });
    for (const one of [other, service]) {
      for (const answer of await answers(one)) expect(JSON.stringify(answer)).not.toContain(SECRET);
      const found = await one.memory.searchMemory({ sessionId, text: SECRET, mode: 1 });
      expect(found.results).toEqual([]);
    }
  });
});

describe("a repetition of the AddMemory that brought an edited message", () => {
  test("changes nothing and answers as it did", async () => {
    const sessionId = newId();
    const call = { sessionId, messages: [{ ...RICH }, { messageId: "m2", content: "two" }] };
    const first = await service.memory.addMemory(call);
    const edited = await update({ sessionId, messageId: "m1", content: "", payload: Buffer.alloc(0), payloadType: "" });
    expect(await service.memory.addMemory(call)).toEqual(first);
    expect(await other.memory.addMemory(call)).toEqual(first);
    expect(await messageOf(sessionId)).toEqual(edited);
    const again = { ...call, expectedLastSequence: 0 };
    expect(await service.memory.addMemory(again)).toEqual(first);
    const more = { sessionId, messages: [{ content: "three" }], expectedLastSequence: 0 };
    expect(await refusal(service.memory.addMemory(more))).toEqual(sequenceMismatch(sessionId, 0, 2));
  });

  test("tells nobody what it said: whatever is guessed is a repetition", async () => {
    const sessionId = await sessionWith(RICH);
    await update({ sessionId, messageId: "m1", content: "…" });
    for (const content of [RICH.content, "…", "a guess"]) {
      const { messages } = await service.memory.addMemory({ sessionId, messages: [{ ...RICH, content }] });
      expect(messages).toHaveLength(1);
    }
    const stranger = { ...RICH, role: "Bob" };
    expect(await refusal(service.memory.addMemory({ sessionId, messages: [stranger] }))).toEqual(
      messageConflict(sessionId, "m1"),
    );
  });

  test("is still told from another message while only its metadata or token count were changed", async () => {
    const sessionId = await sessionWith(RICH);
    await update({ sessionId, messageId: "m1", metadata: { a: 1 }, tokenCount: 1, content: RICH.content });
    const stranger = { ...RICH, content: "My number is 0452." };
    expect(await refusal(service.memory.addMemory({ sessionId, messages: [stranger] }))).toEqual(
      messageConflict(sessionId, "m1"),
    );
  });
});
