import { afterAll, beforeAll, expect, test } from "vitest";
import { millis } from "../support/contract.js";
import { eventually } from "../support/eventually.js";
import { createTestExpirer } from "../support/expirer.js";
import { expiresAt, idleTtl } from "../support/expiry.js";
import {
  atOnce,
  forEach,
  liveSessionsOf,
  messagesOf,
  moment,
  outcome,
  type Pair,
  sessionWithDeleted,
  startPair,
} from "./support.js";

/** Two services that both look for what has expired every 25 ms, so that they get in each other's way as well. */
let pair: Pair;

beforeAll(async () => {
  pair = await startPair({ purgeIntervalMs: 100, retentionMs: 30 * 86_400_000 });
});
afterAll(() => pair.stop());

const IDLE_MS = 60;

const isDeleted = async (sessionId: string) =>
  (await sessionWithDeleted(pair.one, sessionId))?.deleteTime !== undefined;
const expired = (sessionId: string) => eventually(`${sessionId} expires`, () => isDeleted(sessionId));

test("adding against expiry: each addition moves the moment or revives the session, and none is lost", async () => {
  const seen = new Set<string>();
  await forEach(60, 6, async (round) => {
    const sessionId = `add-${round}`;
    // Of some hardly any is late, of the others most are.
    const idleMs = round % 3 === 0 ? 2_000 : IDLE_MS;
    let live: string[] = [];
    let lastAdded = 0;
    let revived = false;
    for (let turn = 0; turn < 6; turn++) {
      const messageId = `m${turn}`;
      const { messages, sessionUndeleted } = await pair.at(round + turn).memory.addMemory({
        sessionId,
        messages: [{ messageId, content: messageId }],
        expiry: idleTtl(idleMs),
      });
      if (sessionUndeleted) live = [];
      // One that has come back has no expiry any more.
      if (sessionUndeleted) expect(revived).toBe(false);
      revived ||= sessionUndeleted;
      live.push(messageId);
      lastAdded = millis(messages[0]?.createTime);
      await moment(IDLE_MS * 1.5);
    }
    if (!revived) await expired(sessionId);
    const session = await sessionWithDeleted(pair.other, sessionId);
    if (revived) {
      expect(session).toMatchObject({ messageCount: live.length, expiry: undefined, expiresAt: undefined });
      expect((await messagesOf(pair.one, sessionId)).map((message) => message.messageId)).toEqual(live);
    } else {
      expect(millis(session?.deleteTime)).toBeGreaterThanOrEqual(lastAdded + idleMs);
      await pair.one.sessions.undeleteSession({ sessionId, restoreMemory: true });
      expect((await messagesOf(pair.one, sessionId)).map((message) => message.messageId)).toEqual(live);
    }
    seen.add(revived ? "revived" : "moved");
  });
  expect(seen).toEqual(new Set(["revived", "moved"]));
});

test("an update against expiry: a session whose expiry was cleared or prolonged lives, one that had expired is not found", async () => {
  const seen = new Set<string>();
  await forEach(150, 6, async (round) => {
    const sessionId = `update-${round}`;
    const { session } = await pair.one.sessions.createSession({ sessionId, expiry: idleTtl(IDLE_MS) });
    await moment(IDLE_MS * 2.5);
    const prolongs = round % 2 === 0;
    const change = prolongs ? { expiry: idleTtl(3_600_000) } : { clearExpiry: true };
    const { answer } = await outcome(
      pair.at(round).sessions.updateSession({ sessionId, ...change }),
      "SESSION_NOT_FOUND",
    );
    if (answer) {
      // What had been due before is looked at by both.
      await createTestExpirer(pair.one.database).pass();
      const after = (await pair.other.sessions.getSession({ sessionId })).session;
      expect(after).toEqual(answer.session);
      expect(expiresAt(after)).toBe(prolongs ? millis(session?.createTime) + 3_600_000 : undefined);
    } else {
      const after = await sessionWithDeleted(pair.one, sessionId);
      expect(millis(after?.deleteTime)).toBeGreaterThanOrEqual(expiresAt(session) ?? 0);
      expect(after).toMatchObject({ expiry: undefined });
    }
    seen.add(answer ? "updated" : "expired");
  });
  expect(seen).toEqual(new Set(["updated", "expired"]));
});

