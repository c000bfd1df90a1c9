import { afterAll, beforeAll, describe, expect, inject, it, onTestFinished } from "vitest";
import { EventType } from "../../gen/sessions/v1/session_service.js";
import { type Api, connect, failure } from "../support/api.js";
import { newId, withIds } from "../support/contract.js";
import { eventually } from "../support/eventually.js";
import { startMirror } from "../support/mirror.js";
import { startProxy } from "../support/proxy.js";
import { startService, type TestService } from "../support/service.js";
import { beginToWatch, told, watch } from "../support/watching.js";

/** Two processes over one database. */
let one: TestService;
let other: TestService;
beforeAll(async () => {
  const databaseName = newId("watching");
  [one, other] = [await startService({ databaseName }), await startService({ databaseName })];
});
afterAll(async () => {
  await other.stop();
  await one.stop();
});

const any = (): Api => (Math.random() < 0.5 ? one : other);

/** Everything that can be done, to few sessions and users, so that calls meet in one transaction and get in each other's way. */
async function load(prefix: string, calls: number): Promise<void> {
  const pick = <T>(items: readonly T[]): T => items[Math.floor(Math.random() * items.length)] as T;
  const users = ["ann", "bob"].map((name) => `${prefix}${name}`);
  for (const userId of users) await one.users.createUser({ userId });
  let made = 0;
  const act = async (): Promise<unknown> => {
    const { sessions, memory, users: people } = any();
    const sessionId = `${prefix}${Math.floor(Math.random() * 5)}`;
    const messageId = `m${Math.floor(Math.random() * made)}`;
    const userId = pick(users);
    return pick<() => Promise<unknown>>([
      ...Array<() => Promise<unknown>>(8).fill(() =>
        memory.addMemory({
          sessionId,
          messages: withIds(...Array.from({ length: 1 + (made % 4) }, () => `m${made++}`)),
        }),
      ),
      () => sessions.createSession({ sessionId, userId, metadata: { n: made } }),
      () => sessions.updateSession({ sessionId, metadata: { [messageId]: made } }),
      () => sessions.updateSession({ sessionId, userId: pick(["", ...users]) }),
      () => sessions.deleteSession({ sessionId }),
      () => sessions.undeleteSession({ sessionId, restoreMemory: true }),
      () => sessions.undeleteSession({ sessionId }),
      () => sessions.purgeSession({ sessionId }),
      () => memory.updateMessage({ sessionId, messageId, metadata: { n: made }, content: `now ${made}` }),
      () => memory.deleteMessage({ sessionId, messageId }),
      () => memory.clearMemory({ sessionId }),
      () => memory.setSummary({ sessionId, recentMessageId: messageId, content: "so far" }),
      () => people.deleteUser({ userId }),
      () => people.undeleteUser({ userId, restoreSessions: true }),
    ])();
  };
  const worker = async (share: number): Promise<void> => {
    for (let n = 0; n < share; n++) {
      await act().catch(async (error: unknown) => {
        const { code } = await failure(Promise.reject(error));
        if (["INTERNAL", "UNKNOWN", "INVALID_ARGUMENT"].includes(code)) throw error;
      });
    }
  };
  await Promise.all(Array.from({ length: 8 }, () => worker(calls / 8)));
}

describe("a copy that follows what a watcher is told, and nothing else", () => {
  it("is what is stored in the end, at each process, whether it watched throughout or resumed now and then", async () => {
    const prefix = `${newId("copy")}-`;
    const proxy = await startProxy(`mongodb://${one.address}/`);
    onTestFinished(() => proxy.stop());
    const broken = connect(new URL(proxy.uri).host);
    const mirrors = await Promise.all([
      startMirror(async () => one),
      startMirror(async () => other),
      startMirror(async () => broken),
    ]);
    const breaking = setInterval(() => proxy.breakConnections(), 700);
    await load(prefix, 600);
    clearInterval(breaking);
    for (const mirror of mirrors) {
      await mirror.settle(one);
      expect(await mirror.differences(one, prefix)).toEqual([]);
      await mirror.stop();
    }
    expect(mirrors[2]?.resumes).toBeGreaterThan(1);
    broken.close();
  });

  it("of one session's, in which all calls meet", async () => {
    const sessionId = newId("hot");
    const mirror = await startMirror(async () => other, { sessionId });
    const adding = Array.from({ length: 40 }, async (_, n) => {
      await any().memory.addMemory({ sessionId, messages: withIds(`a${n}`, `b${n}`) });
      if (n % 5 === 0) await any().sessions.updateSession({ sessionId, metadata: { n } });
      if (n % 7 === 0) await any().memory.deleteMessage({ sessionId, messageId: `a${n}` });
    });
    await Promise.all(adding);
    await mirror.settle(one);
    expect(await mirror.differences(one, sessionId)).toEqual([]);
    expect(mirror.told.get(sessionId)?.size).toBe(81);
    await mirror.stop();
  });
});

