import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { MemoryServiceService, WindowStart } from "../../gen/sessions/v1/memory_service.js";
import { PurgeServiceService } from "../../gen/sessions/v1/purge_service.js";
import { SessionServiceService } from "../../gen/sessions/v1/session_service.js";
import { UserServiceService } from "../../gen/sessions/v1/user_service.js";
import type { Api } from "../support/api.js";
import { type ObservedService, startObservedService } from "../support/observed-service.js";
import { forEach, liveSession, messagesOf, numbered, type Pair, startPair } from "./support.js";

/**
 * A process answers with messages that it has read or written before. Whatever changes a memory, in this process or another, must
 * be in every answer to a GetMemory that begins after the change was acknowledged.
 */
let pair: Pair;
beforeAll(async () => {
  pair = await startPair({ retentionMs: 3_600_000, memoryWindow: 4 });
});
afterAll(() => pair.stop());

const { WINDOW_START_USER, WINDOW_START_WHOLE_TOOL_CALLS } = WindowStart;

/** What readers ask for: what follows the summary, less than there is, as much, and more. */
const LAST_NS = [0, 1, 3, 8, 1000];

/** A session with a user of its own, and messages m0 to m7, of which m1 is the last that its summary covers. */
interface Place {
  readonly sessionId: string;
  readonly userId: string;
}

const deleted = (api: Api, { sessionId }: Place) => api.sessions.deleteSession({ sessionId });
const purged = (api: Api, { sessionId }: Place) => api.sessions.purgeSession({ sessionId });
const userDeleted = (api: Api, { userId }: Place) => api.users.deleteUser({ userId });
const message = (messageId: string, content = messageId) => ({ messageId, content });

interface Change {
  readonly rpc: string;
  readonly how: string;
  /** The call, after others that it takes to get there. All are made while readers know the memory as it was before. */
  make(api: Api, place: Place): Promise<unknown>;
  /** The messages that are left, where that is not all of m0 to m7. */
  readonly left?: readonly string[];
  /** Whether the session is gone after it. */
  readonly isGone?: true;
}

const ALL = numbered(8).map(({ messageId }) => messageId);
const without = (...ids: string[]): string[] => ALL.filter((id) => !ids.includes(id));

