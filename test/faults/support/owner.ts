import { isDeepStrictEqual } from "node:util";
import type { Timestamp } from "../../../gen/google/protobuf/timestamp.js";
import type { Message } from "../../../gen/sessions/v1/resources.js";
import type { Api } from "../../support/api.js";
import { eventually } from "../../support/eventually.js";
import { insist, type Tally } from "./attempts.js";
import type { Random } from "./random.js";

/**
 * A client with users and sessions of its own, which does one change after the other and repeats each until it knows the
 * outcome. So it knows at any time exactly what must be there, whatever has died meanwhile.
 */
export interface Owner {
  /** Makes changes, and looks every now and then, until it is told to stop. */
  run(isOver: () => boolean): Promise<void>;
  /** Compares all that it owns with what a service shows. */
  check(api: Api): Promise<void>;
  /** Its live sessions, to be found in listings. */
  liveSessions(): string[];
  /** Its messages that are to be there. */
  messageCount(): number;
}

export interface OwnerDeps {
  readonly name: string;
  readonly tally: Tally;
  readonly random: Random;
  readonly anyService: () => Promise<Api>;
  readonly sessions: number;
}

interface OwnSession {
  readonly id: string;
  user: string | undefined;
  status: "missing" | "live" | "deleted";
  /** Live messages in order; of a deleted session, those that a restoration brings back. */
  memory: OwnMessage[];
  /** Ids of messages that were there and must not be seen again. */
  readonly gone: Set<string>;
  lastSequence: number;
  /** Whether the last deletion of its user took it along. */
  isTaken: boolean;
}

type OwnMessage = Pick<Message, "messageId" | "content" | "sequence" | "createTime" | "tokenCount">;

/** How soon a restoration of a user's sessions that was broken off is finished by a pass of the purger. */
const FINISHED_BY_PURGER_MS = 90_000;

/** As much as a search finds at most. */
const SEARCHED = 100;

/** A word that only this message says. */
const wordOf = (messageId: string): string => messageId.replaceAll("-", "").replaceAll(".", "x");

