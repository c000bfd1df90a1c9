import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import type { ForkSessionRequest } from "../../gen/sessions/v1/session_service.js";
import { type Command, type CommandProxy, startCommandProxy } from "../faults/support/command-proxy.js";
import { faultsOf } from "../faults/support/settled.js";
import type { Loose } from "../support/api.js";
import { failure } from "../support/api.js";
import { eventually } from "../support/eventually.js";
import { createTestPurger } from "../support/purger.js";
import { startService, type TestService } from "../support/service.js";
import { atOnce, forEach, liveSession, messagesOf, moment, numbered, outcome, sessionWithDeleted } from "./support.js";

/** The service that forks, whose way to the database can be held up, and one that does what races with it. */
let forking: TestService;
let other: TestService;
let proxy: CommandProxy;

beforeAll(async () => {
  const options = { databaseName: `test-${randomUUID()}`, purgeIntervalMs: 2 ** 30, retentionMs: 3_600_000 };
  proxy = await startCommandProxy(inject("mongodbUri"));
  forking = await startService({ ...options, mongodbUri: proxy.uri });
  other = await startService(options);
});
afterAll(async () => {
  await other.stop();
  await forking.stop();
  await proxy.stop();
});

const keyOf = (id: string): string => `default/${id}`;

/** More than are copied at first. */
const MANY = 250;

/** Each is the so-many-th command of this kind, see {@link forkUntil}. */
const MOMENTS = {
  "while some is read and not written yet": { name: "update", target: "forks", number: 1 },
  "while some is copied and some is not": { name: "find", target: "sessions", number: 2, begins: true },
  "before it is published": { name: "update", target: "sessions", number: 2, begins: true },
} as const satisfies Record<string, Partial<Command> & { number: number; begins?: true }>;
type Moment = keyof typeof MOMENTS;
const moments = Object.keys(MOMENTS) as Moment[];

interface HeldFork {
  readonly source: string;
  readonly target: string;
  readonly answer: Promise<{ messages: string[]; session: Awaited<ReturnType<typeof liveSession>> }>;
}

/** Begins to fork a session of many messages and does something when the fork has come to a moment. */
async function forkUntil(
  at: Moment,
  act: (fork: { source: string; target: string }) => Promise<unknown>,
  request: Loose<ForkSessionRequest> & { ofUser?: string } = {},
): Promise<HeldFork> {
  const [source, target] = [`source-${randomUUID()}`, `target-${randomUUID()}`];
  const { ofUser: userId, ...rest } = request;
  const messages = numbered(MANY).map((message) => ({ ...message, content: `${source} says ${message.content}` }));
  await other.memory.addMemory({ sessionId: source, userId, messages });

  const { number, begins, ...kind }: Partial<Command> & { number: number; begins?: true } = MOMENTS[at];
  let seen = 0;
  let goOn = (): void => {};
  const held = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  let come = (): void => {};
  const hasCome = new Promise<void>((resolve) => {
    come = resolve;
  });
  proxy.passage = {
    before({ name, target: collection, body }: Command) {
      if (name !== kind.name || collection !== kind.target || (begins && !body.startTransaction)) return;
      seen += 1;
      if (seen !== number) return;
      come();
      return held;
    },
  };
  const call = forking.sessions.forkSession({ sessionId: source, newSessionId: target, ...rest });
  call.catch(() => {});
  await Promise.race([hasCome, call]);
  expect(await liveSession(other, target)).toBeUndefined();
  try {
    await act({ source, target });
  } finally {
    proxy.passage = {};
    goOn();
  }
  const answer = call.then(async ({ session }) => ({
    session,
    messages: (await messagesOf(other, target)).map(({ content }) => content),
  }));
  answer.catch(() => {});
  return { source, target, answer };
}

/** The texts of what is stored under a key, whatever it is a part of. */
const storedTexts = async (key: string) =>
  (await other.database.messages.find({ session: key }).toArray()).map(({ content }) => content);

/** Nothing says that a fork is under way, and all messages belong to a session. */
async function nothingIsLeft(): Promise<void> {
  const { forks, sessions } = other.database;
  await eventually("what was begun is erased", async () => (await forks.countDocuments()) === 0);
  expect(await sessions.countDocuments({ forks: { $exists: true } })).toBe(0);
  await createTestPurger(other.database).pass();
  expect(await faultsOf(other.database)).toEqual([]);
}

const all = (source: string) => numbered(MANY).map(({ content }) => `${source} says ${content}`);

