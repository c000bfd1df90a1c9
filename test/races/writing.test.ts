import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { atOnce, forEach, liveSession, messagesOf, numbered, type Pair, startPair } from "./support.js";

let pair: Pair;

beforeAll(async () => {
  pair = await startPair();
});
afterAll(() => pair.stop());

describe("adding memory at once through two services", () => {
  test("first calls to one session all count, one of them creates it, and none is torn apart", async () => {
    await forEach(6, 1, async (round) => {
      const sessionId = `first-${round}`;
      const calls = await atOnce(50, (call) =>
        pair.at(call).memory.addMemory({
          sessionId,
          messages: [0, 1, 2].map((index) => ({ content: `${call}.${index}` })),
        }),
      );
      expect(calls.filter(({ sessionCreated }) => sessionCreated)).toHaveLength(1);

      const messages = await messagesOf(pair.one, sessionId);
      expect(messages).toHaveLength(150);
      expect((await liveSession(pair.other, sessionId))?.messageCount).toBe(150);
      for (const [position, message] of messages.entries()) {
        const before = messages[position - 1];
        if (before) expect(message.sequence).toBeGreaterThan(before.sequence);
        // Three neighbours are one call, in its order.
        const call = messages[position - (position % 3)]?.content.split(".")[0];
        expect(message.content).toBe(`${call}.${position % 3}`);
      }
      const answered = calls.flatMap((answer) =>
        answer.messages.map(({ messageId, sequence }) => [sequence, messageId]),
      );
      expect(new Map(messages.map((m) => [m.sequence, m.messageId]))).toEqual(new Map(answered as [number, string][]));
    });
  });

  test("what was acknowledged first comes first", async () => {
    await forEach(40, 4, async (round) => {
      const sessionId = `ordered-${round}`;
      for (let call = 0; call < 6; call++) {
        await pair.at(call).memory.addMemory({ sessionId, messages: [{ content: String(call) }] });
      }
      expect((await messagesOf(pair.one, sessionId)).map(({ content }) => content)).toEqual([
        "0",
        "1",
        "2",
        "3",
        "4",
        "5",
      ]);
    });
  });

  test("a call with ids that is sent twenty times adds once, and all are answered the same", async () => {
    await forEach(20, 2, async (round) => {
      const request = { sessionId: `same-${round}`, messages: numbered(3) };
      const [first, ...others] = await atOnce(20, (call) => pair.at(call).memory.addMemory(request));
      expect(first).toMatchObject({ sessionCreated: true, messages: [{ messageId: "m0" }, { messageId: "m1" }, {}] });
      for (const answer of others) expect(answer).toEqual(first);
      expect((await messagesOf(pair.one, request.sessionId)).map(({ messageId }) => messageId)).toEqual([
        "m0",
        "m1",
        "m2",
      ]);
      expect((await liveSession(pair.one, request.sessionId))?.messageCount).toBe(3);
    });
  });

  test("of calls that expect the same last sequence one succeeds", async () => {
    await forEach(20, 2, async (round) => {
      const sessionId = `expected-${round}`;
      const outcomes = await Promise.allSettled(
        Array.from({ length: 10 }, (_, call) =>
          pair.at(call).memory.addMemory({ sessionId, messages: [{ content: "x" }], expectedLastSequence: 0 }),
        ),
      );
      expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
      expect(await messagesOf(pair.other, sessionId)).toHaveLength(1);
    });
  });
});

describe("merging different keys at once through two services", () => {
  const keys = Array.from({ length: 50 }, (_, index) => `k${index}`);
  const all = Object.fromEntries(keys.map((key, index) => [key, { n: index }]));
  const one = (index: number) => ({ [keys[index] as string]: { n: index } });

  test("keeps all keys of a session", async () => {
    await forEach(4, 1, async (round) => {
      const sessionId = `merge-${round}`;
      await pair.one.sessions.createSession({ sessionId });
      await atOnce(50, (i) => pair.at(i).sessions.updateSession({ sessionId, metadata: one(i) }));
      expect((await liveSession(pair.one, sessionId))?.metadata).toEqual(all);
    });
  });

  test("keeps all keys of a message", async () => {
    const key = { sessionId: "merge-message", messageId: "m0" };
    await pair.one.memory.addMemory({ sessionId: key.sessionId, messages: numbered(1) });
    await atOnce(50, (i) => pair.at(i).memory.updateMessage({ ...key, metadata: one(i) }));
    expect((await pair.one.memory.getMessage(key)).message?.metadata).toEqual(all);
  });

  test("keeps all keys of a user, while sessions of theirs come and go", async () => {
    const userId = "merge-user";
    await pair.one.users.createUser({ userId });
    await Promise.all([
      atOnce(50, (i) => pair.at(i).users.updateUser({ userId, metadata: one(i) })),
      atOnce(20, (i) => pair.at(i).sessions.createSession({ sessionId: `merge-user-${i}`, userId })),
    ]);
    expect((await pair.one.users.getUser({ userId })).user).toMatchObject({ metadata: all, sessionCount: 20 });
  });
});
