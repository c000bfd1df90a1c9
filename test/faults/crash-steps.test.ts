import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { copyOf } from "../../src/domain/fork.js";
import type { Api } from "../support/api.js";
import { type Crash, type Lane, type Operation, type Step, startLane } from "./support/crash-lane.js";
import { killProcesses } from "./support/processes.js";
import { report } from "./support/report.js";

/**
 * A service is killed right before and right after each write of an operation that takes more than one, and another one goes
 * on. Each lane has a database and services of its own; together they keep the machine busy.
 */
const LANES = 3;

let lanes: Lane[];
beforeAll(async () => {
  lanes = [];
  for (let n = 0; n < LANES; n++) lanes.push(await startLane(inject("mongodbUri")));
});
afterAll(async () => {
  await Promise.all(lanes.map((lane) => lane.stop()));
  killProcesses();
});

const numbered = (count: number) =>
  Array.from({ length: count }, (_, index) => ({ messageId: `m${index}`, content: `text ${index}` }));

/** More than two batches of the housekeeping. */
const MANY = 2_100;

async function addMany(api: Api, sessionId: string, count: number, userId?: string): Promise<void> {
  const messages = numbered(count);
  for (let from = 0; from < count; from += 700) {
    await api.memory.addMemory({ sessionId, userId, messages: messages.slice(from, from + 700) });
  }
}

const session =
  (sessionId: string, showDeleted = false) =>
  async (api: Api) => {
    const { session } = await api.sessions.getSession({ sessionId, showDeleted });
    return { messages: session?.messageCount, deleted: session?.deleteTime !== undefined };
  };
const memory = (sessionId: string) => async (api: Api) => {
  const { messages, session } = await api.memory.getMemory({ sessionId, lastN: 3 });
  return { session: session?.messageCount, messages: messages.map(({ messageId }) => messageId) };
};
const expiry = (sessionId: string) => async (api: Api) =>
  (await api.sessions.getSession({ sessionId, showDeleted: true })).session?.expiry?.$case ?? "none";
const user = (userId: string) => async (api: Api) => (await api.users.getUser({ userId })).user?.userId;
const sessionCount = (userId: string) => async (api: Api) => (await api.users.getUser({ userId })).user?.sessionCount;
const list = (userId: string) => async (api: Api) =>
  (await api.sessions.listSessions({ userId })).flatMap(({ sessions }) => sessions.map((one) => one.sessionId));

const receipts = async (api: Api) =>
  (await api.purge.listErasures({})).flatMap((chunk) =>
    chunk.receipts.map(({ purgedSessions, purgedMessages }) => `${purgedSessions} with ${purgedMessages}`),
  );

const withUser = async (api: Api, messages: number): Promise<void> => {
  await api.users.createUser({ userId: "u" });
  await addMany(api, "s", messages, "u");
};
const withSessionsOfUser = async (api: Api): Promise<void> => {
  await api.users.createUser({ userId: "u" });
  await addMany(api, "s1", 3, "u");
  await addMany(api, "s2", 2, "u");
  await api.sessions.createSession({ sessionId: "s3", userId: "u" });
};

