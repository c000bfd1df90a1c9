import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { ErasureReceipt } from "../../gen/sessions/v1/resources.js";
import { createWork } from "../../src/store/erasing/work.js";
import { failure } from "../support/api.js";
import { eventually } from "../support/eventually.js";
import { createTestPurger } from "../support/purger.js";
import {
  atOnce,
  forEach,
  liveSession,
  messagesOf,
  moment,
  numbered,
  outcome,
  type Pair,
  startPair,
} from "./support.js";

/** The receipts of erasures that several work at, that are broken off, or that others are in the way of. */

let pair: Pair;
beforeAll(async () => {
  // Their own passes would join in.
  pair = await startPair({ purgeIntervalMs: 2 ** 30 });
});
afterAll(() => pair.stop());

async function userWithSessions(sessions: number, messages: number): Promise<{ userId: string; ids: string[] }> {
  const userId = `erased-${randomUUID()}`;
  await pair.one.users.createUser({ userId });
  const ids = Array.from({ length: sessions }, (_, index) => `${userId}-${index}`);
  await forEach(sessions, 32, async (index) => {
    const sessionId = ids[index] as string;
    for (let from = 0; from < messages; from += 1000) {
      const batch = numbered(messages).slice(from, from + 1000);
      await pair.at(index).memory.addMemory({ sessionId, userId, messages: batch });
    }
  });
  return { userId, ids };
}

const receiptsFor = async (requestId: string): Promise<ErasureReceipt[]> =>
  (await pair.one.purge.listErasures({}))
    .flatMap(({ receipts }) => receipts)
    .filter((receipt) => receipt.requestId === requestId);

const purge = (index: number, userId: string) =>
  pair.at(index).users.purgeUser({ userId }, { headers: { "x-request-id": userId } });

test("several who erase a user at once leave one receipt, with all that they did together", async () => {
  for (let round = 0; round < 8; round++) {
    const { userId } = await userWithSessions(12, 4);
    const answers = await atOnce(4, async (index) => {
      await moment(20);
      return (await outcome(purge(index, userId), "USER_NOT_FOUND")).answer;
    });
    const [answer, ...more] = answers.filter((one) => one !== undefined);
    expect(more).toEqual([]);
    expect(answer?.receipt).toMatchObject({ purgedSessions: 12, purgedMessages: 48 });
    expect(await receiptsFor(userId)).toEqual([answer?.receipt]);
  }
});

test("what a call began and a pass of the purger finished leaves one receipt of both", async () => {
  const { database } = pair.one;
  const { userId, ids } = await userWithSessions(3, 1500);
  const [first] = ids as [string];
  // It dies with the first session half erased: what it has done by then is what it does until its caller has gone.
  const work = createWork(database);
  const died = createTestPurger(database, 0, {
    async *sessionsOf(user) {
      for await (const key of work.sessionsOf(user)) {
        if (key !== `default/${first}`) continue;
        yield key;
        throw new Error("died");
      }
    },
  });
  const request = { receipt: randomUUID(), requestId: userId, requestedBy: "" };
  const call = {
    project: "default",
    signal: new AbortController().signal,
    deadline: Number.POSITIVE_INFINITY,
    requestId: userId,
  };
  await expect(died.purgeUser(call, `default/${userId}`, () => true, request)).rejects.toThrow("died");
  expect(await receiptsFor(userId)).toEqual([]);
  const left = await database.sessions.find({ user: `default/${userId}` }).toArray();
  expect(left.map(({ deleted }) => deleted)).toEqual([true, true]);
  // The TTL index, which does not count, must have none of it, now or when somebody does the housekeeping of deletions.
  expect(left.filter(({ purgeTime, expireAt, retired }) => purgeTime || expireAt || retired)).toEqual([]);

  await Promise.all([createTestPurger(pair.other.database).pass(), createTestPurger(database).pass()]);
  expect(await receiptsFor(userId)).toMatchObject([
    { receiptId: request.receipt, purgedSessions: 3, purgedMessages: 4500 },
  ]);
  expect(await failure(purge(0, userId))).toMatchObject({ reason: "USER_NOT_FOUND" });
  expect(await receiptsFor(userId)).toHaveLength(1);
});

test("who takes the id of a session that is being erased keeps what is theirs, and the receipt has what was not", async () => {
  for (let round = 0; round < 6; round++) {
    const { userId, ids } = await userWithSessions(6, 3);
    await Promise.all([
      purge(round, userId),
      ...ids.map(async (sessionId, index) => {
        // What is added while the session lives is erased with it.
        const isGone = async () => (await liveSession(pair.at(index), sessionId)) === undefined;
        await eventually("the session is gone", isGone);
        const takes = async () => {
          // Between its deletion and its erasure it could only come back, and its user is not there to have it.
          const adding = pair.at(index).memory.addMemory({ sessionId, messages: numbered(2, "new") });
          return (await outcome(adding, "USER_NOT_FOUND")).answer?.sessionCreated === true;
        };
        await eventually("the id is free", takes);
      }),
    ]);
    await createTestPurger(pair.one.database).pass();
    const receipt = { purgedSessions: 6, purgedMessages: 18 };
    expect(await receiptsFor(userId)).toMatchObject([receipt]);
    for (const sessionId of ids) {
      expect((await messagesOf(pair.one, sessionId)).map(({ messageId }) => messageId)).toEqual(["new0", "new1"]);
      expect(await pair.one.database.messages.countDocuments({ session: `default/${sessionId}` })).toBe(2);
    }
  }
});

test("a process that dies before it has erased what was condemned, under an id that another has taken since, leaves an exact receipt", async () => {
  const { database } = pair.one;
  const { userId, ids } = await userWithSessions(2, 5);
  const [first] = ids as [string];
  const receipt = randomUUID();
  const now = new Date();
  const key = `default/${userId}`;
  const user = await database.users.findOne({ _id: key });
  const session = await database.sessions.findOne({ _id: `default/${first}` });
  // Its first two steps.
  const erasure = { receipt, requestId: userId, requestedBy: "", beginTime: now, sessions: 0, messages: 0 };
  const deletion = { deleted: true, deleteTime: now, purgeTime: now };
  const task = { kind: "purge" as const, epoch: user?.epoch ?? "", erasure };
  await database.users.updateOne({ _id: key }, { $set: { ...deletion, sessionCount: 0, task } });
  const entry = {
    ...{ epoch: session?.epoch ?? "", deleteTime: now, purgeTime: now, doneTo: 0, task: "erase" as const },
    counted: { user: key, receipt, messages: 0 },
  };
  await database.sessions.updateOne(
    { _id: `default/${first}` },
    { $set: { ...deletion, purging: true, retired: [entry] } },
  );

  await pair.other.memory.addMemory({ sessionId: first, messages: numbered(2, "new") });
  await createTestPurger(pair.other.database).pass();
  expect(await receiptsFor(userId)).toMatchObject([{ purgedSessions: 2, purgedMessages: 10 }]);
  expect(await database.messages.countDocuments({ session: `default/${first}` })).toBe(2);
  expect(await messagesOf(pair.one, first)).toHaveLength(2);
});
