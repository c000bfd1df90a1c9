import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { EventType } from "../../gen/sessions/v1/session_service.js";
import { invalid, invalidCursor, millis, newId, refusal, texts, withIds } from "../support/contract.js";
import { eventually } from "../support/eventually.js";
import { startService, type TestService } from "../support/service.js";
import { watch as begin, refusedWatch, told, type Watch } from "../support/watching.js";

let service: TestService;
/** Another process over the same database. */
let other: TestService;

beforeAll(async () => {
  service = await startService({ databaseName: newId("watch") });
  other = await startService({ databaseName: service.database.db.databaseName });
});
afterAll(async () => {
  await other.stop();
  await service.stop();
});

async function watch(request: Parameters<typeof begin>[1] = {}, at: TestService = service): Promise<Watch> {
  const watching = await begin(at, request);
  onTestFinished(() => watching.stop());
  return watching;
}

const invalidToken = { ...invalidCursor, fields: ["resume_token"], metadata: { fields: "resume_token" } };

describe("what is told of a session", () => {
  it("is all that happens to it, in the order of its commits, after a first word that says that it begins", async () => {
    const { sessions, memory } = service;
    const id = newId("s");
    const watching = await watch({ sessionId: id });
    expect(watching.responses).toEqual([
      {
        eventType: EventType.EVENT_TYPE_WATCHING,
        sessionId: "",
        session: undefined,
        messages: [],
        messageIds: [],
        resumeToken: expect.stringMatching(/.+/),
        eventTime: undefined,
      },
    ]);
    await sessions.createSession({ sessionId: id, metadata: { a: 1 } });
    await memory.addMemory({ sessionId: id, messages: withIds("m1", "m2") });
    await memory.addMemory({ sessionId: newId("other"), messages: withIds("x") });
    await sessions.updateSession({ sessionId: id, metadata: { b: 2 } });
    await memory.updateMessage({ sessionId: id, messageId: "m1", metadata: { seen: true } });
    await memory.setSummary({ sessionId: id, content: "so far", recentMessageId: "m1" });
    await memory.deleteMessage({ sessionId: id, messageId: "m2" });
    await memory.clearMemory({ sessionId: id });
    await sessions.deleteSession({ sessionId: id });
    await sessions.undeleteSession({ sessionId: id });
    await sessions.deleteSession({ sessionId: id });
    await memory.addMemory({ sessionId: id, messages: withIds("m3") });
    await sessions.purgeSession({ sessionId: id });
    await memory.addMemory({ sessionId: id, messages: withIds("m4") });
    await memory.addMemory({ sessionId: id, messages: [] });
    await memory.addMemory({ sessionId: id, messages: withIds("m5") });

    const events = await watching.untilSome("the last message", ({ messageIds }) => messageIds.includes("m5"));
    expect(events.map(told)).toEqual([
      `SESSION_CREATED ${id}`,
      `MESSAGES_ADDED ${id} m1 m2`,
      `SESSION_UPDATED ${id}`,
      `MESSAGE_UPDATED ${id} m1`,
      `SUMMARY_SET ${id}`,
      `MESSAGE_DELETED ${id} m2`,
      `MEMORY_CLEARED ${id}`,
      `SESSION_DELETED ${id}`,
      `SESSION_UNDELETED ${id}`,
      `SESSION_DELETED ${id}`,
      `SESSION_UNDELETED ${id}`,
      `MESSAGES_ADDED ${id} m3`,
      `SESSION_PURGED ${id}`,
      `SESSION_CREATED ${id}`,
      `MESSAGES_ADDED ${id} m4`,
      `MESSAGES_ADDED ${id} m5`,
    ]);
    for (const { resumeToken, eventTime } of events) {
      expect(resumeToken).not.toBe("");
      expect(Math.abs(millis(eventTime) - Date.now())).toBeLessThan(600_000);
    }
    expect(new Set(events.map(({ resumeToken }) => resumeToken)).size).toBe(events.length);
  });

  it("has the session as each change has left it, and the messages", async () => {
    const { sessions, memory } = service;
    const id = newId("s");
    const watching = await watch({ sessionId: id });
    const created = await sessions.createSession({ sessionId: id, metadata: { a: 1 } });
    await memory.addMemory({
      sessionId: id,
      messages: [{ messageId: "m1", role: "guide", content: "hello", metadata: { x: 1 }, tokenCount: 3 }],
    });
    const added = await sessions.getSession({ sessionId: id });
    const { message } = await memory.getMessage({ sessionId: id, messageId: "m1" });
    const updated = await sessions.updateSession({ sessionId: id, metadata: { a: 2 } });
    const changed = await memory.updateMessage({ sessionId: id, messageId: "m1", tokenCount: 4 });
    const deleted = await sessions.deleteSession({ sessionId: id });
    const events = await watching.until(5);
    expect(events.map(({ session }) => session)).toEqual([
      created.session,
      added.session,
      updated.session,
      updated.session,
      deleted.session,
    ]);
    expect(events.map(({ messages }) => messages.length)).toEqual([0, 1, 0, 1, 0]);
    // What is sent is as it is then, so that what was redacted does not go out.
    expect([message, changed.message]).toContainEqual(events[1]?.messages[0]);
    expect(events[3]?.messages).toEqual([changed.message]);
  });
});

