import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { beginFork, type Fork, publishFork } from "../../src/domain/fork.js";
import { newId } from "../../src/domain/new-id.js";
import { createForkStore } from "../../src/store/forks/forks.js";
import {
  atOnce,
  forEach,
  liveSession,
  messagesOf,
  moment,
  numbered,
  outcome,
  type Pair,
  sessionWithDeleted,
  startPair,
} from "./support.js";

let pair: Pair;
beforeAll(async () => {
  pair = await startPair();
});
afterAll(() => pair.stop());

const idsOf = (messages: readonly { messageId: string }[]): string[] => messages.map(({ messageId }) => messageId);

/** The count is what is there, and last_message_time is that of the newest. */
async function isExact(sessionId: string): Promise<void> {
  const session = await liveSession(pair.one, sessionId);
  const messages = await messagesOf(pair.other, sessionId);
  expect(session?.messageCount).toBe(messages.length);
  expect(session?.lastMessageTime).toEqual(messages.at(-1)?.createTime);
  const { messages: known } = await pair.one.memory.getMemory({ sessionId, lastN: 100 });
  expect(known).toEqual(messages);
}

test("a rewind against adding: a call's messages go together or stay together, and are answered by the rewind when they go", async () => {
  const seen = new Set<string>();
  await forEach(100, 6, async (round) => {
    const sessionId = `rewind-add-${round}`;
    await pair.one.memory.addMemory({ sessionId, messages: numbered(4) });
    const [added, rewound] = await Promise.all([
      moment(4).then(() => pair.at(round).memory.addMemory({ sessionId, messages: numbered(3, "new") })),
      moment(4).then(() => pair.at(round + 1).memory.rewindMemory({ sessionId, afterMessageId: "m1" })),
    ]);
    const taken = idsOf(rewound.messages);
    const left = idsOf(await messagesOf(pair.other, sessionId));
    const isLater = left.length > 2;
    expect(left).toEqual(isLater ? ["m0", "m1", "new0", "new1", "new2"] : ["m0", "m1"]);
    expect(taken).toEqual(isLater ? ["m2", "m3"] : ["m2", "m3", "new0", "new1", "new2"]);
    expect(added.messages.map(({ sequence }) => sequence)).toEqual([5, 6, 7]);
    await isExact(sessionId);
    seen.add(isLater ? "added last" : "rewound last");
  });
  expect(seen).toEqual(new Set(["added last", "rewound last"]));
});

test("a rewind that expects a last sequence takes away nothing that was added after that", async () => {
  const seen = new Set<string>();
  await forEach(90, 6, async (round) => {
    const sessionId = `rewind-expecting-${round}`;
    await pair.one.memory.addMemory({ sessionId, messages: numbered(3) });
    const [, rewound] = await Promise.all([
      moment(4).then(() => pair.at(round).memory.addMemory({ sessionId, messages: numbered(2, "new") })),
      moment(4).then(() =>
        outcome(
          pair.at(round + 1).memory.rewindMemory({ sessionId, afterSequence: 1, expectedLastSequence: 3 }),
          "SEQUENCE_MISMATCH",
        ),
      ),
    ]);
    const left = idsOf(await messagesOf(pair.other, sessionId));
    expect(left).toEqual(rewound.answer ? ["m0", "new0", "new1"] : ["m0", "m1", "m2", "new0", "new1"]);
    await isExact(sessionId);
    seen.add(rewound.reason ?? "rewound");
  });
  expect(seen).toEqual(new Set(["rewound", "SEQUENCE_MISMATCH"]));
});

test("rewinds and deletions at once: each message is taken away by exactly one of them", async () => {
  await forEach(30, 4, async (round) => {
    const sessionId = `rewind-rewind-${round}`;
    await pair.one.memory.addMemory({ sessionId, messages: numbered(12) });
    const rewinds = [2, 5, 5, 8].map((after, index) =>
      moment(6).then(async () =>
        idsOf((await pair.at(index).memory.rewindMemory({ sessionId, afterSequence: after })).messages),
      ),
    );
    const deletions = ["m3", "m7", "m11"].map((messageId, index) =>
      moment(6).then(async () => {
        const { answer } = await outcome(
          pair.at(index + 1).memory.deleteMessage({ sessionId, messageId }),
          "MESSAGE_NOT_FOUND",
        );
        return answer ? [messageId] : [];
      }),
    );
    const taken = (await Promise.all([...rewinds, ...deletions])).flat();
    expect(taken.sort()).toEqual(idsOf(numbered(12).slice(2)).sort());
    expect(idsOf(await messagesOf(pair.other, sessionId))).toEqual(["m0", "m1"]);
    await isExact(sessionId);
  });
});

