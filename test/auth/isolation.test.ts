import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createRandom, type Random } from "../faults/support/random.js";
import { type Api, failure } from "../support/api.js";
import { etagMismatch, invalidCursor, refusal } from "../support/contract.js";
import { type Keyed, type KeyedService, Role, startKeyed } from "./support.js";

/** The service that all share, and one that each has for itself: what somebody sees must not depend on the others. */
let shared: KeyedService;
beforeAll(async () => {
  shared = await startKeyed();
});
afterAll(() => shared.stop());

interface Actor {
  /** Stands in all that this one writes, and must not stand in what anybody else reads. */
  readonly mark: string;
  readonly api: Api;
  /** The same one where nobody else is. */
  readonly alone: Api;
  /** The ids that they may give to what they create. */
  readonly own: Ids;
}

interface Ids {
  readonly sessions: readonly string[];
  readonly users: readonly string[];
}

type Operation = (api: Api, mark: string) => Promise<unknown>;

/** What all say, besides their marks: a word's rarity tells how many others say it. */
const common = "wherefore";

const ALL = { olderThan: { seconds: 0, nanos: 0 } };

/** Something that an actor does, with ids out of small pools, so that they often hit what the others have, too. */
function anyOperation(random: Random, own: Ids, all: Ids, isAdmin: boolean): readonly [string, Operation] {
  const sessionId = random.pick(all.sessions);
  const created = random.pick(own.sessions);
  const userId = random.pick(all.users);
  const createdUser = random.pick(own.users);
  const messageId = `m${random.below(4)}`;
  const yes = random.below(2) === 1;
  const operations: Record<string, Operation> = {
    createUser: (api, mark) => api.users.createUser({ userId: createdUser, email: mark, metadata: { mark } }),
    getUser: (api) => api.users.getUser({ userId }),
    updateUser: (api, mark) => api.users.updateUser({ userId, firstName: mark }),
    listUsers: (api) => listed(api.users.listUsers, {}),
    deleteUser: (api) => api.users.deleteUser({ userId }),
    undeleteUser: (api) => api.users.undeleteUser({ userId, restoreSessions: yes }),
    createSession: (api, mark) =>
      api.sessions.createSession({ sessionId: created, userId: createdUser, metadata: { mark } }),
    getSession: (api) => api.sessions.getSession({ sessionId, showDeleted: yes }),
    batchGetSessions: (api) => api.sessions.batchGetSessions({ sessionIds: [...all.sessions] }),
    updateSession: (api, mark) => api.sessions.updateSession({ sessionId, metadata: { more: mark } }),
    deleteSession: (api) => api.sessions.deleteSession({ sessionId, allowMissing: yes }),
    undeleteSession: (api) => api.sessions.undeleteSession({ sessionId, restoreMemory: yes }),
    forkSession: (api, mark) =>
      api.sessions.forkSession({ sessionId, newSessionId: created, metadata: { fork: mark } }),
    listSessions: (api) => listed(api.sessions.listSessions, { showDeleted: yes }),
    listSessionsOf: (api) => listed(api.sessions.listSessions, { userId }),
    listSessionsWith: (api, mark) => listed(api.sessions.listSessions, { metadata: { mark } }),
    addMemory: (api, mark) =>
      api.memory.addMemory({
        sessionId: created,
        messages: [{ messageId, content: `${mark} ${common}`, metadata: { mark } }],
      }),
    addMore: (api, mark) =>
      api.memory.addMemory({ sessionId: created, messages: [{ content: mark }, { content: common }] }),
    getMemory: (api) => api.memory.getMemory({ sessionId, lastN: 10 }),
    listMessages: (api) => listed(api.memory.listMessages, { sessionId }),
    getMessage: (api) => api.memory.getMessage({ sessionId, messageId }),
    updateMessage: (api, mark) => api.memory.updateMessage({ sessionId, messageId, metadata: { more: mark } }),
    editMessage: (api, mark) => api.memory.updateMessage({ sessionId, messageId, content: `${mark} ${common}` }),
    deleteMessage: (api) => api.memory.deleteMessage({ sessionId, messageId }),
    rewindMemory: (api) => api.memory.rewindMemory({ sessionId, afterMessageId: messageId }),
    rewindAll: (api) => api.memory.rewindMemory({ sessionId, afterSequence: 0 }),
    clearMemory: (api) => api.memory.clearMemory({ sessionId }),
    setSummary: (api, mark) => api.memory.setSummary({ sessionId, content: mark, recentMessageId: messageId }),
    searchSession: (api, mark) => api.memory.searchMemory({ sessionId, text: `${mark} ${common}`, neighbors: 2 }),
    searchUser: (api, mark) => api.memory.searchMemory({ userId, text: `${mark} ${common}`, neighbors: 2 }),
    searchMetadata: (api, mark) => api.memory.searchMemory({ userId, metadata: { mark } }),
    ...(isAdmin && {
      purgeSession: (api) => api.sessions.purgeSession({ sessionId }),
      purgeUser: (api) => api.users.purgeUser({ userId }),
      purgeDeleted: (api) => api.purge.purgeDeleted(ALL),
      countDeleted: (api) => api.purge.purgeDeleted({ ...ALL, dryRun: true }),
      listErasures: (api) => listed(api.purge.listErasures, {}),
      listKeys: (api) => api.keys.listKeys({ limit: 1 }),
    }),
  };
  const name = random.pick(Object.keys(operations));
  return [name, operations[name] as Operation];
}