describe("whom it is told", () => {
  it("one user's sessions to those who watch that user, all of the project to those who watch all", async () => {
    const { sessions, memory, users } = service;
    const [ann, bob] = [newId("ann"), newId("bob")];
    await users.createUser({ userId: ann });
    await users.createUser({ userId: bob });
    const [all, anns, bobs] = [await watch(), await watch({ userId: ann }), await watch({ userId: bob })];
    const [a, b, nobodys] = [newId("a"), newId("b"), newId("n")];
    await sessions.createSession({ sessionId: a, userId: ann });
    await memory.addMemory({ sessionId: b, userId: bob, messages: withIds("m1") });
    await memory.addMemory({ sessionId: nobodys, messages: withIds("m2") });
    await memory.addMemory({ sessionId: a, messages: withIds("m3") });
    const last = ({ sessionId, messageIds }: { sessionId: string; messageIds: string[] }) =>
      sessionId === a && messageIds.includes("m3");
    const mine = ({ sessionId }: { sessionId: string }) => [a, b, nobodys].includes(sessionId);
    expect((await all.untilSome("all", last)).filter(mine).map(told)).toEqual([
      `SESSION_CREATED ${a}`,
      `SESSION_CREATED ${b}`,
      `MESSAGES_ADDED ${b} m1`,
      `SESSION_CREATED ${nobodys}`,
      `MESSAGES_ADDED ${nobodys} m2`,
      `MESSAGES_ADDED ${a} m3`,
    ]);
    expect((await anns.untilSome("ann's", last)).map(told)).toEqual([`SESSION_CREATED ${a}`, `MESSAGES_ADDED ${a} m3`]);
    expect((await bobs.until(2)).map(told)).toEqual([`SESSION_CREATED ${b}`, `MESSAGES_ADDED ${b} m1`]);
  });

  it("of a session that moves both users, and the old one nothing more of it", async () => {
    const { sessions, memory, users } = service;
    const [ann, bob, s] = [newId("ann"), newId("bob"), newId("s")];
    await users.createUser({ userId: ann });
    await users.createUser({ userId: bob });
    await memory.addMemory({ sessionId: s, userId: ann, messages: withIds("m1") });
    const [anns, bobs] = [await watch({ userId: ann }), await watch({ userId: bob })];
    await sessions.updateSession({ sessionId: s, userId: bob, metadata: { secret: "bob's" } });
    await memory.addMemory({ sessionId: s, messages: withIds("m2") });
    await sessions.updateSession({ sessionId: s, userId: "" });
    await memory.addMemory({ sessionId: s, messages: withIds("m3") });
    await sessions.updateSession({ sessionId: s, userId: ann });
    await memory.addMemory({ sessionId: s, messages: withIds("m4") });
    const toAnn = await anns.until(3);
    expect(toAnn.map(told)).toEqual([`SESSION_UPDATED ${s}`, `SESSION_UPDATED ${s}`, `MESSAGES_ADDED ${s} m4`]);
    expect(toAnn[0]).toMatchObject({ session: undefined, messages: [] });
    expect(toAnn[1]?.session?.userId).toBe(ann);
    const toBob = await bobs.until(3);
    expect(toBob.map(told)).toEqual([`SESSION_UPDATED ${s}`, `MESSAGES_ADDED ${s} m2`, `SESSION_UPDATED ${s}`]);
    expect(toBob[2]?.session).toBeUndefined();
  });

  it("what is done to a user is told of each of their sessions", async () => {
    const { memory, users } = service;
    const [ann, a, b] = [newId("ann"), newId("a"), newId("b")];
    await users.createUser({ userId: ann });
    for (const sessionId of [a, b]) await memory.addMemory({ sessionId, userId: ann, messages: withIds("m1") });
    const watching = await watch({ userId: ann });
    const both = (kind: string) => [`${kind} ${a}`, `${kind} ${b}`].sort();
    const step = async (act: () => Promise<unknown>) => {
      const from = watching.events().length;
      await act();
      return (await watching.until(from + 2))
        .slice(from, from + 2)
        .map(told)
        .sort();
    };
    expect(await step(() => users.deleteUser({ userId: ann }))).toEqual(both("SESSION_DELETED"));
    expect(await step(() => users.undeleteUser({ userId: ann, restoreSessions: true }))).toEqual(
      both("SESSION_UNDELETED"),
    );
    expect(watching.events().at(-1)?.session?.messageCount).toBe(1);
    expect(await step(() => users.deleteUser({ userId: ann }))).toEqual(both("SESSION_DELETED"));
    expect(await step(() => users.purgeUser({ userId: ann }))).toEqual(both("SESSION_PURGED"));
  });

  it("a session that is asked for need not be there yet; both filters at once are refused", async () => {
    const never = await watch({ sessionId: newId("never") });
    expect(never.events()).toEqual([]);
    expect(await refusedWatch(service, { sessionId: "s", userId: "u" })).toEqual(invalid("session_id", "user_id"));
    expect(await refusedWatch(service, { sessionId: " " })).toEqual(invalid("session_id"));
    expect(await refusedWatch(service, { userId: "x".repeat(257) })).toEqual(invalid("user_id"));
  });
});