test("a rewind against clearing, deleting and purging: what it took away it took away before that", async () => {
  const others: readonly ((sessionId: string) => Promise<unknown>)[] = [
    (sessionId: string) => pair.other.memory.clearMemory({ sessionId }),
    (sessionId: string) => pair.other.sessions.deleteSession({ sessionId }),
    (sessionId: string) => pair.other.sessions.purgeSession({ sessionId }),
  ];
  await forEach(90, 6, async (round) => {
    const sessionId = `rewind-clear-${round}`;
    await pair.one.memory.addMemory({ sessionId, messages: numbered(5) });
    await pair.one.memory.setSummary({ sessionId, recentMessageId: "m3", content: "so far" });
    const kind = round % others.length;
    const [{ answer }] = await Promise.all([
      moment(4).then(() =>
        outcome(pair.at(round).memory.rewindMemory({ sessionId, afterSequence: 2 }), "SESSION_NOT_FOUND"),
      ),
      moment(4).then(() => others[kind]?.(sessionId)),
    ]);
    // After the clearing there was nothing that it could take away.
    expect([0, 3, undefined]).toContain(answer?.rewoundMessages);
    expect(await messagesOf(pair.one, sessionId)).toEqual([]);
    if (kind === 1) {
      await pair.one.sessions.undeleteSession({ sessionId, restoreMemory: true });
      expect(idsOf(await messagesOf(pair.other, sessionId))).toEqual(idsOf(numbered(answer ? 2 : 5)));
      const { summary } = await pair.other.memory.getMemory({ sessionId });
      expect(summary?.content).toBe(answer ? undefined : "so far");
    }
    if (kind !== 2) await isExact(sessionId);
    else expect(await sessionWithDeleted(pair.one, sessionId)).toBeUndefined();
  });
});

test("summaries beside rewinds never cover what was taken away", async () => {
  await atOnce(30, async (round) => {
    const sessionId = randomUUID();
    await pair.one.memory.addMemory({ sessionId, messages: numbered(6) });
    await Promise.all([
      moment(4).then(() =>
        outcome(
          pair.at(round).memory.setSummary({ sessionId, recentMessageId: "m4", content: "so far" }),
          "MESSAGE_NOT_FOUND",
        ),
      ),
      moment(4).then(() => pair.at(round + 1).memory.rewindMemory({ sessionId, afterMessageId: "m2" })),
    ]);
    const { summary, messages } = await pair.one.memory.getMemory({ sessionId });
    expect(summary).toBeUndefined();
    expect(idsOf(messages)).toEqual(["m0", "m1", "m2"]);
  });
});

test("a fork that is under way has nothing that was rewound, and what was edited as it is now", async () => {
  const [sessionId, forked] = [randomUUID(), randomUUID()];
  const [source, target] = [`default/${sessionId}`, `default/${forked}`];
  await pair.one.memory.addMemory({ sessionId, messages: numbered(150) });
  await pair.one.memory.setSummary({ sessionId, recentMessageId: "m120", content: "so far" });
  const call = {
    project: "default",
    signal: new AbortController().signal,
    deadline: Number.POSITIVE_INFINITY,
    requestId: "test",
  };
  const epoch = newId();
  const fork: Fork = {
    epoch,
    source,
    target,
    upToMessageId: undefined,
    owner: () => undefined,
    make: () => ({
      key: target,
      project: "default",
      uid: randomUUID(),
      epoch,
      user: undefined,
      metadata: undefined,
      terms: undefined,
      expiry: undefined,
    }),
  };
  const forks = createForkStore(pair.one.database);
  let copy = await forks.begin(call, fork, (state) => beginFork(state, fork));
  copy = (await forks.copy(call, copy)) ?? copy;
  // Some of what is taken away is copied already, and some is not.
  expect(copy.to).toBeGreaterThan(50);
  expect(copy.to).toBeLessThan(150);
  await pair.other.memory.updateMessage({ sessionId, messageId: "m3", content: "\u2026" });
  expect((await pair.other.memory.rewindMemory({ sessionId, afterMessageId: "m49" })).rewoundMessages).toBe(100);
  while (copy.to < copy.extent.upTo) copy = (await forks.copy(call, copy)) ?? copy;
  await forks.publish(call, copy, (state, copied) => publishFork(state, fork, copied));
  const left = await messagesOf(pair.other, forked);
  expect(idsOf(left)).toEqual(idsOf(numbered(50)));
  expect(left[3]?.content).toBe("\u2026");
  expect((await pair.one.memory.getMemory({ sessionId: forked })).summary).toBeUndefined();
  await isExact(forked);
  const stored = await pair.one.database.messages.countDocuments({ session: target });
  expect(stored).toBe(50);
});