/** A listing in chunks of one, resumed after each of them. */
async function listed<Request extends object>(
  list: (request: Request & { limit: number; cursor: string }) => Promise<{ nextCursor: string }[]>,
  request: Request,
): Promise<unknown> {
  const chunks: unknown[] = [];
  for (let cursor = ""; ; ) {
    const [chunk] = await list({ ...request, limit: 1, cursor });
    if (chunk) chunks.push({ ...chunk, nextCursor: "" });
    if (!chunk?.nextCursor) break;
    cursor = chunk.nextCursor;
  }
  // Things of one moment come in the order of their ids; which ones are of one moment is chance.
  return chunks.map((chunk) => JSON.stringify(chunk, withoutChance)).sort();
}

/** Leaves out what differs wherever the same is done twice. */
function withoutChance(name: string, value: unknown): unknown {
  if (value === undefined || value === "") return value;
  const isChance =
    /Time$|^uid$|^etag$|^nextCursor$|^keyId$|^receiptId$|^requestId$|^requestedBy$/.test(name) ||
    (name === "messageId" && !/^m\d$/.test(`${value}`));
  return isChance ? "…" : value;
}

async function seen(outcome: Promise<unknown>): Promise<string> {
  const [settled] = await Promise.allSettled([outcome]);
  return JSON.stringify(settled.status === "fulfilled" ? settled.value : await failure(outcome), withoutChance);
}

async function play(seed: number, actors: readonly Actor[], steps: number, isAdmin: boolean): Promise<void> {
  const random = createRandom(seed);
  const all = {
    sessions: [...new Set(actors.flatMap(({ own }) => own.sessions))],
    users: [...new Set(actors.flatMap(({ own }) => own.users))],
  };
  for (let step = 0; step < steps; step++) {
    const actor = random.pick(actors);
    const [name, operation] = anyOperation(random, actor.own, all, isAdmin);
    const [told, toldAlone] = await Promise.all([
      seen(operation(actor.api, actor.mark)),
      seen(operation(actor.alone, actor.mark)),
    ]);
    const what = `seed ${seed}, step ${step}: ${name}`;
    expect(told, what).toBe(toldAlone);
    for (const { mark } of actors) if (mark !== actor.mark) expect(told, what).not.toContain(mark);
  }
}

const newSeed = () => Math.floor(Math.random() * 2 ** 31);

