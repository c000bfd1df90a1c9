import { afterAll, beforeAll, expect, test } from "vitest";
import {
  atOnce,
  forEach,
  liveSession,
  liveSessionsOf,
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

test("adding memory against deleting: as if one came after the other, and nothing old is left", async () => {
  const seen = new Set<string>();
  await forEach(300, 6, async (round) => {
    const sessionId = `add-delete-${round}`;
    await pair.one.memory.addMemory({ sessionId, messages: numbered(3, "old") });
    const [added] = await Promise.all([
      moment(4).then(() => pair.at(round).memory.addMemory({ sessionId, messages: numbered(2, "new") })),
      moment(4).then(() => pair.at(round + 1).sessions.deleteSession({ sessionId })),
    ]);

    const session = await liveSession(pair.one, sessionId);
    const contents = (await messagesOf(pair.other, sessionId)).map(({ content }) => content);
    if (added.sessionUndeleted) {
      expect(contents).toEqual(["new0", "new1"]);
      expect(session?.messageCount).toBe(2);
    } else {
      expect(session).toBeUndefined();
      expect(contents).toEqual([]);
      const restored = await pair.one.sessions.undeleteSession({ sessionId, restoreMemory: true });
      expect(restored.session?.messageCount).toBe(5);
      expect(await messagesOf(pair.other, sessionId)).toHaveLength(5);
    }
    expect(added.messages.map(({ sequence }) => sequence > 3)).toEqual([true, true]);
    seen.add(added.sessionUndeleted ? "added last" : "deleted last");
  });
  expect(seen).toEqual(new Set(["added last", "deleted last"]));
});

test("adding memory against clearing it: the count is exact, whichever came last", async () => {
  await forEach(150, 6, async (round) => {
    const sessionId = `add-clear-${round}`;
    await pair.one.memory.addMemory({ sessionId, messages: numbered(3, "old") });
    await Promise.all([
      ...[0, 1].map((call) =>
        moment(4).then(() => pair.at(call).memory.addMemory({ sessionId, messages: numbered(2, `new${call}-`) })),
      ),
      moment(4).then(() => pair.at(round).memory.clearMemory({ sessionId })),
      moment(4).then(() =>
        outcome(pair.one.memory.deleteMessage({ sessionId, messageId: "old1" }), "MESSAGE_NOT_FOUND"),
      ),
    ]);
    const messages = await messagesOf(pair.other, sessionId);
    expect(messages.filter(({ content }) => content.startsWith("old"))).toEqual([]);
    expect((await liveSession(pair.one, sessionId))?.messageCount).toBe(messages.length);
  });
});

test("creating sessions for a user against deleting the user: none lives afterwards, and undeleting counts exactly", async () => {
  await forEach(40, 3, async (round) => {
    const userId = `leaving-${round}`;
    await pair.one.users.createUser({ userId });
    const ids = Array.from({ length: 12 }, (_, index) => `${userId}-${index}`);
    const creations = ids.map((sessionId, index) =>
      moment(12).then(() => {
        const { sessions, memory } = pair.at(index);
        const call: Promise<unknown> =
          index % 3 === 0
            ? sessions.createSession({ sessionId, userId })
            : memory.addMemory({ sessionId, userId, messages: numbered(1) });
        return outcome(call, "USER_NOT_FOUND");
      }),
    );
    await moment(10);
    await pair.at(round).users.deleteUser({ userId });
    // The user is gone for every reader from here on, though some creations are still under way.
    const left = await Promise.all([
      ...ids.map(async (sessionId) => (await liveSession(pair.one, sessionId))?.sessionId),
      liveSessionsOf(pair.other, userId).then(([first]) => first),
    ]);
    expect(left.filter((id) => id !== undefined)).toEqual([]);
    const created = (await Promise.all(creations)).filter(({ answer }) => answer).length;
    for (const sessionId of ids) expect(await liveSession(pair.other, sessionId)).toBeUndefined();

    const { user } = await pair.at(round + 1).users.undeleteUser({ userId, restoreSessions: true });
    expect(user?.sessionCount).toBe(created);
    expect(await liveSessionsOf(pair.one, userId)).toHaveLength(created);
    for (const sessionId of await liveSessionsOf(pair.one, userId)) {
      const { messageCount } = (await liveSession(pair.one, sessionId)) ?? {};
      expect(await messagesOf(pair.other, sessionId)).toHaveLength(messageCount ?? -1);
    }
  });
});

test("deleting, undeleting and moving sessions between users who come and go: every session_count is exact", async () => {
  const users = ["a", "b", "c"];
  await atOnce(3, (index) => pair.one.users.createUser({ userId: users[index] as string }));
  const ids = Array.from({ length: 12 }, (_, index) => `moving-${index}`);
  await Promise.all(ids.map((sessionId) => pair.one.sessions.createSession({ sessionId, userId: "a" })));
  const any = <T>(items: readonly T[]): T => items[Math.floor(Math.random() * items.length)] as T;
  const refusals = [
    "SESSION_NOT_FOUND",
    "SESSION_NOT_DELETED",
    "SESSION_ALREADY_EXISTS",
    "SESSION_SOFT_DELETED",
    "USER_NOT_FOUND",
    "USER_NOT_DELETED",
  ];
  const act = (): Promise<unknown> => {
    const api = pair.at(any([0, 1]));
    const [sessionId, userId] = [any(ids), any(users)];
    return any<() => Promise<unknown>>([
      () => api.sessions.updateSession({ sessionId, userId }),
      () => api.sessions.updateSession({ sessionId, userId }),
      () => api.sessions.updateSession({ sessionId, userId: "" }),
      () => api.sessions.deleteSession({ sessionId }),
      () => api.sessions.undeleteSession({ sessionId, restoreMemory: any([true, false]) }),
      () => api.memory.addMemory({ sessionId, userId, messages: numbered(1, String(Math.random())) }),
      () => api.users.deleteUser({ userId }),
      () => api.users.undeleteUser({ userId, restoreSessions: any([true, false]) }),
      () => api.users.undeleteUser({ userId, restoreSessions: true }),
      () => api.sessions.purgeSession({ sessionId }),
      () => api.sessions.createSession({ sessionId, userId }),
    ])();
  };
  await forEach(8, 1, async () => {
    await forEach(100, 12, async () => {
      await outcome(act(), ...refusals);
    });
    const counted = new Map<string, number>();
    for (const userId of users) {
      const { answer } = await outcome(pair.one.users.getUser({ userId }), "USER_NOT_FOUND");
      const listed = await liveSessionsOf(pair.other, userId);
      expect(listed).toHaveLength(answer?.user?.sessionCount ?? 0);
      counted.set(userId, listed.length);
    }
    for (const sessionId of ids) {
      const session = await sessionWithDeleted(pair.one, sessionId);
      expect((await messagesOf(pair.one, sessionId)).length).toBe(session?.messageCount ?? 0);
    }
    const all = (await pair.one.sessions.listSessions({})).flatMap(({ sessions }) => sessions);
    const owned = all.filter(({ sessionId, userId }) => ids.includes(sessionId) && userId !== undefined);
    expect([...counted.values()].reduce((a, b) => a + b)).toBe(owned.length);
  });
});

test("many sessions created at once for one user are all made and counted", async () => {
  const userId = "popular";
  await pair.one.users.createUser({ userId });
  await atOnce(200, (index) => pair.at(index).sessions.createSession({ sessionId: `popular-${index}`, userId }));
  expect((await pair.one.users.getUser({ userId })).user?.sessionCount).toBe(200);
  expect(await liveSessionsOf(pair.other, userId)).toHaveLength(200);
});