describe("a token", () => {
  it("resumes right behind its response, at any process, also in the midst of what one transaction has done", async () => {
    const { memory, sessions } = service;
    const ids = Array.from({ length: 6 }, (_, n) => newId(`s${n}`));
    const watching = await watch();
    const mine = ({ sessionId }: { sessionId: string }) => ids.includes(sessionId);
    // Together they form groups, of which each is one transaction.
    await Promise.all(
      ids.flatMap((sessionId) => [
        memory.addMemory({ sessionId, messages: withIds("m1", "m2", "m3") }),
        memory.addMemory({ sessionId, messages: withIds("m4") }),
      ]),
    );
    await sessions.updateSession({ sessionId: ids[0] as string, metadata: { done: true } });
    const isLast = ({ sessionId, eventType }: { sessionId: string; eventType: EventType }) =>
      sessionId === ids[0] && eventType === EventType.EVENT_TYPE_SESSION_UPDATED;
    const events = (await watching.untilSome("the last", isLast)).filter(mine);
    for (const [place, { resumeToken }] of [...events.entries()].slice(0, -1)) {
      const at = place % 2 === 0 ? other : service;
      const resumed = await watch({ resumeToken }, at);
      expect(resumed.responses[0]).toMatchObject({ eventType: EventType.EVENT_TYPE_WATCHING, resumeToken });
      const rest = (await resumed.untilSome("the last", isLast)).filter(mine);
      expect(rest.map(told)).toEqual(events.slice(place + 1).map(told));
      expect(rest.map(({ resumeToken }) => resumeToken)).toEqual(events.slice(place + 1).map((e) => e.resumeToken));
      await resumed.stop();
    }
  });

  it("of a WATCHING resumes there", async () => {
    const id = newId("s");
    const first = await watch({ sessionId: id });
    const token = first.token();
    await first.stop();
    await service.sessions.createSession({ sessionId: id });
    const resumed = await watch({ sessionId: id, resumeToken: token }, other);
    await service.sessions.deleteSession({ sessionId: id });
    expect((await resumed.until(2)).map(told)).toEqual([`SESSION_CREATED ${id}`, `SESSION_DELETED ${id}`]);
  });

  it("is refused where it is not one of this stream", async () => {
    const id = newId("s");
    const token = (await watch({ sessionId: id })).token();
    const attempts = [
      { sessionId: newId("s"), resumeToken: token },
      { userId: id, resumeToken: token },
      { resumeToken: token },
      { sessionId: id, resumeToken: `${token}A` },
      { sessionId: id, resumeToken: token.slice(0, -2) },
      { sessionId: id, resumeToken: "🙂" },
      { sessionId: id, resumeToken: "x".repeat(10_000) },
    ];
    for (const attempt of attempts)
      expect(await refusedWatch(service, attempt), JSON.stringify(attempt)).toEqual(invalidToken);
  });
});

