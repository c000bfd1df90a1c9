import { Long } from "mongodb";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { MAX_MEMORY_BYTES } from "../../src/domain/limits.js";
import { failure } from "../support/api.js";
import { newId } from "../support/contract.js";
import { type ObservedService, startObservedService } from "../support/observed-service.js";

/** Reads that come while others are under way share the queries of the next group; what each is told must be its own. */
let service: ObservedService;
beforeAll(async () => {
  service = await startObservedService();
});
afterAll(() => service.stop());

const readsSince = (from: number) => service.reads.slice(from).map(({ collection }) => collection);

describe("GetSession", () => {
  test("of many callers at once is few queries, and each gets its own session or its own NOT_FOUND", async () => {
    const there = Array.from({ length: 40 }, (_, index) => `there-${index}-${newId()}`);
    for (const sessionId of there) await service.sessions.createSession({ sessionId, metadata: { sessionId } });
    const gone = `gone-${newId()}`;
    await service.sessions.createSession({ sessionId: gone });
    await service.sessions.deleteSession({ sessionId: gone });

    const before = service.reads.length;
    const [found, missing, deleted, shown] = await Promise.all([
      Promise.all(there.map((sessionId) => service.sessions.getSession({ sessionId }))),
      Promise.all(there.map((sessionId) => failure(service.sessions.getSession({ sessionId: `no-${sessionId}` })))),
      failure(service.sessions.getSession({ sessionId: gone })),
      service.sessions.getSession({ sessionId: gone, showDeleted: true }),
    ]);
    expect(found.map(({ session }) => session?.metadata)).toEqual(there.map((sessionId) => ({ sessionId })));
    expect(missing.map(({ metadata }) => metadata.session_id)).toEqual(there.map((sessionId) => `no-${sessionId}`));
    expect(deleted).toMatchObject({ reason: "SESSION_NOT_FOUND" });
    expect(shown.session).toMatchObject({ sessionId: gone, deleteTime: expect.anything() });
    expect(readsSince(before).length).toBeLessThan(20);
  });

  test("of sessions whose metadata have no room in one batch of the database finds all of them", async () => {
    // In JSON 65 KB, and as it is stored 350 KB.
    const metadata = { zeros: Array<number>(32_000).fill(0) };
    const sessionIds = Array.from({ length: 60 }, (_, index) => `large-${index}-${newId()}`);
    for (const sessionId of sessionIds) await service.sessions.createSession({ sessionId, metadata });
    const found = await Promise.all(sessionIds.map((sessionId) => service.sessions.getSession({ sessionId })));
    expect(found.map(({ session }) => session?.sessionId)).toEqual(sessionIds);
    const all: string[] = [];
    const missing: string[] = [];
    // An answer has room for some of them, and names the others.
    for (let unread = [...sessionIds, "no-such-session"]; unread.length > 0; ) {
      const batch = await service.sessions.batchGetSessions({ sessionIds: unread });
      expect(batch.sessions.length + batch.missingSessionIds.length).toBeGreaterThan(0);
      all.push(...batch.sessions.map(({ sessionId }) => sessionId));
      missing.push(...batch.missingSessionIds);
      unread = batch.unreadSessionIds;
    }
    expect(all).toEqual(sessionIds);
    expect(missing).toEqual(["no-such-session"]);
  });

  test("of one whose document holds what the service never stores does not fail the others", async () => {
    const [good, odd] = [newId(), newId()];
    for (const sessionId of [good, odd]) await service.sessions.createSession({ sessionId });
    const { sessions } = service.database;
    await sessions.updateOne({ _id: `default/${odd}` }, {
      $set: { user: null, messageCount: Long.fromNumber(7), uid: 1 },
    } as never);
    const calls = Array.from({ length: 40 }, (_, index) =>
      service.sessions.getSession({ sessionId: index % 2 ? good : odd }),
    );
    const outcomes = await Promise.allSettled(calls);
    expect(outcomes.filter((_, index) => index % 2).map(({ status }) => status)).toEqual(Array(20).fill("fulfilled"));
  });

  test("of one whose time is over does not fail the others, and theirs is not cut short", async () => {
    const sessionId = newId();
    await service.sessions.createSession({ sessionId });
    const calls = Array.from({ length: 30 }, (_, index) =>
      service.sessions.getSession({ sessionId }, { deadlineMs: index % 2 === 0 ? 1 : 10_000 }).then(
        () => "OK",
        () => "failed",
      ),
    );
    const outcomes = await Promise.all(calls);
    expect(outcomes.filter((_, index) => index % 2 === 1)).toEqual(Array(15).fill("OK"));
  });
});