const CHANGES: readonly Change[] = [
  {
    rpc: "addMemory",
    how: "adds",
    make: (api, { sessionId }) => api.memory.addMemory({ sessionId, messages: [message("new"), message("newer")] }),
    left: [...ALL, "new", "newer"],
  },
  {
    rpc: "addMemory",
    how: "adds more than is kept",
    make: (api, { sessionId }) => api.memory.addMemory({ sessionId, messages: numbered(40, "new") }),
    left: [...ALL, ...numbered(40, "new").map(({ messageId }) => messageId)],
  },
  {
    rpc: "addMemory",
    how: "undeletes",
    async make(api, place) {
      await deleted(api, place);
      await api.memory.addMemory({ sessionId: place.sessionId, messages: [message("m7", "another m7")] });
    },
    left: ["m7"],
  },
  {
    rpc: "addMemory",
    how: "undeletes, with no messages",
    async make(api, place) {
      await deleted(api, place);
      await api.memory.addMemory({ sessionId: place.sessionId, messages: [] });
    },
    left: [],
  },
  {
    rpc: "addMemory",
    how: "creates anew, with the same ids and sequences",
    async make(api, place) {
      await purged(api, place);
      const messages = ALL.map((id) => message(id, `another ${id}`));
      await api.memory.addMemory({ sessionId: place.sessionId, messages });
    },
  },
  {
    rpc: "updateMessage",
    how: "changes metadata",
    make: (api, { sessionId }) =>
      api.memory.updateMessage({ sessionId, messageId: "m7", metadata: { changed: [true, null] } }),
  },
  {
    rpc: "updateMessage",
    how: "changes a token count twice, and an older message",
    async make(api, { sessionId }) {
      await Promise.all([
        api.memory.updateMessage({ sessionId, messageId: "m6", tokenCount: 5 }),
        api.memory.updateMessage({ sessionId, messageId: "m6", tokenCount: 5, metadata: { a: 1 } }),
        api.memory.updateMessage({ sessionId, messageId: "m0", tokenCount: 7 }),
      ]);
      await api.memory.updateMessage({ sessionId, messageId: "m7", tokenCount: 9 });
    },
  },
  {
    rpc: "updateMessage",
    how: "changes what is added at the same time",
    async make(api, { sessionId }) {
      const adding = [message("a"), message("b"), message("c")].map((one) =>
        api.memory.addMemory({ sessionId, messages: [one] }),
      );
      const updating = ["a", "b", "c"].map((messageId) =>
        api.memory.updateMessage({ sessionId, messageId, tokenCount: 3 }).catch(() => {}),
      );
      await Promise.all([...adding, ...updating]);
    },
    left: [...ALL, "a", "b", "c"],
  },
  {
    rpc: "updateMessage",
    how: "redacts some, the newest among them",
    async make(api, { sessionId }) {
      for (const messageId of ["m7", "m3", "m0"]) await api.memory.updateMessage({ sessionId, messageId, content: "" });
      await api.memory.updateMessage({
        sessionId,
        messageId: "m6",
        payload: Buffer.from("p"),
        payloadType: "text/plain",
      });
    },
  },
  {
    rpc: "deleteMessage",
    how: "deletes the newest",
    make: (api, { sessionId }) => api.memory.deleteMessage({ sessionId, messageId: "m7" }),
    left: without("m7"),
  },
  {
    rpc: "deleteMessage",
    how: "deletes some in the midst",
    async make(api, { sessionId }) {
      for (const messageId of ["m6", "m3", "m0"]) await api.memory.deleteMessage({ sessionId, messageId });
    },
    left: without("m6", "m3", "m0"),
  },
  {
    rpc: "deleteMessage",
    how: "deletes one, after which one is added: as many are there as before",
    async make(api, { sessionId }) {
      await api.memory.deleteMessage({ sessionId, messageId: "m7" });
      await api.memory.addMemory({ sessionId, messages: [message("new")] });
    },
    left: [...without("m7"), "new"],
  },
  {
    rpc: "rewindMemory",
    how: "takes the last ones away",
    make: (api, { sessionId }) => api.memory.rewindMemory({ sessionId, afterMessageId: "m4" }),
    left: without("m5", "m6", "m7"),
  },
  {
    rpc: "rewindMemory",
    how: "takes all away that a reader asks for, and the summary, before as many are added",
    async make(api, { sessionId }) {
      await api.memory.rewindMemory({ sessionId, afterMessageId: "m0" });
      await api.memory.addMemory({ sessionId, messages: numbered(7, "new") });
    },
    left: ["m0", ...numbered(7, "new").map(({ messageId }) => messageId)],
  },
  {
    rpc: "rewindMemory",
    how: "takes all away",
    make: (api, { sessionId }) => api.memory.rewindMemory({ sessionId, afterSequence: 0 }),
    left: [],
  },
  {
    rpc: "clearMemory",
    how: "clears",
    make: (api, { sessionId }) => api.memory.clearMemory({ sessionId }),
    left: [],
  },
  {
    rpc: "clearMemory",
    how: "clears, before some are added under the same ids and sequences that go on",
    async make(api, { sessionId }) {
      await api.memory.clearMemory({ sessionId });
      await api.memory.addMemory({ sessionId, messages: [message("m6", "another m6"), message("m7", "another m7")] });
    },
    left: ["m6", "m7"],
  },
  {
    rpc: "setSummary",
    how: "reaches further",
    make: (api, { sessionId }) => api.memory.setSummary({ sessionId, recentMessageId: "m6", content: "until m6" }),
  },
  {
    rpc: "setSummary",
    how: "reaches as far",
    make: (api, { sessionId }) =>
      api.memory.setSummary({ sessionId, recentMessageId: "m1", content: "again until m1" }),
  },
  {
    rpc: "createSession",
    how: "creates anew, with no memory",
    async make(api, place) {
      await purged(api, place);
      await api.sessions.createSession({ sessionId: place.sessionId });
    },
    left: [],
  },
  {
    rpc: "updateSession",
    how: "changes metadata and takes the user away",
    make: (api, { sessionId }) => api.sessions.updateSession({ sessionId, metadata: { changed: 1 }, userId: "" }),
  },
  { rpc: "deleteSession", how: "deletes", make: deleted, isGone: true },
  {
    rpc: "undeleteSession",
    how: "leaves the memory deleted",
    async make(api, place) {
      await deleted(api, place);
      await api.sessions.undeleteSession({ sessionId: place.sessionId });
    },
    left: [],
  },
  {
    rpc: "undeleteSession",
    how: "brings the memory back",
    async make(api, place) {
      await deleted(api, place);
      await api.sessions.undeleteSession({ sessionId: place.sessionId, restoreMemory: true });
    },
  },
  {
    rpc: "undeleteSession",
    how: "brings the memory back, of which one message was deleted before and one is changed after",
    async make(api, place) {
      const { sessionId } = place;
      await api.memory.deleteMessage({ sessionId, messageId: "m5" });
      await deleted(api, place);
      await api.sessions.undeleteSession({ sessionId, restoreMemory: true });
      await api.memory.updateMessage({ sessionId, messageId: "m7", tokenCount: 2 });
    },
    left: without("m5"),
  },
  { rpc: "purgeSession", how: "purges", make: purged, isGone: true },
  {
    rpc: "forkSession",
    how: "leaves what it copies alone, and makes what was there before its purge anew",
    async make(api, place) {
      const { sessionId } = place;
      const newSessionId = `${sessionId}-aside`;
      await api.sessions.forkSession({ sessionId, newSessionId });
      await api.memory.deleteMessage({ sessionId: newSessionId, messageId: "m7" });
      await purged(api, place);
      await api.sessions.forkSession({ sessionId: newSessionId, newSessionId: sessionId });
    },
    left: without("m7"),
  },
  { rpc: "deleteUser", how: "deletes their sessions", make: userDeleted, isGone: true },
  {
    rpc: "undeleteUser",
    how: "leaves their sessions deleted",
    async make(api, place) {
      await userDeleted(api, place);
      await api.users.undeleteUser({ userId: place.userId });
    },
    isGone: true,
  },
  {
    rpc: "undeleteUser",
    how: "brings their sessions back",
    async make(api, place) {
      await userDeleted(api, place);
      await api.users.undeleteUser({ userId: place.userId, restoreSessions: true });
    },
  },
  {
    rpc: "purgeUser",
    how: "purges their sessions",
    make: (api, { userId }) => api.users.purgeUser({ userId }),
    isGone: true,
  },
  {
    rpc: "purgeDeleted",
    how: "erases what was deleted, before it is created anew",
    async make(api, place) {
      await deleted(api, place);
      await api.purge.purgeDeleted({ olderThan: { seconds: 0, nanos: 0 } });
      await api.memory.addMemory({ sessionId: place.sessionId, messages: numbered(8) });
    },
  },
  {
    rpc: "purgeDeleted",
    how: "erases single messages that were deleted",
    async make(api, { sessionId }) {
      await api.memory.deleteMessage({ sessionId, messageId: "m4" });
      await api.purge.purgeDeleted({ olderThan: { seconds: 0, nanos: 0 } });
    },
    left: without("m4"),
  },
];