describe("what is not told", () => {
  it("is whatever failed", async () => {
    const { sessions, memory } = service;
    const id = newId("s");
    await memory.addMemory({ sessionId: id, messages: withIds("m1") });
    const watching = await watch({ sessionId: id });
    await refusal(
      memory.addMemory({ sessionId: id, messages: [{ messageId: "m1", content: "another" }, { content: "new" }] }),
    );
    await refusal(memory.addMemory({ sessionId: id, messages: texts("x"), expectedLastSequence: 7 }));
    await refusal(sessions.createSession({ sessionId: id }));
    await refusal(sessions.updateSession({ sessionId: id, metadata: { a: 1 }, etag: "stale" }));
    await refusal(memory.deleteMessage({ sessionId: id, messageId: "none" }));
    await memory.addMemory({ sessionId: id, messages: withIds("m1") });
    await memory.addMemory({ sessionId: id, messages: withIds("m2") });
    expect((await watching.until(1)).map(told)).toEqual([`MESSAGES_ADDED ${id} m2`]);
  });

  it("is housekeeping: what the purger marks and erases", async () => {
    const { sessions, memory, purge } = service;
    const id = newId("s");
    await memory.addMemory({ sessionId: id, messages: withIds("m1", "m2") });
    const watching = await watch({ sessionId: id });
    await memory.deleteMessage({ sessionId: id, messageId: "m1" });
    await memory.clearMemory({ sessionId: id });
    await eventually("the cleared messages are marked", async () => {
      const left = await service.database.messages.findOne({ session: `default/${id}`, expireAt: { $exists: false } });
      return left === null;
    });
    await purge.purgeDeleted({ olderThan: { seconds: 0, nanos: 0 } });
    await sessions.deleteSession({ sessionId: id });
    await sessions.purgeSession({ sessionId: id });
    await memory.addMemory({ sessionId: id, messages: withIds("m3") });
    const events = await watching.untilSome("the last", ({ messageIds }) => messageIds.includes("m3"));
    expect(events.map(told)).toEqual([
      `MESSAGE_DELETED ${id} m1`,
      `MEMORY_CLEARED ${id}`,
      `SESSION_DELETED ${id}`,
      `SESSION_PURGED ${id}`,
      `SESSION_CREATED ${id}`,
      `MESSAGES_ADDED ${id} m3`,
    ]);
  });

  it("is anything deleted, cleared or changed since, to those who come later: of that only the ids", async () => {
    const { sessions, memory, users } = service;
    const [kept, cleared, deleted, purged, ann] = ["k", "c", "d", "p", "u"].map((name) => newId(name)) as string[];
    await users.createUser({ userId: ann as string });
    const watching = await watch();
    const token = watching.token();
    for (const sessionId of [kept, cleared, deleted, purged] as string[]) {
      await memory.addMemory({ sessionId, messages: withIds("m1", "m2"), sessionMetadata: { secret: sessionId } });
    }
    await memory.deleteMessage({ sessionId: kept as string, messageId: "m1" });
    await memory.updateMessage({ sessionId: kept as string, messageId: "m2", metadata: { now: "another" } });
    await memory.clearMemory({ sessionId: cleared as string });
    await sessions.deleteSession({ sessionId: deleted as string });
    await sessions.purgeSession({ sessionId: purged as string });
    const resumed = await watch({ resumeToken: token }, other);
    const events = await resumed.untilSome(
      "the purge",
      ({ sessionId, eventType }) => sessionId === purged && eventType === EventType.EVENT_TYPE_SESSION_PURGED,
    );
    const added = (id: string | undefined) =>
      events.find(({ sessionId, eventType }) => sessionId === id && eventType === EventType.EVENT_TYPE_MESSAGES_ADDED);
    for (const id of [kept, cleared, deleted, purged]) expect(added(id)?.messageIds).toEqual(["m1", "m2"]);
    expect(added(kept)?.messages).toMatchObject([{ messageId: "m2", metadata: { now: "another" } }]);
    for (const id of [cleared, deleted, purged]) expect(added(id)?.messages).toEqual([]);
    for (const { sessionId, session } of events) if (sessionId === purged) expect(session).toBeUndefined();
  });
});