describe.each(moments)("%s", (at) => {
  test("what is added to the source is not in the fork", async () => {
    const fork = await forkUntil(at, async ({ source }) => {
      await other.memory.addMemory({ sessionId: source, messages: numbered(3, "new") });
      await forking.memory.addMemory({ sessionId: source, messages: numbered(3, "newer") });
    });
    const { session, messages } = await fork.answer;
    expect(messages).toEqual(all(fork.source));
    expect(session).toMatchObject({ messageCount: MANY, forkedFrom: { sequence: MANY } });
    expect(await messagesOf(other, fork.source)).toHaveLength(MANY + 6);
  });

  test("what is edited is in the fork as it is then, and what was there before is nowhere with the answer", async () => {
    const edited = ["m0", `m${MANY - 1}`];
    const fork = await forkUntil(at, async ({ source, target }) => {
      for (const messageId of edited) {
        const secret = `${source} says ${messageId}`;
        const update = { content: "redacted", metadata: { by: "law" }, payload: Buffer.from([1]) };
        await other.memory.updateMessage({ sessionId: source, messageId, ...update });
        expect(await storedTexts(keyOf(source))).not.toContain(secret);
        expect(await storedTexts(keyOf(target))).not.toContain(secret);
      }
    });
    const { session, messages } = await fork.answer;
    expect(messages).toEqual(["redacted", ...all(fork.source).slice(1, -1), "redacted"]);
    expect(session?.messageCount).toBe(MANY);
    for (const messageId of edited) {
      const [one, copy] = await Promise.all(
        [fork.source, fork.target].map(
          async (sessionId) => (await other.memory.getMessage({ sessionId, messageId })).message,
        ),
      );
      expect(copy).toEqual({ ...one, sessionId: fork.target, etag: copy?.etag });
    }
  });

  test("what is deleted by a process that knows nothing of copies is not in the fork, whoever changes what else", async () => {
    const fork = await forkUntil(at, async ({ source }) => {
      const { sessions, messages } = other.database;
      const session = await sessions.findOneAndUpdate(
        { _id: keyOf(source) },
        { $inc: { memoryVersion: 1, messageCount: -1 } },
      );
      await messages.updateOne(
        { _id: `${session?.epoch}/m0` },
        { $set: { deleted: true, deleteTime: new Date(), expireAt: new Date(Date.now() + 3_600_000) } },
      );
      await other.memory.updateMessage({ sessionId: source, messageId: "m1", content: "edited" });
    });
    const { session, messages } = await fork.answer;
    expect(messages).toEqual(["edited", ...all(fork.source).slice(2)]);
    expect(session?.messageCount).toBe(MANY - 1);
    await nothingIsLeft();
  });

  test("what is deleted is not in the fork, which counts what is, and is not there when it is erased", async () => {
    const fork = await forkUntil(at, async ({ source, target }) => {
      for (const messageId of ["m0", "m1", `m${MANY - 1}`]) {
        await other.memory.deleteMessage({ sessionId: source, messageId });
        expect(await storedTexts(keyOf(target))).not.toContain(`${source} says ${messageId}`);
      }
    });
    const { session, messages } = await fork.answer;
    expect(messages).toEqual(all(fork.source).slice(2, -1));
    const last = await other.memory.getMessage({ sessionId: fork.source, messageId: `m${MANY - 2}` });
    expect(session).toMatchObject({ messageCount: MANY - 3, forkedFrom: { sequence: MANY } });
    expect(session?.lastMessageTime).toEqual(last.message?.createTime);
  });

  test("a message that it was to reach to and that is deleted is NOT_FOUND", async () => {
    const upToMessageId = `m${MANY - 50}`;
    const fork = await forkUntil(
      at,
      ({ source }) => other.memory.deleteMessage({ sessionId: source, messageId: upToMessageId }),
      { upToMessageId },
    );
    expect(await failure(fork.answer)).toMatchObject({ code: "NOT_FOUND", reason: "MESSAGE_NOT_FOUND" });
    expect(await liveSession(other, fork.target)).toBeUndefined();
    await nothingIsLeft();
  });

  test("a source that is deleted is NOT_FOUND, also when its user is", async () => {
    const userId = `user-${randomUUID()}`;
    await other.users.createUser({ userId });
    for (const act of [
      ({ source }: { source: string }) => other.sessions.deleteSession({ sessionId: source }),
      () => other.users.deleteUser({ userId }),
    ]) {
      const fork = await forkUntil(at, act, { ofUser: userId });
      expect(await failure(fork.answer)).toMatchObject({ code: "NOT_FOUND", reason: "SESSION_NOT_FOUND" });
      expect(await sessionWithDeleted(other, fork.target)).toBeUndefined();
      await nothingIsLeft();
    }
  });

  test("a source that is deleted and restored is forked as if nothing had happened", async () => {
    const fork = await forkUntil(at, async ({ source }) => {
      await other.sessions.deleteSession({ sessionId: source });
      await other.sessions.undeleteSession({ sessionId: source, restoreMemory: true });
    });
    expect((await fork.answer).messages).toEqual(all(fork.source));
    await nothingIsLeft();
  });

  test.each([
    ["cleared", async (sessionId: string) => void (await other.memory.clearMemory({ sessionId }))],
    ["deleted and revived", async (sessionId: string) => void (await other.sessions.deleteSession({ sessionId }))],
    ["purged and made anew", async (sessionId: string) => void (await other.sessions.purgeSession({ sessionId }))],
  ])("a source that is %s is forked as it is then", async (_, act) => {
    const fork = await forkUntil(at, async ({ source }) => {
      await act(source);
      await other.memory.addMemory({ sessionId: source, messages: [{ messageId: "m0", content: "anew" }] });
    });
    const { session, messages } = await fork.answer;
    expect(messages).toEqual(["anew"]);
    expect(session?.messageCount).toBe(1);
    await nothingIsLeft();
  });

  test("of a source that is purged nothing is there any more with the answer, copied or not", async () => {
    const userId = `user-${randomUUID()}`;
    await other.users.createUser({ userId });
    for (const act of [
      ({ source }: { source: string }) => other.sessions.purgeSession({ sessionId: source }),
      () => other.users.purgeUser({ userId }),
    ]) {
      const fork = await forkUntil(
        at,
        async (fork) => {
          const answer = await act(fork);
          expect(answer).toMatchObject({ purgedMessages: MANY });
          for (const key of [fork.source, fork.target]) expect(await storedTexts(keyOf(key))).toEqual([]);
        },
        { ofUser: userId },
      );
      expect(await failure(fork.answer)).toMatchObject({ code: "NOT_FOUND", reason: "SESSION_NOT_FOUND" });
      for (const key of [fork.source, fork.target]) expect(await storedTexts(keyOf(key))).toEqual([]);
      await nothingIsLeft();
    }
  });

  test("what is cleared is not there any more, copied or not, when what was deleted is purged", async () => {
    const fork = await forkUntil(at, async ({ source, target }) => {
      await other.memory.clearMemory({ sessionId: source });
      await other.purge.purgeDeleted({ olderThan: { seconds: 0, nanos: 0 } });
      for (const key of [source, target]) expect(await storedTexts(keyOf(key))).toEqual([]);
    });
    expect((await fork.answer).messages).toEqual([]);
    await nothingIsLeft();
  });

  test("a session that is made under the new id meanwhile stays as it is", async () => {
    for (const isDeleted of [false, true]) {
      const fork = await forkUntil(at, async ({ target }) => {
        await other.memory.addMemory({ sessionId: target, messages: numbered(2, "own") });
        if (isDeleted) await other.sessions.deleteSession({ sessionId: target });
      });
      const reason = isDeleted ? "SESSION_SOFT_DELETED" : "SESSION_ALREADY_EXISTS";
      expect(await failure(fork.answer)).toMatchObject({ code: "ALREADY_EXISTS", reason });
      if (isDeleted) await other.sessions.undeleteSession({ sessionId: fork.target, restoreMemory: true });
      expect((await messagesOf(other, fork.target)).map(({ content }) => content)).toEqual(["own0", "own1"]);
      expect((await liveSession(other, fork.target))?.messageCount).toBe(2);
      await nothingIsLeft();
    }
  });

  test("a session of the new id that is made and purged meanwhile takes nothing of the fork along", async () => {
    const fork = await forkUntil(at, async ({ target }) => {
      await other.memory.addMemory({ sessionId: target, messages: numbered(2, "own") });
      await other.sessions.deleteSession({ sessionId: target });
      const counted = await other.purge.purgeDeleted({ olderThan: { seconds: 0, nanos: 0 }, dryRun: true });
      const purged = await other.sessions.purgeSession({ sessionId: target });
      expect(purged).toEqual({ purgedMessages: 2 });
      const after = await other.purge.purgeDeleted({ olderThan: { seconds: 0, nanos: 0 }, dryRun: true });
      expect(counted.purgedMessages - after.purgedMessages).toBe(2);
    });
    const { session, messages } = await fork.answer;
    expect(messages).toEqual(all(fork.source));
    expect(session?.messageCount).toBe(MANY);
    await nothingIsLeft();
  });

  test("a user to whom it was to belong and who is deleted is FAILED_PRECONDITION", async () => {
    const userId = `user-${randomUUID()}`;
    await other.users.createUser({ userId });
    const fork = await forkUntil(at, () => other.users.deleteUser({ userId }), { userId });
    expect(await failure(fork.answer)).toMatchObject({ code: "FAILED_PRECONDITION", reason: "USER_NOT_FOUND" });
    await nothingIsLeft();
  });

  test("a fork that a purger takes for abandoned is never published", async () => {
    const late = createTestPurger(other.database, 61_000);
    const fork = await forkUntil(at, async ({ target }) => {
      await late.pass();
      expect(await storedTexts(keyOf(target))).toEqual([]);
    });
    expect(await failure(fork.answer)).toMatchObject({ code: "UNAVAILABLE", reason: "STORAGE_UNAVAILABLE" });
    expect(await sessionWithDeleted(other, fork.target)).toBeUndefined();
    await nothingIsLeft();
  });

  test("a fork that is going on is left alone by the purger", async () => {
    const fork = await forkUntil(at, () => createTestPurger(other.database, 30_000).pass());
    expect((await fork.answer).messages).toEqual(all(fork.source));
  });
});