const CHANGE_NO_MEMORY = [
  "getSession",
  "batchGetSessions",
  "listSessions",
  "watchSessions",
  "getMemory",
  "listMessages",
  "getMessage",
  "searchMemory",
  "createUser",
  "getUser",
  "updateUser",
  "listUsers",
  "listErasures",
];

test("each call of the API is among the changes below, or changes no memory", () => {
  const services = [SessionServiceService, MemoryServiceService, UserServiceService, PurgeServiceService];
  const calls = services.flatMap((service) => Object.keys(service)).sort();
  expect([...new Set(CHANGES.map(({ rpc }) => rpc)), ...CHANGE_NO_MEMORY].sort()).toEqual(calls);
});

async function newPlace(): Promise<Place> {
  const sessionId = `known-${randomUUID()}`;
  const userId = `user-of-${sessionId}`;
  const { one } = pair;
  await one.users.createUser({ userId });
  await one.memory.addMemory({ sessionId, userId, messages: numbered(8) });
  await one.memory.setSummary({ sessionId, recentMessageId: "m1", content: "until m1" });
  return { sessionId, userId };
}

/** What GetMemory is to answer, from reads that know nothing of what was read before. */
async function stored({ sessionId }: Place, lastN: number) {
  const { other } = pair;
  const session = await liveSession(other, sessionId);
  const all = await messagesOf(other, sessionId);
  const document = await other.database.sessions.findOne({ _id: `default/${sessionId}` });
  const summary = session && document?.summary;
  const behind = all.filter(({ sequence }) => sequence > (summary?.recentSequence ?? 0));
  return { session, messages: lastN > 0 ? all.slice(-lastN) : behind.slice(-4), summary: summary?.content };
}