describe("GetMemory", () => {
  /** Memories of all kinds: what follows from how many there are, what was deleted, cleared or summed up, and how long they are. */
  const ids: string[] = [];
  let lengthy: string[] = [];

  beforeAll(async () => {
    const { memory, sessions } = service;
    const add = async (name: string, count: number) => {
      const sessionId = `${name}-${newId()}`;
      const messages = Array.from({ length: count }, (_, index) => ({
        messageId: `${name}-${index}`,
        content: `${name} ${index}`,
        metadata: index % 3 === 0 ? { index } : undefined,
      }));
      await memory.addMemory({ sessionId, messages });
      ids.push(sessionId);
      return sessionId;
    };
    await add("none", 0);
    await add("few", 3);
    await add("many", 130);
    const holes = await add("holes", 80);
    for (const index of [79, 78, 60, 59, 41, 3])
      await memory.deleteMessage({ sessionId: holes, messageId: `holes-${index}` });
    const all = await add("all-deleted", 2);
    for (const index of [0, 1]) await memory.deleteMessage({ sessionId: all, messageId: `all-deleted-${index}` });
    const cleared = await add("cleared", 60);
    await memory.clearMemory({ sessionId: cleared });
    await memory.addMemory({ sessionId: cleared, messages: [{ messageId: "after" }] });
    const restored = await add("restored", 20);
    await sessions.deleteSession({ sessionId: restored });
    await sessions.undeleteSession({ sessionId: restored, restoreMemory: true });
    const summed = await add("summed", 70);
    await memory.setSummary({ sessionId: summed, content: "until 65", recentMessageId: "summed-65" });
    await memory.deleteMessage({ sessionId: summed, messageId: "summed-67" });
    const early = await add("summed-early", 70);
    await memory.setSummary({ sessionId: early, content: "until 2", recentMessageId: "summed-early-2" });
    await memory.deleteMessage({ sessionId: early, messageId: "summed-early-40" });
    const gone = await add("gone", 5);
    await sessions.deleteSession({ sessionId: gone });
    ids.push(`never-${newId()}`);

    lengthy = Array.from({ length: 4 }, () => `lengthy-${newId()}`);
    const messages = Array.from({ length: 5 }, () => ({ content: "x".repeat(1_000_000) }));
    for (const sessionId of lengthy) await memory.addMemory({ sessionId, messages });
  });

  let before = 0;
  beforeEach(() => {
    before = service.reads.length;
  });

  test("of many callers at once gives each what it would get alone", async () => {
    const queries = ids.flatMap((sessionId) => [0, 1, 2, 7, 50, 1000].map((lastN) => ({ sessionId, lastN })));
    const alone: unknown[] = [];
    for (const query of queries) alone.push(await service.memory.getMemory(query));
    for (let round = 0; round < 5; round++) {
      const order = queries.map((_, index) => index).sort(() => Math.random() - 0.5);
      const together = await Promise.all(order.map((index) => service.memory.getMemory(queries[index] as never)));
      expect(together).toEqual(order.map((index) => alone[index]));
    }
  });

  test("of many callers at once is few queries", async () => {
    const sessionIds = ids.filter((id) => /^(few|many|cleared|restored)/.test(id));
    const calls = Array.from({ length: 60 }, (_, index) => sessionIds[index % sessionIds.length] as string);
    await Promise.all(calls.map((sessionId) => service.memory.getMemory({ sessionId, lastN: 10 })));
    expect(readsSince(before).length).toBeLessThan(40);
  });

  test("of memories that are too large together gives each all of its own", async () => {
    const calls = Array.from({ length: 12 }, (_, index) => lengthy[index % lengthy.length] as string);
    const answers = await Promise.all(
      calls.map((sessionId) => service.memory.getMemory({ sessionId, lastN: 5, maxBytes: MAX_MEMORY_BYTES })),
    );
    for (const [index, { session, messages }] of answers.entries()) {
      expect(session?.sessionId).toBe(calls[index]);
      expect(messages.map(({ sequence, content }) => [sequence, content.length])).toEqual(
        [1, 2, 3, 4, 5].map((sequence) => [sequence, 1_000_000]),
      );
    }
  });
});

test("an add to a session that this process has added to reads nothing before it writes", async () => {
  const sessionId = newId();
  await service.memory.addMemory({ sessionId, messages: [{ content: "one" }] });
  const before = service.reads.length;
  const { messages } = await service.memory.addMemory({
    sessionId,
    messages: [{ content: "two" }, { content: "three" }],
  });
  expect(messages.map(({ sequence }) => sequence)).toEqual([2, 3]);
  expect(readsSince(before)).toEqual([]);
});