const operations: Record<string, Operation> = {
  "DeleteSession and its housekeeping": {
    prepare: (api) => withUser(api, MANY),
    act: (api) => api.sessions.deleteSession({ sessionId: "s" }),
    probes: { session: session("s"), memory: memory("s"), list: list("u"), user: sessionCount("u") },
  },
  "a session that expires": {
    prepare: (api) => withUser(api, MANY),
    async alter({ sessions }) {
      await sessions.updateOne({ _id: "default/s" }, { $set: { idleTtlMs: 1_000, expiresAt: new Date() } });
    },
    probes: {
      session: session("s"),
      expiry: expiry("s"),
      memory: memory("s"),
      list: list("u"),
      user: sessionCount("u"),
    },
  },
  "ClearMemory and its housekeeping": {
    prepare: (api) => addMany(api, "s", 5),
    act: (api) => api.memory.clearMemory({ sessionId: "s" }),
    probes: { session: session("s"), memory: memory("s") },
  },
  "UndeleteSession with memory": {
    async prepare(api) {
      await withUser(api, MANY);
      await api.sessions.deleteSession({ sessionId: "s" });
    },
    act: (api) => api.sessions.undeleteSession({ sessionId: "s", restoreMemory: true }),
    probes: { session: session("s"), memory: memory("s"), list: list("u"), user: sessionCount("u") },
  },
  ForkSession: {
    async prepare(api) {
      await withUser(api, MANY);
      await api.memory.setSummary({ sessionId: "s", content: "so far", recentMessageId: "m7" });
    },
    act: (api) => api.sessions.forkSession({ sessionId: "s", newSessionId: "fork" }),
    probes: {
      session: session("s"),
      memory: memory("s"),
      fork: session("fork", true),
      itsMemory: memory("fork"),
      list: list("u"),
      user: sessionCount("u"),
    },
  },
  "PurgeSession of a session that was being forked": {
    prepare: (api) => withUser(api, 300),
    /** As a crash has left it. */
    async alter({ sessions, messages, forks }) {
      const source = await sessions.findOneAndUpdate({ _id: "default/s" }, { $set: { forks: ["copy"] } });
      const place = { session: "default/fork", source: "default/s", sourceEpoch: source?.epoch ?? "" };
      await forks.insertOne({ _id: "copy", ...place, memoryVersion: 0, messageCount: 3, aliveTime: new Date() });
      const some = await messages.find({ session: "default/s" }, { limit: 3 }).toArray();
      await messages.insertMany(some.map((message) => copyOf(message, { _id: "copy", session: place.session })));
    },
    act: (api) => api.sessions.purgeSession({ sessionId: "s" }),
    probes: { session: session("s", true), memory: memory("s"), fork: session("fork", true), user: sessionCount("u") },
  },
  PurgeSession: {
    prepare: (api) => withUser(api, MANY),
    act: (api) => api.sessions.purgeSession({ sessionId: "s" }),
    probes: { session: session("s", true), memory: memory("s"), list: list("u"), user: sessionCount("u") },
  },
  "DeleteUser and its housekeeping": {
    prepare: withSessionsOfUser,
    act: (api) => api.users.deleteUser({ userId: "u" }),
    probes: { user: user("u"), s1: memory("s1"), s2: session("s2"), s3: session("s3"), list: list("u") },
  },
  "UndeleteUser with sessions": {
    async prepare(api) {
      await withSessionsOfUser(api);
      await api.users.deleteUser({ userId: "u" });
    },
    act: (api) => api.users.undeleteUser({ userId: "u", restoreSessions: true }),
    probes: { user: user("u"), s1: memory("s1"), s2: session("s2"), s3: session("s3") },
  },
  PurgeUser: {
    prepare: withSessionsOfUser,
    act: (api) => api.users.purgeUser({ userId: "u" }),
    probes: { user: user("u"), s1: memory("s1"), s2: session("s2"), s3: session("s3"), list: list("u"), receipts },
  },
  "PurgeUser of one with a long session": {
    prepare: (api) => withUser(api, MANY),
    act: (api) => api.users.purgeUser({ userId: "u" }),
    probes: { user: user("u"), s: memory("s"), receipts },
  },
  PurgeDeleted: {
    async prepare(api) {
      await withSessionsOfUser(api);
      await addMany(api, "gone", 3);
      await addMany(api, "lives", 4);
      await api.memory.deleteMessage({ sessionId: "lives", messageId: "m1" });
      await api.sessions.deleteSession({ sessionId: "gone" });
      await api.users.deleteUser({ userId: "u" });
    },
    act: (api) => api.purge.purgeDeleted({ olderThan: { seconds: 0, nanos: 0 } }),
    inParts: true,
    probes: {
      gone: session("gone", true),
      s1: session("s1", true),
      s3: session("s3", true),
      lives: memory("lives"),
    },
  },
  "a pass of the purger": {
    async prepare(api) {
      await withSessionsOfUser(api);
      await addMany(api, "due", 3);
      await addMany(api, "condemned", 3);
      await addMany(api, "lives", 2);
      await api.sessions.deleteSession({ sessionId: "due" });
    },
    /** As crashes have left it: a user whose sessions are still live, a session whose erasure has begun, one that is due. */
    async alter({ sessions, users }) {
      const now = new Date();
      const purgeTime = new Date(now.getTime() + 3_600_000);
      const theUser = await users.findOne({ _id: "default/u" });
      await users.updateOne(
        { _id: "default/u" },
        {
          $set: {
            deleted: true,
            deleteTime: now,
            purgeTime,
            sessionCount: 0,
            task: { kind: "retire", epoch: theUser?.epoch ?? "" },
          },
        },
      );
      const condemned = await sessions.findOne({ _id: "default/condemned" });
      const epoch = condemned?.epoch ?? "";
      await sessions.updateOne(
        { _id: "default/condemned" },
        {
          $set: {
            deleted: true,
            deleteTime: now,
            purgeTime: now,
            purging: true,
            retired: [{ epoch, deleteTime: now, purgeTime: now, doneTo: 0, task: "erase" }],
          },
        },
      );
      // Its time has come, and the TTL index has not had it yet.
      await sessions.updateOne({ _id: "default/due" }, { $set: { purgeTime: now }, $unset: { expireAt: true } });
    },
    probes: {
      user: user("u"),
      list: list("u"),
      s1: memory("s1"),
      s3: session("s3"),
      condemned: session("condemned", true),
      due: session("due", true),
      lives: memory("lives"),
    },
  },
};