describe("two projects with the same ids", () => {
  it("see nothing of each other, whatever both do", { timeout: 300_000 }, async () => {
    const alone = await startKeyed();
    const own = { sessions: ["s0", "s1", "s2"], users: ["u0", "u1"] };
    const actors = await Promise.all(
      ["one", "two"].map(async (name): Promise<Actor> => {
        const key = { role: Role.ROLE_ADMIN, project: `${name}-${randomUUID()}` };
        return { mark: `mark-${randomUUID()}`, api: await shared.caller(key), alone: await alone.caller(key), own };
      }),
    );
    await play(newSeed(), actors, 400, true);
    await alone.stop();
  });

  it("cannot use each other's cursors", async () => {
    const [one, two] = await twoProjects();
    const cursors = async (api: Api) => {
      const list = { limit: 1, chunkSize: 1 };
      const [sessions] = await api.sessions.listSessions(list);
      const [ofUser] = await api.sessions.listSessions({ ...list, userId: "u" });
      const [messages] = await api.memory.listMessages({ ...list, sessionId: "a" });
      const [users] = await api.users.listUsers(list);
      const [keys] = await api.keys.listKeys(list);
      for (const userId of ["gone-1", "gone-2"]) {
        await api.users.createUser({ userId });
        await api.users.purgeUser({ userId });
      }
      const [erasures] = await api.purge.listErasures(list);
      return [sessions, ofUser, messages, users, keys, erasures].map((chunk) => chunk?.nextCursor);
    };
    const resume = (api: Api, [sessions, ofUser, messages, users, keys, erasures]: (string | undefined)[]) => [
      api.sessions.listSessions({ cursor: sessions }),
      api.sessions.listSessions({ cursor: ofUser, userId: "u" }),
      api.memory.listMessages({ cursor: messages, sessionId: "a" }),
      api.users.listUsers({ cursor: users }),
      api.keys.listKeys({ cursor: keys }),
      api.purge.listErasures({ cursor: erasures }),
    ];
    const own = await cursors(one);
    expect(own.every((cursor) => cursor !== undefined && cursor !== "")).toBe(true);
    for (const chunks of await Promise.all(resume(one, own))) expect(chunks).toHaveLength(1);
    const forged = own.map(() => Buffer.from('[1,"x",1,"y"]').toString("base64url"));
    for (const cursors of [own, forged]) {
      for (const stolen of resume(two, cursors)) expect(await refusal(stolen)).toEqual(invalidCursor);
    }
  });

  it("cannot use each other's etags", async () => {
    const [one, two] = await twoProjects();
    const session = (await one.sessions.getSession({ sessionId: "a" })).session?.etag ?? "";
    const user = (await one.users.getUser({ userId: "u" })).user?.etag ?? "";
    for (const [etag, userEtag] of [
      [session, user],
      ["forged", "forged"],
    ] as const) {
      const ofSession = etagMismatch({ session_id: "a" }, etag);
      expect(await refusal(two.sessions.updateSession({ sessionId: "a", metadata: {}, etag }))).toEqual(ofSession);
      expect(await refusal(two.sessions.deleteSession({ sessionId: "a", etag }))).toEqual(ofSession);
      const ofUser = etagMismatch({ user_id: "u" }, userEtag);
      expect(await refusal(two.users.updateUser({ userId: "u", email: "x", etag: userEtag }))).toEqual(ofUser);
    }
  });

  it("whose names begin alike keep apart in what goes by ranges of keys", async () => {
    const name = `p-${randomUUID()}`;
    const projects = await Promise.all(
      [name, `${name}-`, `${name}.`, `${name}0`, `${name}a`].map((project) =>
        shared.caller({ role: Role.ROLE_ADMIN, project }),
      ),
    );
    for (const api of projects) {
      await api.memory.addMemory({ sessionId: "s", messages: [{}, {}] });
      await api.memory.clearMemory({ sessionId: "s" });
    }
    for (const api of projects) {
      const counted = { purgedSessions: 0, purgedMessages: 2, purgedUsers: 0 };
      expect(await api.purge.purgeDeleted({ ...ALL, dryRun: true })).toEqual(counted);
      expect(await api.purge.purgeDeleted(ALL)).toEqual(counted);
    }
  });
});