test("deleting and undeleting against expiry: the session is deleted once, counted exactly, and restored whole", async () => {
  const seen = new Set<string>();
  await forEach(60, 6, async (round) => {
    const [sessionId, userId] = [`delete-${round}`, `user-of-deleted-${round}`];
    const api = pair.at(round);
    await api.users.createUser({ userId });
    const sessionCount = async () => (await api.users.getUser({ userId })).user?.sessionCount;
    await api.memory.addMemory({ sessionId, userId, messages: [{ content: "a" }, {}], expiry: idleTtl(IDLE_MS) });
    await moment(IDLE_MS * 2.5);
    const { answer } = await outcome(api.sessions.deleteSession({ sessionId }), "SESSION_NOT_FOUND");
    const by = answer ? "hand" : "expiry";
    seen.add(by);
    const { session } = await pair.at(round + 1).sessions.undeleteSession({ sessionId, restoreMemory: true });
    expect(session).toMatchObject({ messageCount: 2, expiry: answer ? idleTtl(IDLE_MS) : undefined });
    if (answer) await expired(sessionId);
    expect(await sessionCount()).toBe(answer ? 0 : 1);
  });
  expect(seen).toEqual(new Set(["hand", "expiry"]));
});

test("several who delete what has expired at once: each session is deleted by one of them, and counted once", async () => {
  const userId = "user of many";
  const SESSIONS = 300;
  await pair.one.users.createUser({ userId });
  await atOnce(SESSIONS, (n) =>
    pair.at(n).memory.addMemory({ sessionId: `many-${n}`, userId, messages: [{}], expiry: idleTtl(3_600_000) }),
  );
  const { database } = pair.one;
  const before = await database.sessions.findOne({ _id: "default/many-0" });
  await database.sessions.updateMany({ user: before?.user as string }, { $set: { expiresAt: new Date() } });
  const expirers = [createTestExpirer(database), createTestExpirer(pair.other.database)];
  await Promise.all(expirers.map((expirer) => expirer.pass()));
  expect((await pair.one.users.getUser({ userId })).user?.sessionCount).toBe(0);
  expect(await liveSessionsOf(pair.other, userId)).toEqual([]);
  const changes = await database.sessions.find({ user: before?.user as string }).toArray();
  expect(changes.filter(({ version }) => version !== 2)).toEqual([]);
});

test("deleting their user against expiry: what the deletion took comes back with the user, and what had expired does not", async () => {
  const seen = new Set<string>();
  await forEach(40, 4, async (round) => {
    const userId = `user-${round}`;
    const ids = [1, 2, 3].map((n) => `of-user-${round}-${n}`);
    await pair.one.users.createUser({ userId });
    await Promise.all(
      ids.map((sessionId, n) =>
        pair.at(n).memory.addMemory({ sessionId, userId, messages: [{}], expiry: idleTtl(IDLE_MS * (n + 1)) }),
      ),
    );
    await moment(IDLE_MS * 4);
    await pair.at(round).users.deleteUser({ userId });
    const gone = await Promise.all(ids.map((sessionId) => sessionWithDeleted(pair.one, sessionId)));
    await pair.at(round + 1).users.undeleteUser({ userId, restoreSessions: true });
    for (const session of gone) {
      const { sessionId = "", expiry } = session ?? {};
      seen.add(expiry ? "taken" : "expired");
      // It begins anew then, and ends again.
      if (expiry) await expired(sessionId);
      const back = await pair.one.sessions.undeleteSession({ sessionId, restoreMemory: true });
      expect(back.session).toMatchObject({ messageCount: 1, expiry: undefined });
    }
    expect((await pair.one.users.getUser({ userId })).user?.sessionCount).toBe(3);
  });
  expect(seen).toEqual(new Set(["taken", "expired"]));
});

test("whatever it is told to be due is looked at again: nothing else is deleted", async () => {
  const { database } = pair.one;
  const { sessions } = pair.one;
  await sessions.createSession({ sessionId: "eternal" });
  await sessions.createSession({ sessionId: "later", expiry: idleTtl(3_600_000) });
  await sessions.createSession({ sessionId: "cleared", expiry: idleTtl(3_600_000) });
  await sessions.updateSession({ sessionId: "cleared", clearExpiry: true });
  await sessions.createSession({ sessionId: "deleted", expiry: idleTtl(3_600_000) });
  await sessions.deleteSession({ sessionId: "deleted" });
  const ids = ["eternal", "later", "cleared", "deleted"];
  const shown = () => Promise.all(ids.map((sessionId) => sessionWithDeleted(pair.one, sessionId)));
  const before = await shown();
  const expirer = createTestExpirer(database, {
    async *sessionsExpiring() {
      for (const id of [...ids, "none"]) yield `default/${id}`;
    },
  });
  await expirer.pass();
  expect(await shown()).toEqual(before);
  expect(expirer.expired).toBe(0);
});