it("who does not read for a while is told of all that has come meanwhile, and of nothing that is gone by then", async () => {
  const sessionId = newId("slow");
  const watching = await watch(one, { sessionId });
  watching.pause();
  const large = "x".repeat(200_000);
  const ids = Array.from({ length: 40 }, (_, n) => `m${n}`);
  for (const messageId of ids) await other.memory.addMemory({ sessionId, messages: [{ messageId, content: large }] });
  await other.memory.updateMessage({ sessionId, messageId: "m38", content: "redacted" });
  await other.memory.deleteMessage({ sessionId, messageId: "m39" });
  watching.resume();
  const events = await watching.untilSome("the last", (event) => told(event) === `MESSAGE_DELETED ${sessionId} m39`);
  const added = events.filter(({ eventType }) => eventType === EventType.EVENT_TYPE_MESSAGES_ADDED);
  expect(added.flatMap(({ messageIds }) => messageIds)).toEqual(ids);
  expect(added.at(-2)?.messages).toMatchObject([{ messageId: "m38", content: "redacted" }]);
  expect(added.at(-1)?.messages).toEqual([]);
  await watching.stop();
});

it("who falls too far behind is ended, and resumes with nothing lost", async () => {
  const sessionId = newId("slow");
  const watching = await watch(one, { sessionId });
  watching.pause();
  const large = "x".repeat(1_000_000);
  // Its own side takes some of them in even so.
  const ids = Array.from({ length: 45 }, (_, n) => `m${n}`);
  for (const messageId of ids) await other.memory.addMemory({ sessionId, messages: [{ messageId, content: large }] });
  const ended = await eventually("it is ended", () => {
    watching.resume();
    return watching.failure();
  });
  expect(ended).toMatchObject({ code: "RESOURCE_EXHAUSTED", reason: "WATCHER_TOO_SLOW" });
  const before = watching.events();
  const resumed = await watch(one, { sessionId, resumeToken: watching.token() });
  const rest = await resumed.untilSome("the last", ({ messageIds }) => messageIds.includes("m44"));
  const seen = [...before, ...rest].flatMap(({ messageIds }) => messageIds);
  expect(seen).toEqual(ids);
  expect(rest.flatMap(({ messages }) => messages).every(({ content }) => content === large)).toBe(true);
  await resumed.stop();
});

it("many who resume at once, from places far and near, are all told the rest", async () => {
  const sessionIds = Array.from({ length: 20 }, (_, n) => newId(`many${n}`));
  const first = await watch(one);
  const tokens = [first.token()];
  for (let round = 0; round < 5; round++) {
    await Promise.all(
      sessionIds.map((sessionId) => other.memory.addMemory({ sessionId, messages: withIds(`m${round}`) })),
    );
    await first.untilSome("the round", () =>
      sessionIds.every((id) => first.events().some((e) => e.sessionId === id && e.messageIds.includes(`m${round}`))),
    );
    tokens.push(first.token());
  }
  const all = first.events().filter(({ sessionId }) => sessionIds.includes(sessionId));
  const resumed = tokens.flatMap((resumeToken) => [one, other, one].map((at) => ({ at, resumeToken })));
  await Promise.all(
    resumed.map(async ({ at, resumeToken }) => {
      const from = all.findIndex((event) => event.resumeToken === resumeToken) + 1;
      const watching = beginToWatch(at, { resumeToken });
      const expected = all.slice(from);
      const mine = () => watching.events().filter(({ sessionId }) => sessionIds.includes(sessionId));
      await eventually("the rest", () => mine().length >= expected.length);
      expect(mine().map(told)).toEqual(expected.map(told));
      await watching.stop();
    }),
  );
  await first.stop();
});

it("watchers do not end because the database is away for a while, and are told what was committed then", async () => {
  const proxy = await startProxy(inject("mongodbUri"));
  const databaseName = one.database.db.databaseName;
  const cutOff = await startService({ mongodbUri: proxy.uri, databaseName });
  onTestFinished(async () => {
    await proxy.become("forward");
    cutOff.close();
    await cutOff.server.stop();
    await cutOff.database.close();
    await proxy.stop();
  });
  const sessionId = newId("s");
  const watching = await watch(cutOff, { sessionId });
  for (const [n, weather] of (["refuse", "black-hole", "cut-answers"] as const).entries()) {
    await proxy.become(weather);
    await one.memory.addMemory({ sessionId, messages: withIds(`m${n}`) });
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    await proxy.become("forward");
    await watching.untilSome("what came meanwhile", ({ messageIds }) => messageIds.includes(`m${n}`));
  }
  expect(watching.failure()).toBeUndefined();
  expect(watching.events().map(told)).toEqual([
    `SESSION_CREATED ${sessionId}`,
    ...[0, 1, 2].map((n) => `MESSAGES_ADDED ${sessionId} m${n}`),
  ]);
  await watching.stop();
});