test("a fork whose caller goes leaves nothing", async () => {
  const source = `source-${randomUUID()}`;
  for (let part = 0; part < 6; part++) {
    await other.memory.addMemory({ sessionId: source, messages: numbered(1_000, `p${part}-`) });
  }
  for (const deadlineMs of [60, 150, 300]) {
    const target = `target-${randomUUID()}`;
    const call = forking.sessions.forkSession({ sessionId: source, newSessionId: target }, { deadlineMs });
    const { reason } = await outcome(call, "", "DEADLINE_EXCEEDED");
    await nothingIsLeft();
    // It may have been done before its caller went.
    const made = await liveSession(other, target);
    if (made) expect(made.messageCount).toBe(6_000);
    else expect(reason).toBeDefined();
  }
});

test("of many forks to one id at once exactly one is made", async () => {
  await forEach(10, 2, async (round) => {
    const sources = [`one-${round}`, `two-${round}`];
    for (const sessionId of sources) {
      await other.memory.addMemory({ sessionId, messages: numbered(4, `${sessionId}-`) });
    }
    const newSessionId = `contested-${round}`;
    const outcomes = await atOnce(8, (index) =>
      outcome(
        (index % 2 ? forking : other).sessions.forkSession({
          sessionId: sources[index % 3 ? 0 : 1],
          newSessionId,
        }),
        "SESSION_ALREADY_EXISTS",
      ),
    );
    const made = outcomes.flatMap(({ answer }) => answer?.session ?? []);
    expect(made).toHaveLength(1);
    const messages = await messagesOf(other, newSessionId);
    expect(messages.map(({ messageId }) => messageId)).toEqual(
      numbered(4, `${made[0]?.forkedFrom?.sessionId}-`).map(({ messageId }) => messageId),
    );
    expect(await liveSession(other, newSessionId)).toEqual(made[0]);
  });
  await nothingIsLeft();
});

