import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WindowStart } from "../../gen/sessions/v1/memory_service.js";
import { createRetirement } from "../../src/store/erasing/retirement.js";
import { createWork } from "../../src/store/erasing/work.js";
import { createKeyStore } from "../../src/store/keys.js";
import type { Api } from "../support/api.js";
import { createTestExpirer } from "../support/expirer.js";
import { idleTtl } from "../support/expiry.js";
import { createTestPurger } from "../support/purger.js";
import { type Explainer, LONG, RETENTION_MS, startExplainer } from "./explainer.js";

let explainer: Explainer;
let api: Api;

beforeAll(async () => {
  explainer = await startExplainer();
  api = explainer.api;
});
afterAll(() => explainer.stop());

const OPERATIONS: Record<string, () => Promise<unknown>> = {
  CreateSession: () => api.sessions.createSession({ sessionId: randomUUID(), userId: "user-1", metadata: { a: 1 } }),
  GetSession: () => api.sessions.getSession({ sessionId: "session-1" }),
  BatchGetSessions: () => api.sessions.batchGetSessions({ sessionIds: ["session-1", "session-2", "none"] }),
  UpdateSession: () => api.sessions.updateSession({ sessionId: "session-1", metadata: { a: 1 }, userId: "user-2" }),
  "UpdateSession with an idle time": () =>
    api.sessions.updateSession({ sessionId: LONG, expiry: idleTtl(RETENTION_MS) }),
  DeleteSession: () => api.sessions.deleteSession({ sessionId: "session-2" }),
  "UndeleteSession with memory": () => api.sessions.undeleteSession({ sessionId: "session-2", restoreMemory: true }),
  "UndeleteSession without memory": async () => {
    await api.sessions.deleteSession({ sessionId: "session-3" });
    await api.sessions.undeleteSession({ sessionId: "session-3" });
  },
  ForkSession: () => api.sessions.forkSession({ sessionId: LONG, upToMessageId: "m700", userId: "user-1" }),
  "UpdateMessage and DeleteMessage while the memory is forked": async () => {
    const { sessions, forks } = explainer.monitored;
    const source = await sessions.findOneAndUpdate({ _id: `default/${LONG}` }, { $set: { forks: ["copy"] } });
    const place = { session: "default/no-session-yet", source: `default/${LONG}`, sourceEpoch: source?.epoch ?? "" };
    await forks.insertOne({ _id: "copy", ...place, memoryVersion: 0, messageCount: 0, aliveTime: new Date() });
    await api.memory.updateMessage({ sessionId: LONG, messageId: "m3", tokenCount: 1 });
    await api.memory.deleteMessage({ sessionId: LONG, messageId: "m4" });
    await createRetirement(explainer.monitored).eraseCopy("copy");
  },
  PurgeSession: () => api.sessions.purgeSession({ sessionId: "session-5" }),
  AddMemory: () => api.memory.addMemory({ sessionId: "session-6", messages: [{ messageId: "new" }] }),
  "AddMemory again": () => api.memory.addMemory({ sessionId: "session-6", messages: [{ messageId: "new" }] }),
  "AddMemory with a new session": () =>
    api.memory.addMemory({ sessionId: randomUUID(), userId: "user-1", messages: [{}] }),
  GetMemory: () => api.memory.getMemory({ sessionId: LONG }),
  "GetMemory with last_n": () => api.memory.getMemory({ sessionId: LONG, lastN: 10 }),
  "GetMemory of whole tool calls": () =>
    api.memory.getMemory({ sessionId: LONG, lastN: 10, windowStart: WindowStart.WINDOW_START_WHOLE_TOOL_CALLS }),
  ListMessages: () => api.memory.listMessages({ sessionId: LONG }),
  GetMessage: () => api.memory.getMessage({ sessionId: LONG, messageId: "m1" }),
  UpdateMessage: () => api.memory.updateMessage({ sessionId: LONG, messageId: "m1", tokenCount: 1 }),
  SetSummary: () => api.memory.setSummary({ sessionId: LONG, recentMessageId: "m1", content: "so far" }),
  DeleteMessage: () => api.memory.deleteMessage({ sessionId: LONG, messageId: "m2" }),
  RewindMemory: () => api.memory.rewindMemory({ sessionId: "session-15", afterMessageId: "m0" }),
  "RewindMemory behind a sequence": () => api.memory.rewindMemory({ sessionId: "session-21", afterSequence: 1 }),
  ClearMemory: () => api.memory.clearMemory({ sessionId: "cleared-1" }),
  "SearchMemory in a session": () => api.memory.searchMemory({ sessionId: LONG, text: "m1", neighbors: 2 }),
  "SearchMemory in a user's sessions": () => api.memory.searchMemory({ userId: "user-1", text: "x", neighbors: 2 }),
  "SearchMemory after messages were changed": async () => {
    await api.memory.searchMemory({ sessionId: "session-11", text: "x" });
    await api.memory.updateMessage({ sessionId: "session-11", messageId: "m0", metadata: { a: 1 } });
    await api.memory.searchMemory({ sessionId: "session-11", metadata: { a: 1 } });
  },
  CreateUser: () => api.users.createUser({ userId: randomUUID() }),
  GetUser: () => api.users.getUser({ userId: "user-1" }),
  UpdateUser: () => api.users.updateUser({ userId: "user-1", email: "a@b" }),
  ListUsers: () => api.users.listUsers({ chunkSize: 3 }),
  DeleteUser: () => api.users.deleteUser({ userId: "user-4" }),
  UndeleteUser: () => api.users.undeleteUser({ userId: "user-4", restoreSessions: true }),
  PurgeUser: () => api.users.purgeUser({ userId: "user-5" }),
  ListErasures: async () => {
    await api.users.createUser({ userId: "erased" });
    await api.memory.addMemory({ sessionId: "of-erased", userId: "erased", messages: [{}] });
    await api.users.purgeUser({ userId: "erased" });
    await api.purge.listErasures({ chunkSize: 3 });
  },
  CreateKey: () => api.keys.createKey({ name: "new", role: 1 }),
  ListKeys: () => api.keys.listKeys({ chunkSize: 3 }),
  RevokeKey: async () => {
    const { key } = await api.keys.createKey({ name: "worthless soon", role: 1 });
    await api.keys.revokeKey({ keyId: key?.keyId });
  },
  "a look-up of a key": () => createKeyStore(explainer.monitored).find("no hash"),
  "PurgeDeleted as a dry run": () => api.purge.purgeDeleted({ olderThan: { seconds: 0, nanos: 0 }, dryRun: true }),
  "a look at how far erasure is behind": () => createWork(explainer.monitored).lag(),
  "a look for what has expired": async () => {
    await api.sessions.createSession({ sessionId: "expiring", userId: "user-1", expiry: idleTtl(1) });
    await createTestExpirer(explainer.monitored).pass();
  },
  "a pass of the purger": () => createTestPurger(explainer.monitored, RETENTION_MS * 2).pass(),
  PurgeDeleted: async () => {
    await api.sessions.deleteSession({ sessionId: "session-7" });
    await api.memory.clearMemory({ sessionId: "cleared-2" });
    await api.users.deleteUser({ userId: "user-6" });
    await api.purge.purgeDeleted({ olderThan: { seconds: 0, nanos: 0 } });
  },
};