describe("of messages that are rewound or edited", () => {
  it("a rewind tells all that it took away at once, and nothing of the summary that went with it", async () => {
    const { memory } = service;
    const id = newId("s");
    const watching = await watch({ sessionId: id }, other);
    await memory.addMemory({ sessionId: id, messages: withIds("m1", "m2", "m3", "m4") });
    await memory.setSummary({ sessionId: id, content: "so far", recentMessageId: "m3" });
    await memory.rewindMemory({ sessionId: id, afterMessageId: "m2" });
    await memory.rewindMemory({ sessionId: id, afterMessageId: "m2" });
    await memory.addMemory({ sessionId: id, messages: withIds("m5") });
    const events = await watching.untilSome("the last", ({ messageIds }) => messageIds.includes("m5"));
    expect(events.map(told)).toEqual([
      `SESSION_CREATED ${id}`,
      `MESSAGES_ADDED ${id} m1 m2 m3 m4`,
      `SUMMARY_SET ${id}`,
      `MESSAGE_DELETED ${id} m3 m4`,
      `MESSAGES_ADDED ${id} m5`,
    ]);
  });

  it("what a message has said before it was edited is told to nobody who comes later", async () => {
    const { memory } = service;
    const id = newId("s");
    const token = (await watch({ sessionId: id })).token();
    await memory.addMemory({ sessionId: id, messages: [{ messageId: "m1", content: "tangerine" }] });
    await memory.updateMessage({ sessionId: id, messageId: "m1", content: "…" });
    const resumed = await watch({ sessionId: id, resumeToken: token }, other);
    const events = await resumed.until(3);
    expect(events.map(told)).toEqual([`SESSION_CREATED ${id}`, `MESSAGES_ADDED ${id} m1`, `MESSAGE_UPDATED ${id} m1`]);
    expect(events.flatMap(({ messages }) => messages.map(({ content }) => content))).toEqual(["…", "…"]);
  });
});