/** Two projects with the same things in them. */
async function twoProjects(): Promise<[Keyed, Keyed]> {
  const make = async (): Promise<Keyed> => {
    const project = `p-${randomUUID()}`;
    const api = await shared.caller({ role: Role.ROLE_ADMIN, project });
    await shared.caller({ role: Role.ROLE_READER, project });
    for (const userId of ["u", "v"]) await api.users.createUser({ userId });
    for (const sessionId of ["a", "b"]) {
      await api.memory.addMemory({ sessionId, userId: "u", messages: [{ messageId: "1" }, { messageId: "2" }] });
    }
    return api;
  };
  return [await make(), await make()];
}

describe("two users of one project with keys of their own", () => {
  it("see nothing of each other, whatever both do", { timeout: 300_000 }, async () => {
    const alone = await startKeyed();
    const project = `p-${randomUUID()}`;
    const actors = await Promise.all(
      ["ann", "bob"].map(async (userId): Promise<Actor> => {
        const key = { role: Role.ROLE_WRITER, userId };
        return {
          mark: `mark-${randomUUID()}`,
          api: await shared.caller({ ...key, project }),
          // Each one a project, which others do not touch.
          alone: await alone.caller({ ...key, project: `${userId}-${randomUUID()}` }),
          own: { sessions: [0, 1, 2].map((n) => `${userId}-${n}`), users: [userId] },
        };
      }),
    );
    await play(newSeed(), actors, 400, false);
    await alone.stop();
  });

  it("may name only themselves, and a session of theirs cannot go to anybody else", async () => {
    const project = `p-${randomUUID()}`;
    const admin = await shared.caller({ role: Role.ROLE_ADMIN, project });
    for (const userId of ["ann", "bob"]) await admin.users.createUser({ userId });
    const ann = await shared.caller({ role: Role.ROLE_WRITER, project, userId: "ann" });
    const denied = (userId: string) => ({
      code: "PERMISSION_DENIED",
      reason: "PERMISSION_DENIED",
      metadata: { user_id: userId },
    });
    expect((await ann.sessions.createSession({ sessionId: "s" })).session?.userId).toBe("ann");
    await ann.memory.addMemory({ sessionId: "t", messages: [{}] });
    await ann.memory.addMemory({ sessionId: "u", userId: "ann", messages: [{}] });
    expect(
      (await ann.sessions.batchGetSessions({ sessionIds: ["t", "u"] })).sessions.map(({ userId }) => userId),
    ).toEqual(["ann", "ann"]);
    expect(await refusal(ann.sessions.createSession({ sessionId: "v", userId: "bob" }))).toMatchObject(denied("bob"));
    expect(await refusal(ann.memory.addMemory({ sessionId: "v", userId: "bob" }))).toMatchObject(denied("bob"));
    expect(await refusal(ann.sessions.updateSession({ sessionId: "s", userId: "bob" }))).toMatchObject(denied("bob"));
    expect(await refusal(ann.sessions.updateSession({ sessionId: "s", userId: "" }))).toMatchObject(denied(""));
    expect((await ann.sessions.updateSession({ sessionId: "s", userId: "ann" })).session?.userId).toBe("ann");
    expect((await admin.sessions.getSession({ sessionId: "s" })).session?.userId).toBe("ann");
    expect(await refusal(admin.sessions.getSession({ sessionId: "v" }))).toMatchObject({ code: "NOT_FOUND" });
  });

  it("find by searching what is theirs alone, whoever else says the same beside them", async () => {
    const project = `p-${randomUUID()}`;
    const admin = await shared.caller({ role: Role.ROLE_ADMIN, project });
    const alone = await shared.caller({ role: Role.ROLE_ADMIN, project: `p-${randomUUID()}` });
    const messages = ["a boat", "a red boat", "rain"].map((content, n) => ({ messageId: `${n}`, content }));
    for (const api of [admin, alone]) {
      await api.users.createUser({ userId: "ann" });
      await api.memory.addMemory({ sessionId: "hers", userId: "ann", messages });
    }
    await admin.users.createUser({ userId: "bob" });
    for (const [sessionId, userId] of [
      ["his", "bob"],
      ["more", "bob"],
      ["nobody's", undefined],
    ] as const) {
      await admin.memory.addMemory({ sessionId, userId, messages: [...messages, { content: "his boat" }] });
    }
    const ann = await shared.caller({ role: Role.ROLE_READER, project, userId: "ann" });
    const found = async (api: Api, request: Parameters<Api["memory"]["searchMemory"]>[0]) =>
      JSON.stringify(await api.memory.searchMemory({ text: "red boats", neighbors: 2, ...request }), withoutChance);
    const [hers, nothing] = [await found(alone, { userId: "ann" }), await found(alone, { userId: "nobody" })];
    expect(JSON.parse(hers).results.length).toBeGreaterThanOrEqual(2);
    expect(JSON.parse(nothing).results).toEqual([]);
    // To the last digit of the scores: others do not even make a word commoner.
    for (const api of [admin, ann]) expect(await found(api, { userId: "ann" })).toBe(hers);
    for (const api of [admin, ann])
      expect(await found(api, { sessionId: "hers" })).toBe(await found(alone, { sessionId: "hers" }));
    for (const scope of [{ userId: "bob" }, { sessionId: "his" }, { sessionId: "nobody's" }]) {
      expect(JSON.parse(await found(admin, scope)).results.length).toBeGreaterThan(0);
      expect(await found(ann, scope)).toBe(nothing);
    }

    await admin.sessions.updateSession({ sessionId: "hers", userId: "bob" });
    expect(await found(ann, { userId: "ann" })).toBe(nothing);
    expect(await found(ann, { sessionId: "hers" })).toBe(nothing);
  });

  it("do not even learn that another's memory is too large for one answer", async () => {
    const project = `p-${randomUUID()}`;
    const [admin, ann] = [
      await shared.caller({ role: Role.ROLE_ADMIN, project }),
      await shared.caller({ role: Role.ROLE_READER, project, userId: "ann" }),
    ];
    const messages = Array.from({ length: 7 }, () => ({ content: "x".repeat(1024 * 1024) }));
    await admin.memory.addMemory({ sessionId: "large", messages });
    expect(await admin.memory.getMemory({ sessionId: "large", lastN: 100 })).toMatchObject({ truncated: true });
    const theirs = await ann.memory.getMemory({ sessionId: "large", lastN: 100 });
    expect(theirs).toEqual(await ann.memory.getMemory({ sessionId: "nowhere", lastN: 100 }));
  });

  it("lose a session that is given to another, in the midst of what they do", async () => {
    const project = `p-${randomUUID()}`;
    const admin = await shared.caller({ role: Role.ROLE_ADMIN, project });
    for (const userId of ["ann", "bob"]) await admin.users.createUser({ userId });
    // In another process than the one that hands over: it knows of that only when it looks.
    const elsewhere = await startKeyed({ databaseName: shared.service.database.db.databaseName });
    const [ann, bob] = await Promise.all(
      ["ann", "bob"].map(async (userId) => {
        const { secret } = await shared.caller({ role: Role.ROLE_WRITER, project, userId });
        return elsewhere.as(secret);
      }),
    );
    if (!ann || !bob) throw new Error("no callers");
    const sessionId = "handed-over";
    await ann.sessions.createSession({ sessionId });
    // Each adds for as long as it is theirs, so that what one has added after a hand-over is by the one whose it is.
    for (let round = 0; round < 30; round++) {
      const [from, to, name] = round % 2 === 0 ? ([ann, bob, "bob"] as const) : ([bob, ann, "ann"] as const);
      const adds = Array.from({ length: 5 }, () =>
        from.memory.addMemory({ sessionId, messages: [{ content: "from" }] }),
      );
      const handOver = admin.sessions.updateSession({ sessionId, userId: name });
      const [, ...added] = await Promise.allSettled([handOver, ...adds]);
      const { messageCount } = (await to.sessions.getSession({ sessionId })).session ?? {};
      expect(messageCount).toBe(added.filter(({ status }) => status === "fulfilled").length);
      expect(await refusal(from.memory.addMemory({ sessionId, messages: [{}] }))).toMatchObject({ code: "NOT_FOUND" });
      await to.memory.clearMemory({ sessionId });
    }
    await elsewhere.stop();
  });
});