export function createOwner({ name, tally, random, anyService, sessions: count }: OwnerDeps): Owner {
  const sessions = Array.from(
    { length: count },
    (_, index): OwnSession => ({
      id: `${name}-${index}`,
      user: undefined,
      status: "missing",
      memory: [],
      gone: new Set(),
      lastSequence: 0,
      isTaken: false,
    }),
  );
  let user = "";
  let users = 0;
  let calls = 0;
  let isLost = false;
  /** The changes so far and how they ended, for the reader of a violation. */
  const trace: string[] = [];

  const wrong = (what: string): void =>
    void tally.violations.push(`${name}: ${what}; before that: ${trace.slice(-6).join(", ")}`);
  const ofUser = (status: OwnSession["status"]): OwnSession[] =>
    sessions.filter((session) => session.user === user && session.status === status);

  /**
   * Makes one change. `already` is the reason with which a service answers when an earlier attempt of this change, of
   * unknown outcome, has taken effect.
   */
  async function change<T>(what: string, already: string, call: (api: Api) => Promise<T>): Promise<T | "already"> {
    const outcome = await insist(tally, anyService, what, call);
    trace.push(`${what}${outcome.isRepeated ? " (repeated)" : ""}: ${"answer" in outcome ? "done" : outcome.refused}`);
    if ("answer" in outcome) return outcome.answer;
    if (outcome.refused === already && outcome.isRepeated) return "already";
    throw new Error(`${what} was refused with ${outcome.refused}`);
  }

  async function createUser(): Promise<void> {
    user = `${name}-user-${users++}`;
    const userId = user;
    await change(`CreateUser ${userId}`, "USER_ALREADY_EXISTS", (api) => api.users.createUser({ userId }));
  }

  async function add(session: OwnSession): Promise<void> {
    const call = calls++;
    const size = random.chance(0.1) ? 100 : 1 + random.below(random.chance(0.3) ? 60 : 6);
    const messages = Array.from({ length: size }, (_, index) => ({
      messageId: `${name}.${call}.${index}`,
      content: `${session.id}, call ${call}, message ${index} of ${size}: ${wordOf(`${name}.${call}.${index}`)}`,
    }));
    if (session.status === "missing") session.user = random.chance(0.7) ? user : undefined;
    const request = { sessionId: session.id, userId: session.user, messages };
    const what = `AddMemory of ${size} to ${session.id}`;
    const added = await change(what, "", (api) => api.memory.addMemory(request));
    if (added === "already") throw new Error("AddMemory is its own repetition");

    const before = session.status;
    if (added.sessionCreated !== (before === "missing") || added.sessionUndeleted !== (before === "deleted")) {
      wrong(`${what}, which was ${before}: created ${added.sessionCreated}, undeleted ${added.sessionUndeleted}`);
    }
    if (before !== "live") leaveMemory(session);
    session.status = "live";
    const first = added.messages[0]?.sequence ?? 0;
    const isInOrder = added.messages.every(
      ({ messageId, sequence }, index) => messageId === messages[index]?.messageId && sequence === first + index,
    );
    if (!isInOrder || added.messages.length !== size || first <= session.lastSequence) {
      wrong(`${what}, after sequence ${session.lastSequence}, answered ${JSON.stringify(added.messages)}`);
    }
    session.lastSequence = first + size - 1;
    session.memory.push(
      ...added.messages.map((message, index) => ({
        ...message,
        content: messages[index]?.content ?? "",
        tokenCount: 0,
      })),
    );
  }

  function leaveMemory(session: OwnSession): void {
    for (const { messageId } of session.memory) session.gone.add(messageId);
    session.memory = [];
  }

  async function updateMessage(session: OwnSession): Promise<void> {
    const message = random.pick(session.memory);
    if (message === undefined) return;
    const tokenCount = 1 + calls++;
    const request = { sessionId: session.id, messageId: message.messageId, tokenCount };
    await change(`UpdateMessage ${message.messageId}`, "", (api) => api.memory.updateMessage(request));
    session.memory = session.memory.map((one) => (one === message ? { ...message, tokenCount } : one));
  }

  async function deleteMessage(session: OwnSession): Promise<void> {
    const message = random.pick(session.memory);
    if (message === undefined) return;
    const request = { sessionId: session.id, messageId: message.messageId };
    await change(`DeleteMessage ${message.messageId}`, "MESSAGE_NOT_FOUND", (api) => api.memory.deleteMessage(request));
    session.memory = session.memory.filter((one) => one !== message);
    session.gone.add(message.messageId);
  }

  async function clear(session: OwnSession): Promise<void> {
    await change(`ClearMemory of ${session.id}`, "", (api) => api.memory.clearMemory({ sessionId: session.id }));
    leaveMemory(session);
  }

  async function deleteSession(session: OwnSession): Promise<void> {
    const request = { sessionId: session.id };
    await change(`DeleteSession ${session.id}`, "SESSION_NOT_FOUND", (api) => api.sessions.deleteSession(request));
    session.status = "deleted";
    session.isTaken = false;
  }

  async function undelete(session: OwnSession, restoreMemory: boolean): Promise<void> {
    const request = { sessionId: session.id, restoreMemory };
    const what = `UndeleteSession ${session.id} ${restoreMemory ? "with" : "without"} memory`;
    await change(what, "SESSION_NOT_DELETED", (api) => api.sessions.undeleteSession(request));
    if (!restoreMemory) leaveMemory(session);
    session.status = "live";
  }

  async function purge(session: OwnSession): Promise<void> {
    const request = { sessionId: session.id };
    await change(`PurgeSession ${session.id}`, "SESSION_NOT_FOUND", (api) => api.sessions.purgeSession(request));
    forget(session);
  }

  function forget(session: OwnSession): void {
    leaveMemory(session);
    session.status = "missing";
    session.lastSequence = 0;
  }

  async function deleteUser(): Promise<void> {
    const userId = user;
    await change(`DeleteUser ${userId}`, "USER_NOT_FOUND", (api) => api.users.deleteUser({ userId }));
    for (const session of ofUser("deleted")) session.isTaken = false;
    for (const session of ofUser("live")) Object.assign(session, { status: "deleted", isTaken: true });
    await look(random.pick(sessions));
    if (random.chance(0.5)) await undeleteUser(random.chance(0.7));
    else await purgeUser();
  }

  async function undeleteUser(restoreSessions: boolean): Promise<void> {
    const userId = user;
    const what = `UndeleteUser ${userId} ${restoreSessions ? "with" : "without"} sessions`;
    const done = await change(what, "USER_NOT_DELETED", (api) => api.users.undeleteUser({ userId, restoreSessions }));
    if (!restoreSessions) return;
    const taken = ofUser("deleted").filter(({ isTaken }) => isTaken);
    for (const session of taken) session.status = "live";
    if (done !== "already") return;
    // The service that was at it has died. The purger of another one finishes it, a session after the other.
    await eventually(
      `${what} is finished`,
      async () => {
        const found = await insist(tally, anyService, what, (api) => api.users.getUser({ userId }));
        return "answer" in found && found.answer.user?.sessionCount === ofUser("live").length;
      },
      FINISHED_BY_PURGER_MS,
    );
  }

  async function purgeUser(): Promise<void> {
    const userId = user;
    await change(`PurgeUser ${userId}`, "USER_NOT_FOUND", (api) => api.users.purgeUser({ userId }));
    for (const session of sessions) if (session.user === userId) forget(session);
    await look(random.pick(sessions));
    await createUser();
  }

  async function act(session: OwnSession): Promise<void> {
    const dice = random.below(100);
    if (dice < 15) return look(session);
    if (dice < 20) return deleteUser();
    if (session.status === "missing" || dice < 55) return add(session);
    if (dice < 60) return purge(session);
    if (session.status === "deleted") return undelete(session, dice < 85);
    if (dice < 68) return updateMessage(session);
    if (dice < 75) return deleteMessage(session);
    if (dice < 82) return clear(session);
    return deleteSession(session);
  }

  /** What GetMemory shows of a session, at any time. */
  async function look(session: OwnSession): Promise<void> {
    const request = { sessionId: session.id, lastN: 1000 };
    const seen = await insist(tally, anyService, `GetMemory of ${session.id}`, (api) => api.memory.getMemory(request));
    if ("refused" in seen) return wrong(`GetMemory of ${session.id} was refused with ${seen.refused}`);
    const newest = session.status === "live" ? session.memory.slice(-1000) : [];
    compareMessages(`GetMemory of ${session.id}`, seen.answer.messages, newest);
    compareSession(session, seen.answer.session);
    await search(session);
  }

  /** What a search in a session, or in all of the user's, finds at any time: nothing that is gone, and all that was added. */
  async function search(session: OwnSession): Promise<void> {
    const isOfSession = random.chance(0.5);
    const scope = isOfSession ? { sessionId: session.id } : { userId: user };
    const there = (isOfSession ? [session] : ofUser("live"))
      .filter(({ status }) => status === "live")
      .flatMap(({ memory }) => memory);
    const what = `SearchMemory in ${JSON.stringify(scope)}`;
    const find = async (text: string): Promise<Message[]> => {
      const request = { ...scope, text, limit: SEARCHED };
      const seen = await insist(tally, anyService, what, (api) => api.memory.searchMemory(request));
      if ("answer" in seen) return seen.answer.results.flatMap(({ message }) => message ?? []);
      wrong(`${what} was refused with ${seen.refused}`);
      return [];
    };
    const found = await find("calls");
    const ids = new Set(there.map(({ messageId }) => messageId));
    const extra = found.map(({ messageId }) => messageId).filter((id) => !ids.has(id));
    if (extra.length > 0) wrong(`${what} finds what is not there: ${extra}`);
    if (found.length !== Math.min(there.length, SEARCHED)) wrong(`${what} finds ${found.length} of ${there.length}`);
    const last = there.at(-1);
    if (!last) return;
    const [best] = await find(wordOf(last.messageId));
    if (best?.messageId !== last.messageId) wrong(`${what} finds ${best?.messageId} by the word of ${last.messageId}`);
  }

  function compareMessages(what: string, seen: readonly Message[], expected: readonly OwnMessage[]): void {
    if (isDeepStrictEqual(seen.map(inOneForm), expected.map(inOneForm))) return;
    const has = new Set(seen.map(({ messageId }) => messageId));
    const should = new Set(expected.map(({ messageId }) => messageId));
    const missing = [...should].filter((id) => !has.has(id));
    const extra = [...has].filter((id) => !should.has(id));
    const counts = new Map(expected.map(({ messageId, tokenCount }) => [messageId, tokenCount]));
    const stale = seen.filter(({ messageId, tokenCount }) => (counts.get(messageId) ?? tokenCount) !== tokenCount);
    wrong(
      `${what} shows ${seen.length}, not ${expected.length}; missing: ${missing}; not to be seen: ${extra}; ` +
        `not as updated: ${stale.map(({ messageId, tokenCount }) => `${messageId} (${tokenCount})`)}`,
    );
  }

  function compareSession(
    { id, status, memory, user: owner }: OwnSession,
    seen: { messageCount: number; lastMessageTime?: Timestamp; userId?: string } | undefined,
  ): void {
    if ((seen !== undefined) !== (status === "live"))
      wrong(`${id} is ${status}, but is seen as ${JSON.stringify(seen)}`);
    if (seen === undefined || status !== "live") return;
    const { messageCount, lastMessageTime, userId } = seen;
    const expected = { messageCount: memory.length, lastMessageTime: memory.at(-1)?.createTime, userId: owner };
    if (!isDeepStrictEqual({ messageCount, lastMessageTime, userId }, expected)) {
      wrong(`${id} has ${JSON.stringify({ messageCount, lastMessageTime, userId })}, not ${JSON.stringify(expected)}`);
    }
  }

  return {
    async run(isOver) {
      await createUser();
      while (!isOver()) {
        const session = random.pick(sessions);
        try {
          await act(session);
        } catch (error) {
          // It does not know any more what to expect.
          isLost = true;
          wrong(error instanceof Error ? error.message : String(error));
          return;
        }
      }
    },
    async check(api) {
      if (isLost) return;
      for (const session of sessions) {
        const found = await insist(
          tally,
          async () => api,
          "GetSession",
          () => api.sessions.getSession({ sessionId: session.id }),
        );
        compareSession(session, "answer" in found ? found.answer.session : undefined);
        const chunks = await api.memory.listMessages({ sessionId: session.id });
        const listed = chunks.flatMap(({ messages }) => messages);
        compareMessages(`ListMessages of ${session.id}`, listed, session.status === "live" ? session.memory : []);
        for (const messageId of [...session.gone].filter(() => random.chance(0.02))) {
          const one = await insist(
            tally,
            async () => api,
            "GetMessage",
            () => api.memory.getMessage({ sessionId: session.id, messageId }),
          );
          if ("answer" in one) wrong(`GetMessage finds ${messageId}, which was deleted`);
        }
      }
      const { user: seen } = await api.users.getUser({ userId: user });
      if (seen?.sessionCount !== ofUser("live").length) {
        wrong(`${user} has ${seen?.sessionCount} sessions, not ${ofUser("live").length}`);
      }
      const theirs = (await api.sessions.listSessions({ userId: user })).flatMap((chunk) => chunk.sessions);
      const ids = theirs.map(({ sessionId }) => sessionId).sort();
      const expected = ofUser("live")
        .map(({ id }) => id)
        .sort();
      if (!isDeepStrictEqual(ids, expected)) wrong(`ListSessions of ${user} shows ${ids}, not ${expected}`);
    },
    liveSessions: () => sessions.filter(({ status }) => status === "live").map(({ id }) => id),
    messageCount: () => sessions.reduce((sum, { status, memory }) => sum + (status === "live" ? memory.length : 0), 0),
  };
}

const inOneForm = ({ messageId, content, sequence, createTime, tokenCount }: OwnMessage) => ({
  messageId,
  content,
  sequence,
  tokenCount,
  seconds: createTime?.seconds,
  nanos: createTime?.nanos,
});