describe("no query scans a collection", () => {
  test.each(Object.keys(OPERATIONS))("%s", async (name) => {
    const plans = await explainer.plansOf(OPERATIONS[name] as () => Promise<unknown>);
    expect(plans.filter(({ stages }) => stages.includes("COLLSCAN"))).toEqual([]);
    expect(plans.filter(({ stages }) => stages.includes("SORT"))).toEqual([]);
  });

  test("the list of operations is the list of the API's methods", async () => {
    const methods = [api.sessions, api.memory, api.users, api.purge, api.keys].flatMap((service) =>
      Object.keys(service),
    );
    const named = new Set(Object.keys(OPERATIONS).map((name) => name.split(" ")[0]?.toLowerCase()));
    // Listings of sessions have a file of their own, and who watches asks the database's log.
    expect(methods.filter((method) => !named.has(method.toLowerCase()))).toEqual(["listSessions", "watchSessions"]);
  });
});

test.each([
  ["DeleteSession", () => api.sessions.deleteSession({ sessionId: LONG })],
  ["ClearMemory", () => api.memory.clearMemory({ sessionId: LONG })],
  ["PurgeSession's decision", () => api.sessions.purgeSession({ sessionId: LONG })],
])("%s costs the same whatever the size of the memory", async (_, operation) => {
  await api.memory.addMemory({ sessionId: LONG, messages: Array.from({ length: 500 }, () => ({ content: "x" })) });
  for (const { shape, keysExamined, docsExamined } of await explainer.plansOfFirstTransaction(operation)) {
    expect(keysExamined, shape).toBeLessThan(50);
    expect(docsExamined, shape).toBeLessThan(50);
  }
});

test("where groups begin costs the same whatever the size of the memory, and of a group", async () => {
  const sessionId = randomUUID();
  const messages = Array.from({ length: 1_000 }, (_, index) => ({
    groupId: index % 2 === 0 ? "all even ones" : `odd ${index % 8 === 1 ? "ones" : Math.floor(index / 8)}`,
  }));
  await api.memory.addMemory({ sessionId, messages });
  const plans = await explainer.plansOf(() =>
    api.memory.getMemory({ sessionId, lastN: 10, windowStart: WindowStart.WINDOW_START_WHOLE_TOOL_CALLS }),
  );
  expect(plans.filter(({ shape }) => shape.includes("groupId"))).not.toEqual([]);
  for (const { shape, stages, keysExamined, docsExamined } of plans) {
    expect(stages, shape).not.toContain("SORT");
    expect(keysExamined, shape).toBeLessThan(150);
    expect(docsExamined, shape).toBeLessThan(150);
  }
});

test("where many groups begin that have many messages takes few queries", async () => {
  const sessionId = randomUUID();
  const groups = 40;
  const ofEach = Array.from({ length: groups * 25 }, (_, index) => ({ groupId: `group ${index % groups}` }));
  for (let n = 0; n < 5; n++) await api.memory.addMemory({ sessionId, messages: ofEach });
  const plans = await explainer.plansOf(() =>
    api.memory.getMemory({ sessionId, lastN: groups, windowStart: WindowStart.WINDOW_START_WHOLE_TOOL_CALLS }),
  );
  const looks = plans.filter(({ shape }) => shape.includes("groupId"));
  expect(looks.length).toBeGreaterThan(1);
  expect(looks.length).toBeLessThan(groups / 4);
});

test("a look at how far erasure and expiry are behind costs the same however far it is", async () => {
  const { sessions } = explainer.monitored;
  const due = new Date(0);
  const entry = { epoch: "e", deleteTime: due, purgeTime: due, doneTo: 0, task: "mark" as const };
  await sessions.updateMany({}, { $set: { purgeTime: due, expiresAt: due, retired: [entry] } });
  const plans = await explainer.plansOf(() => createWork(explainer.monitored).lag());
  expect(plans).toHaveLength(5);
  for (const { shape, keysExamined, docsExamined } of plans) {
    expect(keysExamined, shape).toBeLessThan(150);
    expect(docsExamined, shape).toBeLessThan(150);
  }
});
