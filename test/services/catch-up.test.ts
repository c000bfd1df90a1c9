import { setImmediate } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ScopeIndex } from "../../src/search/scope-index.js";
import { catchUp, type KnownScope } from "../../src/services/search/catch-up.js";
import { createScopeReader, type Scope } from "../../src/store/scope-reads.js";
import { newId } from "../support/contract.js";
import { startService, type TestService } from "../support/service.js";

/** An index that is being brought up to date can be broken off anywhere, and what was there may be another thing when it goes on. */
let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.stop());

const MESSAGES = 900;
/** So that it takes several slices to take them in, or away. */
const SAID = Array.from({ length: 300 }, (_, n) => `boat${n}`).join(" ");

async function longSession(userId: string, calls = 1): Promise<string> {
  const sessionId = newId();
  for (let call = 0; call < calls; call++) {
    const messages = Array.from({ length: MESSAGES }, (_, n) => ({ messageId: `${call}.${n}`, content: SAID }));
    await service.memory.addMemory({ sessionId, userId, messages });
  }
  return sessionId;
}

const nothing = (): KnownScope => ({ index: new ScopeIndex(), sessions: new Map() });
const ofUser = (userId: string): Scope => ({ user: `default/${userId}` });

/** Brings an index to what is there now. With `isTime` it is broken off once that holds, between two slices of its work. */
async function bringUp(known: KnownScope, scope: Scope, isTime?: () => boolean): Promise<void> {
  const aborter = new AbortController();
  const { signal } = aborter;
  const call = { project: "default", signal, deadline: Number.POSITIVE_INFINITY, requestId: "test" };
  let isOver = false;
  const watch = async (): Promise<void> => {
    for (; !isOver && isTime; await setImmediate()) if (isTime()) return aborter.abort();
  };
  const bring = createScopeReader(service.database).at([{ call }], async (moment) => {
    const sessions = await moment.sessions(scope);
    await catchUp(known, sessions ?? [], moment, signal, () => {});
  });
  const watching = watch();
  const outcome = await bring.then(
    () => "done",
    () => "broken off",
  );
  isOver = true;
  await watching;
  expect(outcome).toBe(isTime ? "broken off" : "done");
}

/** What each says of everything: which messages it has, in which order, and beside which others. */
const toldBy = ({ index }: KnownScope) => [
  index.messageCount,
  index.newest({ limit: 10_000, neighbors: 1 }),
  index.search("boat7", { limit: 10_000 }),
];

async function expectAsIfNew(known: KnownScope, scope: Scope): Promise<void> {
  await bringUp(known, scope);
  const anew = nothing();
  await bringUp(anew, scope);
  expect(toldBy(known)).toEqual(toldBy(anew));
}

describe("an index whose making was broken off is as one made anew,", () => {
  const isUnderWay = ({ index }: KnownScope) => index.messageCount > 0 && index.messageCount < MESSAGES;

  test("also of what was deleted before it went on", async () => {
    const userId = newId();
    await service.users.createUser({ userId });
    const sessionId = await longSession(userId);
    const known = nothing();
    await bringUp(known, ofUser(userId), () => isUnderWay(known));
    expect(isUnderWay(known)).toBe(true);
    await service.memory.deleteMessage({ sessionId, messageId: "0.0" });
    await expectAsIfNew(known, ofUser(userId));
  });

  test("also of a session that went to somebody else before it went on", async () => {
    const [userId, other] = [newId(), newId()];
    await service.users.createUser({ userId });
    await service.users.createUser({ userId: other });
    const sessionId = await longSession(userId);
    const known = nothing();
    await bringUp(known, ofUser(userId), () => isUnderWay(known));
    expect(isUnderWay(known)).toBe(true);
    await service.sessions.updateSession({ sessionId, userId: other });
    await service.sessions.createSession({ sessionId: newId(), userId });
    await expectAsIfNew(known, ofUser(userId));
  });

  test("also of a session that had gone, and came back while it was being taken away", async () => {
    const [userId, other] = [newId(), newId()];
    await service.users.createUser({ userId });
    await service.users.createUser({ userId: other });
    const sessionId = await longSession(userId, 5);
    const known = nothing();
    await bringUp(known, ofUser(userId));
    const { messageCount } = known.index;
    await service.sessions.updateSession({ sessionId, userId: other });
    await bringUp(known, ofUser(userId), () => known.index.messageCount < messageCount);
    expect(known.index.messageCount).toBeGreaterThan(0);
    await service.sessions.updateSession({ sessionId, userId });
    await expectAsIfNew(known, ofUser(userId));
  });
});

test("an index goes back with a moment that is older than the one before", async () => {
  const userId = newId();
  await service.users.createUser({ userId });
  const sessionId = newId();
  const add = (...contents: string[]) =>
    service.memory.addMemory({ sessionId, userId, messages: contents.map((content) => ({ content })) });
  await add("boat7", "a canoe");
  const known = nothing();
  const signal = new AbortController().signal;
  const call = { project: "default", signal, deadline: Number.POSITIVE_INFINITY, requestId: "test" };
  await createScopeReader(service.database).at([{ call }], async (moment) => {
    const sessions = (await moment.sessions(ofUser(userId))) ?? [];
    await add("boat7", "boat7");
    await bringUp(known, ofUser(userId));
    expect(known.index.messageCount).toBe(4);
    const anew = nothing();
    for (const scope of [known, anew]) await catchUp(scope, sessions, moment, signal, () => {});
    expect(toldBy(known)).toEqual(toldBy(anew));
  });
  await expectAsIfNew(known, ofUser(userId));
});