/** How many of an operation's steps are taken when it has many: the first and last two, and some of the middle. */
const MOST_STEPS = 6;

function chosen(count: number): number[] {
  const all = Array.from({ length: count }, (_, index) => index + 1);
  if (count <= MOST_STEPS) return all;
  const middle = MOST_STEPS - 4;
  const picked = Array.from({ length: middle }, (_, index) => 3 + Math.floor(((index + 0.5) * (count - 4)) / middle));
  return [1, 2, ...picked, count - 1, count];
}

/**
 * Has each lane take the next step as soon as it is done with one. What an operation does at once shares writes as chance has
 * it, so one run may have fewer of them than the rehearsal: a step that a run never comes to is taken again, as the last
 * of the writes which that run had. Or the work was seen to be done just before the service heard of its last write: once more.
 */
async function onLanes(steps: readonly Step[], crash: (lane: Lane, step: Step) => Promise<Crash>) {
  const left = [...steps];
  const results: { step: Step; crash: Crash }[] = [];
  await Promise.all(
    lanes.map(async (lane) => {
      for (let step = left.shift(); step; step = left.shift()) {
        const result = await crash(lane, step);
        results.push({ step, crash: result });
        const number = Math.min(step.number, result.writes);
        if (!result.hit && number > 0 && results.length < 3 * steps.length) left.push({ ...step, number });
      }
    }),
  );
  return results;
}

const beforeAndAfter = (numbers: readonly number[]): Step[] =>
  numbers.flatMap((number): Step[] => [
    { number, moment: "before" },
    { number, moment: "after" },
  ]);

test.each(Object.entries(operations))(
  "%s: killed before and after each write, readers see all or nothing of it, and another service finishes it",
  async (name, operation) => {
    const started = performance.now();
    const [first] = lanes as [Lane];
    const fixture = await first.rehearse(operation);
    const steps = beforeAndAfter(chosen(fixture.steps.length));
    const results = await onLanes(steps, (lane, step) => lane.crash(operation, fixture, step));
    const violations = results.flatMap(({ step, crash }) =>
      crash.violations.map(
        (violation) => `${step.moment} ${step.number} (${fixture.steps[step.number - 1]}): ${violation}`,
      ),
    );
    const hits = results.filter(({ crash }) => crash.hit).length;
    report(`crash at each step of ${name}`, {
      tried: results.length,
      acknowledged: results.length - hits,
      faults: hits,
      writes: fixture.steps.length,
      reads: results.reduce((sum, { crash }) => sum + crash.reads, 0),
      violations,
      seconds: ((performance.now() - started) / 1000).toFixed(1),
    });
    expect(violations).toEqual([]);
    expect(hits).toBe(steps.length);
  },
);

test("index creation: killed before and after each step, the next start has all indexes, and readers notice nothing", async () => {
  const started = performance.now();
  const steps = beforeAndAfter([1, 2, 3, 4]);
  const results = await onLanes(steps, (lane, step) => lane.crashAtStart(step));
  const violations = results.flatMap(({ step, crash }) =>
    crash.violations.map((violation) => `${step.moment} ${step.number}: ${violation}`),
  );
  const hits = results.filter(({ crash }) => crash.hit).length;
  report("crash at each step of a start", {
    tried: results.length,
    acknowledged: results.length - hits,
    faults: hits,
    reads: results.reduce((sum, { crash }) => sum + crash.reads, 0),
    violations,
    seconds: ((performance.now() - started) / 1000).toFixed(1),
  });
  expect(violations).toEqual([]);
  expect(hits).toBe(steps.length);
});