const read = async (api: Api, { sessionId }: Place, lastN: number) => {
  const { session, messages, summary } = await api.memory.getMemory({ sessionId, lastN });
  return { session, messages, summary: summary?.content };
};

const CASES = [
  { by: "another process", changes: "other", warm: ["one"] },
  { by: "another process, which knows it too", changes: "other", warm: ["other", "one"] },
  { by: "this process, while another knows it", changes: "one", warm: ["one", "other"] },
] as const;

test.each(CHANGES)("$rpc $how: readers of either process see it", async ({ make, left = ALL, isGone = false }) => {
  const cases = CASES.flatMap((one) => LAST_NS.map((lastN) => ({ ...one, lastN })));
  await forEach(cases.length, cases.length, async (index) => {
    const { by, changes, warm, lastN } = cases[index] as (typeof cases)[number];
    const place = await newPlace();
    for (const name of warm) {
      // Once for all that is there, so that it is known in full, and once as it is read again.
      for (const asked of [1000, lastN]) {
        expect(await read(pair[name], place, asked)).toEqual(await stored(place, asked));
      }
    }
    await make(pair[changes], place);
    const [one, other] = [await read(pair.one, place, lastN), await read(pair.other, place, lastN)];
    const expected = await stored(place, lastN);
    const which = { by, lastN };
    expect({ which, ...one }).toEqual({ which, ...expected });
    expect({ which, ...other }).toEqual({ which, ...expected });

    const whole = await read(pair.one, place, 1000);
    expect({ which, ...whole }).toEqual({ which, ...(await stored(place, 1000)) });
    const ids = whole.messages.map(({ messageId }) => messageId);
    // What is added at the same time may come in any order.
    expect(ids.sort()).toEqual(isGone ? [] : [...left].sort());
    expect(whole.session === undefined).toBe(isGone);
  });
});