describe("how it is told", () => {
  it("what is large comes in parts, of which each resumes", async () => {
    const { memory } = service;
    const id = newId("s");
    const watching = await watch({ sessionId: id });
    const content = "x".repeat(20_000);
    const messages = Array.from({ length: 60 }, (_, n) => ({ messageId: `m${n}`, content }));
    await memory.addMemory({ sessionId: id, messages });
    const all = messages.map(({ messageId }) => messageId);
    const parts = (await watching.untilSome("all", ({ messageIds }) => messageIds.includes("m59"))).slice(1);
    expect(parts.length).toBeGreaterThan(3);
    expect(parts.flatMap(({ messageIds }) => messageIds)).toEqual(all);
    expect(parts.flatMap((part) => part.messages.map(({ messageId }) => messageId))).toEqual(all);
    const rest = await watch({ sessionId: id, resumeToken: parts[0]?.resumeToken ?? "" }, other);
    const events = await rest.untilSome("all", ({ messageIds }) => messageIds.includes("m59"));
    expect(events.flatMap(({ messageIds }) => messageIds)).toEqual(all.slice(parts[0]?.messageIds.length));
  });

  it("what is read after the first word, and all that comes, is complete, whatever is written meanwhile", async () => {
    const id = newId("busy");
    let isOver = false;
    const writing = [service, other].map(async ({ memory }, n) => {
      for (let k = 0; !isOver; k++) await memory.addMemory({ sessionId: id, messages: withIds(`${n}-${k}`) });
    });
    for (let round = 0; round < 5; round++) {
      const at = round % 2 === 0 ? service : other;
      const watching = await watch({ sessionId: id }, at);
      const before = (await at.memory.listMessages({ sessionId: id })).flatMap(({ messages }) => messages);
      await watching.until(20);
      const after = (await at.memory.listMessages({ sessionId: id })).flatMap(({ messages }) => messages);
      const last = after.at(-1)?.messageId ?? "";
      const events = await watching.untilSome(last, ({ messageIds }) => messageIds.includes(last));
      const known = new Set([...before.map(({ messageId }) => messageId), ...events.flatMap((e) => e.messageIds)]);
      expect(after.filter(({ messageId }) => !known.has(messageId))).toEqual([]);
      const sequences = events.flatMap((event) => event.messages.map(({ sequence }) => sequence));
      expect(sequences).toEqual([...sequences].sort((a, b) => a - b));
      expect(new Set(sequences).size).toBe(sequences.length);
      await watching.stop();
    }
    isOver = true;
    await Promise.all(writing);
  });

  it("while nothing happens it is said so, with a token that resumes there", async () => {
    const id = newId("s");
    const watching = await watch({ sessionId: id });
    await service.sessions.createSession({ sessionId: newId("another") });
    await eventually("another word", () => watching.responses.length > 1, 60_000);
    expect(watching.responses[1]?.eventType).toBe(EventType.EVENT_TYPE_WATCHING);
    expect(watching.responses[1]?.resumeToken).not.toBe(watching.responses[0]?.resumeToken);
    const token = watching.token();
    await service.sessions.createSession({ sessionId: id });
    const resumed = await watch({ sessionId: id, resumeToken: token }, other);
    expect((await resumed.until(1)).map(told)).toEqual([`SESSION_CREATED ${id}`]);
  });

  it("a process that stops ends its watchers, who resume at another", async () => {
    const third = await startService({ databaseName: service.database.db.databaseName });
    const id = newId("s");
    const watching = await begin(third, { sessionId: id });
    await service.sessions.createSession({ sessionId: id });
    await watching.until(1);
    third.close();
    const stopping = third.server.stop();
    expect(await watching.failed().catch(() => undefined)).toBeDefined();
    await service.sessions.deleteSession({ sessionId: id });
    const resumed = await watch({ sessionId: id, resumeToken: watching.token() }, other);
    expect((await resumed.until(1)).map(told)).toEqual([`SESSION_DELETED ${id}`]);
    await stopping;
  });
});

it("a session that the retention has ended is told as purged, and one that was purged only once", async () => {
  const short = await startService({ databaseName: newId("short"), retentionMs: 0, purgeIntervalMs: 3_600_000 });
  onTestFinished(() => short.stop());
  const watching = await watch({}, short);
  const { sessions } = short;
  const [gone, purged] = [newId("gone"), newId("purged")];
  await sessions.createSession({ sessionId: gone });
  await sessions.deleteSession({ sessionId: gone });
  await watching.untilSome("it is gone", (event) => told(event) === `SESSION_PURGED ${gone}`);
  await sessions.createSession({ sessionId: purged });
  await sessions.purgeSession({ sessionId: purged });
  await sessions.createSession({ sessionId: purged });
  await eventually("it is there again", () => {
    return watching.events().filter((event) => told(event) === `SESSION_CREATED ${purged}`).length > 1;
  });
  expect(watching.events().map(told)).toEqual([
    `SESSION_CREATED ${gone}`,
    `SESSION_DELETED ${gone}`,
    `SESSION_PURGED ${gone}`,
    `SESSION_CREATED ${purged}`,
    `SESSION_PURGED ${purged}`,
    `SESSION_CREATED ${purged}`,
  ]);
});
