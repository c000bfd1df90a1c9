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

describe("transcripts at once through two services", () => {
  test("each message is there once, in its order, whoever comes first, and the metadata of none that added is lost", async () => {
    await forEach(6, 2, async (round) => {
      const sessionId = `transcript-${round}`;
      const messages = numbered(20);
      const answers = await atOnce(20, (call) =>
        pair.at(call).memory.addMemory({
          sessionId,
          messages: messages.slice(0, call + 1),
          mergeSessionMetadata: { [`up to ${call}`]: true, last: call },
        }),
      );
      const stored = await messagesOf(pair.one, sessionId);
      expect(stored.map(({ messageId }) => messageId)).toEqual(messages.map(({ messageId }) => messageId));
      for (const [call, answer] of answers.entries()) {
        expect(answer.messages).toEqual(
          stored.slice(0, call + 1).map(({ messageId, sequence, createTime }) => ({ messageId, sequence, createTime })),
        );
      }
      const created = answers.filter(({ sessionCreated }) => sessionCreated);
      expect(created.length).toBeGreaterThan(0);

      // Those that added something are those that were longer than all before them; the longest was one, and the last.
      const { last, ...added } = { ...(await liveSession(pair.other, sessionId))?.metadata };
      expect(last).toBe(19);
      expect(added).toMatchObject({ "up to 19": true });
      const again = await atOnce(20, (call) =>
        pair.at(call).memory.addMemory({
          sessionId,
          messages: messages.slice(0, call + 1),
          mergeSessionMetadata: { no: 1 },
        }),
      );
      expect(again.map((answer) => answer.messages)).toEqual(answers.map((answer) => answer.messages));
      expect((await liveSession(pair.one, sessionId))?.metadata).toEqual({ ...added, last });
      expect((await liveSession(pair.one, sessionId))?.messageCount).toBe(20);
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

  test("keeps all keys of a session, of updates and of calls that add, the first of which creates it", async () => {
    await forEach(4, 1, async (round) => {
      const sessionId = `merge-adding-${round}`;
      const created = await atOnce(50, (i) =>
        i % 3 === 0
          ? pair
              .at(i)
              .memory.addMemory({ sessionId, messages: [{ content: "first" }] })
              .then(() => pair.at(i + 1).sessions.updateSession({ sessionId, metadata: one(i) }))
              .then(() => false)
          : pair
              .at(i)
              .memory.addMemory({ sessionId, messages: [{ content: "x" }], mergeSessionMetadata: one(i) })
              .then(({ sessionCreated }) => sessionCreated),
      );
      expect(created.filter(Boolean).length).toBeLessThanOrEqual(1);
      expect(await liveSession(pair.one, sessionId)).toMatchObject({ metadata: all, messageCount: 50 });
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