test("forks at any moment are as the source was at one, whatever is done to it", async () => {
  const seen = new Set<string>();
  await forEach(40, 4, async (round) => {
    const [sessionId, newSessionId] = [`any-${round}`, `any-${round}-fork`];
    await other.memory.addMemory({ sessionId, messages: numbered(120) });
    const at = (index: number) => (index % 2 ? forking : other);
    const inOrder = async (...acts: (() => Promise<unknown>)[]): Promise<void> => {
      for (const act of acts) await outcome(act(), "SESSION_NOT_FOUND", "MESSAGE_NOT_FOUND");
    };
    const update = (messageId: string) => () => at(round).memory.updateMessage({ sessionId, messageId, content: "b" });
    const remove = (messageId: string) => () => at(round + 1).memory.deleteMessage({ sessionId, messageId });
    const [{ answer, reason = "made" }] = await Promise.all([
      moment(20).then(() => outcome(at(round).sessions.forkSession({ sessionId, newSessionId }), "SESSION_NOT_FOUND")),
      moment(20).then(() => inOrder(update("m110"), update("m1"), update("m119"))),
      moment(20).then(() => inOrder(remove("m118"), remove("m2"))),
      moment(20).then(() => other.memory.addMemory({ sessionId, messages: numbered(2, "new") })),
      ...(round % 4 === 0
        ? [moment(60).then(() => other.sessions.purgeSession({ sessionId }))]
        : [moment(60).then(() => {})]),
    ]);
    seen.add(reason);
    const messages = new Map((await messagesOf(other, newSessionId)).map((one) => [one.messageId, one.content]));
    const session = await liveSession(other, newSessionId);
    expect(session).toEqual(answer?.session);
    expect(messages.size).toBe(session?.messageCount ?? 0);
    if (!answer) return;
    // What came first is in it if what came after it is.
    const edited = ["m110", "m1", "m119"].map((id) => messages.get(id) === "b");
    expect(edited).toEqual([...edited].sort().reverse());
    expect(messages.has("m118") && !messages.has("m2")).toBe(false);
    expect(messages.has("new0")).toBe(messages.has("new1"));
  });
  expect(seen).toContain("made");
  await nothingIsLeft();
});