describe("what is known is not read again", () => {
  let one: ObservedService;
  let other: Api & { stop(): Promise<void> };
  beforeAll(async () => {
    const databaseName = `test-${randomUUID()}`;
    one = await startObservedService({ databaseName });
    other = await startObservedService({ databaseName });
  });
  afterAll(async () => {
    await other.stop();
    await one.database.db.dropDatabase();
    await one.stop();
  });

  const newSession = async (by: Api, count: number): Promise<string> => {
    const sessionId = `known-${randomUUID()}`;
    await by.memory.addMemory({ sessionId, messages: numbered(count) });
    return sessionId;
  };

  /** What a GetMemory reads: of each collection, how many documents in each query. */
  async function cost(
    sessionId: string,
    lastN: number,
    more = {},
  ): Promise<{ sessions: number[]; messages: number[] }> {
    const before = one.reads.length;
    await one.memory.getMemory({ sessionId, lastN, ...more });
    const reads = one.reads.slice(before);
    expect(reads.filter(({ command }) => command !== "find")).toEqual([]);
    const of = (name: string) =>
      reads.flatMap(({ collection, documents }) => (collection === name ? [documents ?? -1] : []));
    return { sessions: of("sessions"), messages: of("messages") };
  }
  const COSTS_NO_MESSAGES = { sessions: [1], messages: [] };

  test("a memory that was read costs the session document alone", async () => {
    const sessionId = await newSession(other, 120);
    expect(await cost(sessionId, 50)).toEqual({ sessions: [1], messages: [50] });
    for (const lastN of [50, 1, 0, 49]) expect(await cost(sessionId, lastN)).toEqual(COSTS_NO_MESSAGES);
    expect(await cost(sessionId, 1000)).toEqual({ sessions: [1], messages: [120] });
    for (const lastN of [1000, 120, 50]) expect(await cost(sessionId, lastN)).toEqual(COSTS_NO_MESSAGES);
  });

  test("tokens and beginnings of what is known cost nothing more, but for groups that may be older than that", async () => {
    const sessionId = await newSession(other, 120);
    await cost(sessionId, 50);
    for (const windowStart of [WINDOW_START_USER, WINDOW_START_WHOLE_TOOL_CALLS]) {
      expect(await cost(sessionId, 50, { windowStart, maxTokens: 20 })).toEqual(COSTS_NO_MESSAGES);
    }
    await other.memory.addMemory({ sessionId, messages: [{ groupId: "g" }, { groupId: "g" }] });
    await cost(sessionId, 50);
    const windowStart = WINDOW_START_WHOLE_TOOL_CALLS;
    expect(await cost(sessionId, 50, { windowStart })).toEqual({ sessions: [1, 1], messages: [0] });
    // An older message of the group is known.
    expect(await cost(sessionId, 1, { windowStart })).toEqual(COSTS_NO_MESSAGES);
    await cost(sessionId, 1000);
    expect(await cost(sessionId, 50, { windowStart })).toEqual(COSTS_NO_MESSAGES);
  });

  test("of a memory that has grown only what is new is read", async () => {
    const sessionId = await newSession(other, 120);
    await cost(sessionId, 50);
    for (const count of [1, 2, 1]) {
      await other.memory.addMemory({ sessionId, messages: numbered(count, `${randomUUID()}-`) });
      expect(await cost(sessionId, 50)).toEqual({ sessions: [1], messages: [count] });
      expect(await cost(sessionId, 50)).toEqual(COSTS_NO_MESSAGES);
    }
  });

  test("what a process has added itself is not read by it", async () => {
    const sessionId = await newSession(one, 3);
    expect(await cost(sessionId, 50)).toEqual(COSTS_NO_MESSAGES);
    await one.memory.addMemory({ sessionId, messages: numbered(2, "new") });
    expect(await cost(sessionId, 1000)).toEqual(COSTS_NO_MESSAGES);
  });

  test("a summary, and what concerns the session alone, has no message read again", async () => {
    const sessionId = await newSession(other, 60);
    await cost(sessionId, 50);
    await other.memory.setSummary({ sessionId, recentMessageId: "m30", content: "until m30" });
    await other.sessions.updateSession({ sessionId, metadata: { a: 1 } });
    for (const lastN of [0, 50]) expect(await cost(sessionId, lastN)).toEqual(COSTS_NO_MESSAGES);
  });

  test("a memory with messages that were deleted one by one is known when it was read once", async () => {
    const sessionId = await newSession(other, 120);
    await cost(sessionId, 50);
    for (const messageId of ["m110", "m100"]) await other.memory.deleteMessage({ sessionId, messageId });
    await cost(sessionId, 50);
    expect(await cost(sessionId, 50)).toEqual(COSTS_NO_MESSAGES);
    await other.memory.addMemory({ sessionId, messages: numbered(1, "new") });
    expect(await cost(sessionId, 50)).toEqual({ sessions: [1], messages: [1] });
  });

  test("a memory of which a message was changed is read again, once", async () => {
    const sessionId = await newSession(other, 120);
    await cost(sessionId, 50);
    await other.memory.updateMessage({ sessionId, messageId: "m119", tokenCount: 1 });
    expect(await cost(sessionId, 50)).toEqual({ sessions: [1], messages: [50] });
    expect(await cost(sessionId, 50)).toEqual(COSTS_NO_MESSAGES);
  });

  test.each([
    { others: 200, readers: "as many as are kept", lastN: 50 },
    { others: 30, readers: "more than are kept", lastN: 60 },
    { others: 50, readers: "exactly what has come", lastN: 50 },
  ])("after much has come that readers did not see, a memory is known again: $readers", async ({ others, lastN }) => {
    const sessionId = await newSession(other, 120);
    await cost(sessionId, 50);
    await other.memory.addMemory({ sessionId, messages: numbered(others, "new") });
    await cost(sessionId, lastN);
    expect(await cost(sessionId, lastN)).toEqual(COSTS_NO_MESSAGES);
  });
});
