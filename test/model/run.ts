import { createHash } from "node:crypto";
import { expect } from "vitest";
import type { Timestamp } from "../../gen/google/protobuf/timestamp.js";
import { WindowStart } from "../../gen/sessions/v1/memory_service.js";
import type * as api from "../../gen/sessions/v1/resources.js";
import { MetadataMode, RoleType } from "../../gen/sessions/v1/resources.js";
import { SessionOrder } from "../../gen/sessions/v1/session_service.js";
import type { Purger } from "../../src/services/purging/purger.js";
import { type Api, failure } from "../support/api.js";
import { expireTime, idleTtl } from "../support/expiry.js";
import { Knowledge } from "./knowledge.js";
import {
  type Expiry,
  holds,
  type Json,
  type JsonObject,
  liveMessages,
  type Message,
  type Mode,
  type NewExpiry,
  type NewMessage,
  Refused,
  Rules,
  type Said,
  type Session,
  type User,
} from "./rules.js";
import { searchAgrees, TEXT } from "./searches.js";
import { type AddMemory, CONTENTS, type Etag, FILTERS, SESSIONS, type Step, USERS } from "./steps.js";
import { tokensOf, windowOf } from "./windows.js";

export interface Subject {
  /** Services on one database, which take turns: each call is made at the next one. */
  readonly apis: readonly Api[];
  readonly purger: Purger;
  /** A purger for whom the retention of all that is deleted has passed. */
  readonly latePurger: Purger;
  readonly retentionMs: number;
  readonly memoryWindow: number;
  /** Makes the ids of this run its own. */
  readonly prefix: string;
}

/** Takes the steps on the service and on the rules. Both must answer the same, and after each step all reads must agree. */
export async function run(steps: readonly Step[], subject: Subject): Promise<void> {
  const rules = new Rules(CONTENTS);
  const known = new Knowledge();
  const sent: AddMemoryRequest[] = [];
  const views = createViews(rules, known, subject);
  for (const [index, step] of steps.entries()) {
    try {
      await take(step, index, { rules, known, sent, views, subject });
      await readsAgree(index, { rules, known, views, subject });
    } catch (error) {
      if (error instanceof Error) error.message = `after call ${index + 1}, ${step.do}: ${error.message}`;
      throw error;
    }
  }
}

interface AddMemoryRequest {
  readonly step: AddMemory;
  readonly expectedLastSequence: number | undefined;
}

interface Context {
  readonly rules: Rules;
  readonly known: Knowledge;
  readonly views: ReturnType<typeof createViews>;
  readonly subject: Subject;
}

/** The service whose turn it is. */
const inTurn = ({ apis }: Subject, index: number): Api => apis[index % apis.length] as Api;

async function take(step: Step, index: number, context: Context & { sent: AddMemoryRequest[] }): Promise<void> {
  const { rules, known, sent, views, subject } = context;
  const api = inTurn(subject, index);
  const { sessions, memory, users, purge } = api;
  const full = (id: string): string => subject.prefix + id;
  const fullUser = (id: string | undefined): string | undefined => (id ? full(id) : id);

  const etagOf = (of: Session | User | undefined, which: Etag | undefined): string => {
    if (which === undefined || of === undefined) return which ? "none" : "";
    const revision = which === "current" ? of.revision : of.revision - 1;
    return String(known.valueOf(`etag ${of.incarnation}.${revision}`) ?? "none");
  };

  const messageEtag = (of: Message | undefined, which: Etag | undefined): string => {
    if (which === undefined || of === undefined) return which ? "none" : "";
    const revision = which === "current" ? of.revision : of.revision - 1;
    return String(known.valueOf(`etag of ${of.name}.${revision}`) ?? "none");
  };

  const sentBefore = (of: { session: string; back: number }) =>
    sent.filter((request) => request.step.session === of.session).at(-1 - of.back);

  const add = (request: AddMemory, expected: AddMemory["expected"]): Promise<void> => {
    const last = rules.sessions.get(request.session)?.lastSequence ?? 0;
    const expectedLastSequence = expected && (expected === "last" ? last : last + 1);
    sent.push({ step: request, expectedLastSequence });
    return addMemory(api, { step: request, expectedLastSequence }, context);
  };

  switch (step.do) {
    case "createSession": {
      const { session, user, metadata, expiry } = step;
      return agree(
        () => rules.createSession(session, user, metadata, expiry),
        () =>
          sessions.createSession({
            sessionId: full(session),
            userId: fullUser(user),
            metadata,
            expiry: wireExpiry(expiry),
          }),
        (expected, response) => views.sessionAgrees(response.session, expected),
      );
    }
    case "updateSession": {
      const { session, metadata, mode, user, expiry } = step;
      const etag = etagOf(rules.liveSession(session), step.etag);
      return agree(
        () => rules.updateSession(session, { metadata, mode, user, expiry, etagIsRight: step.etag !== "other" }),
        () =>
          sessions.updateSession({
            sessionId: full(session),
            metadata,
            metadataMode: MODES[mode],
            userId: fullUser(user),
            etag,
            ...(expiry === "none" ? { clearExpiry: true } : { expiry: wireExpiry(expiry) }),
          }),
        (expected, response) => views.sessionAgrees(response.session, expected),
      );
    }
    case "deleteSession": {
      const { session, allowMissing } = step;
      const etag = etagOf(rules.liveSession(session), step.etag);
      return agree(
        () => rules.deleteSession(session, allowMissing, step.etag !== "other"),
        () => sessions.deleteSession({ sessionId: full(session), allowMissing, etag }),
        (expected, response) => views.sessionAgrees(response.session, expected),
      );
    }
    case "undeleteSession": {
      const { session, restoreMemory } = step;
      return agree(
        () => rules.undeleteSession(session, restoreMemory),
        () => sessions.undeleteSession({ sessionId: full(session), restoreMemory }),
        (expected, response) => views.sessionAgrees(response.session, expected),
      );
    }
    case "forkSession": {
      const { session, into, message, user, metadata } = step;
      return agree(
        () => rules.forkSession(session, { into, upTo: message, user, metadata }),
        () =>
          sessions.forkSession({
            sessionId: full(session),
            newSessionId: full(into),
            upToMessageId: message,
            userId: fullUser(user),
            metadata,
          }),
        (expected, response) => views.sessionAgrees(response.session, expected),
      );
    }
    case "purgeSession":
      return agree(
        () => rules.purgeSession(step.session),
        () => sessions.purgeSession({ sessionId: full(step.session) }),
        (purgedMessages, response) => expect(response).toEqual({ purgedMessages }),
      );
    case "addMemory":
      return add(step, step.expected);
    case "addAgain": {
      const before = sentBefore(step);
      return before && addMemory(api, before, context);
    }
    case "addMore": {
      const before = sentBefore(step)?.step;
      if (!before) return;
      const isNew = ({ id }: NewMessage) => id === undefined || !before.messages.some((message) => message.id === id);
      return add({ ...before, messages: [...before.messages, ...step.messages.filter(isNew)] }, step.expected);
    }
    case "updateMessage": {
      const { session, message, metadata, mode, tokenCount } = step;
      const edit: Said = {
        ...(step.content !== undefined && { content: step.content }),
        ...(step.payload !== undefined && { payload: step.payload }),
        ...(step.payloadType !== undefined && { payloadType: step.payloadType }),
      };
      const isOther = (before: Message): boolean => {
        const [one, other] = [said(before.says, before.edit), said(before.says, { ...before.edit, ...edit })];
        return JSON.stringify(one) !== JSON.stringify(other);
      };
      const found = rules.messages(session).find(({ id }) => id === message);
      const etag = messageEtag(found, step.etag);
      const update = { metadata, mode, tokenCount, edit, isOther, etagIsRight: step.etag !== "other" };
      return agree(
        () => rules.updateMessage(session, message, update),
        () =>
          memory.updateMessage({
            sessionId: full(session),
            messageId: message,
            metadata,
            metadataMode: MODES[mode],
            tokenCount,
            content: step.content,
            payload: step.payload === undefined ? undefined : Buffer.from(step.payload, "base64"),
            payloadType: step.payloadType,
            etag,
          }),
        (expected, response) => views.messagesAgree(session, response.message ? [response.message] : [], [expected]),
      );
    }
    case "deleteMessage":
      return agree(
        () => rules.deleteMessage(step.session, step.message),
        () => memory.deleteMessage({ sessionId: full(step.session), messageId: step.message }),
        (expected, { message }) => views.messagesAgree(step.session, message ? [message] : [], [expected]),
      );
    case "rewindMemory": {
      const { session, message } = step;
      const last = rules.sessions.get(session)?.lastSequence ?? 0;
      const after = message ?? rules.messages(session).at(-1 - step.back)?.sequence ?? 0;
      return agree(
        () => rules.rewindMemory(session, after, step.expected !== "other"),
        () =>
          memory.rewindMemory({
            sessionId: full(session),
            ...(typeof after === "string" ? { afterMessageId: after } : { afterSequence: after }),
            expectedLastSequence: step.expected && (step.expected === "last" ? last : last + 1),
          }),
        (expected, response) => {
          views.messagesAgree(session, response.messages, expected.messages);
          views.sessionAgrees(response.session, expected.session);
          expect(response).toMatchObject({ rewoundMessages: expected.messages.length, truncated: false });
        },
      );
    }
    case "clearMemory":
      return agree(
        () => rules.clearMemory(step.session),
        () => memory.clearMemory({ sessionId: full(step.session) }),
        (expected, response) => views.sessionAgrees(response.session, expected),
      );
    case "setSummary": {
      const { session, message, content } = step;
      return agree(
        () => rules.setSummary(session, content, message),
        () => memory.setSummary({ sessionId: full(session), content, recentMessageId: message }),
        (expected, response) => views.summaryAgrees(response.summary, expected),
      );
    }
    case "createUser": {
      const { user, email, metadata } = step;
      return agree(
        () => rules.createUser(user, email, metadata),
        () => users.createUser({ userId: full(user), email, metadata }),
        (expected, response) => views.userAgrees(response.user, expected),
      );
    }
    case "updateUser": {
      const { user, email, metadata, mode } = step;
      const etag = etagOf(rules.liveUser(user), step.etag);
      return agree(
        () => rules.updateUser(user, { email, metadata, mode, etagIsRight: step.etag !== "other" }),
        () => users.updateUser({ userId: full(user), email, metadata, metadataMode: MODES[mode], etag }),
        (expected, response) => views.userAgrees(response.user, expected),
      );
    }
    case "deleteUser":
      return agree(
        () => rules.deleteUser(step.user),
        () => users.deleteUser({ userId: full(step.user) }),
        (expected, response) => views.userAgrees(response.user, expected),
      );
    case "undeleteUser": {
      const { user, restoreSessions } = step;
      return agree(
        () => rules.undeleteUser(user, restoreSessions),
        () => users.undeleteUser({ userId: full(user), restoreSessions }),
        (expected, response) => views.userAgrees(response.user, expected),
      );
    }
    case "purgeUser":
      return agree(
        () => rules.eraseUser(step.user),
        () => users.purgeUser({ userId: full(step.user) }),
        (purged, { receipt, ...response }) => {
          const counts = { purgedSessions: purged.sessions, purgedMessages: purged.messages };
          expect(response).toEqual(counts);
          expect(receipt).toMatchObject(counts);
        },
      );
    case "purgeDeleted": {
      const { dryRun } = step;
      return agree(
        () => {
          const purged = rules.deletedThings();
          if (!dryRun) {
            rules.eraseDeleted();
            rules.eraseDeletedMessages();
          }
          return purged;
        },
        () => purge.purgeDeleted({ olderThan: { seconds: 0, nanos: 0 }, dryRun }),
        (purged, response) =>
          expect(response).toEqual({
            purgedSessions: purged.sessions,
            purgedMessages: purged.messages,
            purgedUsers: purged.users,
          }),
      );
    }
    case "purgerPass":
      if (!step.afterRetention) return subject.purger.pass();
      rules.eraseDeleted();
      return subject.latePurger.pass();
  }
}

/** The rules' answer and the service's: both refuse for the same reason, or both answer the same. */
async function agree<T, R>(
  predict: () => T,
  call: () => Promise<R>,
  check: (expected: T, response: R) => void,
): Promise<void> {
  let expected: T;
  try {
    expected = predict();
  } catch (refusal) {
    if (!(refusal instanceof Refused)) throw refusal;
    const { code, reason } = await failure(call());
    expect(refusal.reasons).toContain(`${code} ${reason}`);
    return;
  }
  check(expected, await call());
}

function addMemory(
  api: Api,
  { step, expectedLastSequence }: AddMemoryRequest,
  { rules, known, subject }: Context,
): Promise<void> {
  const { session, user, metadata, merge, mode, expiry } = step;
  const lastSequence = rules.sessions.get(session)?.lastSequence ?? 0;
  return agree(
    () =>
      rules.addMemory(session, { messages: step.messages, user, metadata, merge, mode, expectedLastSequence, expiry }),
    () =>
      api.memory.addMemory({
        sessionId: subject.prefix + session,
        messages: step.messages.map(({ id, says, group }) => ({ messageId: id, groupId: group, ...wire(says) })),
        userId: user && subject.prefix + user,
        sessionMetadata: metadata,
        mergeSessionMetadata: merge,
        metadataMode: MODES[mode],
        expectedLastSequence,
        expiry: wireExpiry(expiry),
      }),
    ({ messages, known: there, created, undeleted }, response) => {
      expect(response).toMatchObject({
        ...(created !== undefined && { sessionCreated: created }),
        ...(undeleted !== undefined && { sessionUndeleted: undeleted }),
      });
      expect(response.messages).toHaveLength(messages.length);
      let last = lastSequence;
      for (const [index, message] of messages.entries()) {
        const answer = response.messages[index];
        if (!answer) throw new Error("unreachable");
        if (index >= there) {
          message.id ||= answer.messageId;
          message.sequence = answer.sequence;
          expect(answer.sequence).toBeGreaterThan(last);
          last = answer.sequence;
          const { createTime } = CONTENTS[message.says] ?? {};
          if (createTime !== undefined) known.same(`create time of ${message.made}`, createTime);
        }
        const createTime = `create time of ${message.made}`;
        expect({ ...answer, createTime: known.same(createTime, milliseconds(answer.createTime)) }).toEqual({
          messageId: message.id,
          sequence: message.sequence,
          createTime,
        });
      }
      const found = rules.sessions.get(session);
      if (found) found.lastSequence = last;
    },
  );
}

/** Everything that can be read says what the rules say. */
async function readsAgree(index: number, { rules, known, views, subject }: Context): Promise<void> {
  const { apis, prefix, memoryWindow } = subject;
  const { sessions, memory, users, purge } = inTurn(subject, index);
  const full = (id: string): string => prefix + id;
  const isEven = index % 2 === 0;

  const readSession = async (id: string): Promise<void> => {
    const [live, shown, listed] = await Promise.all([
      found(sessions.getSession({ sessionId: full(id) }), "NOT_FOUND SESSION_NOT_FOUND"),
      found(sessions.getSession({ sessionId: full(id), showDeleted: true }), "NOT_FOUND SESSION_NOT_FOUND"),
      memory.listMessages({ sessionId: full(id), descending: isEven, chunkSize: 2 }),
    ]);
    const session = rules.liveSession(id);
    views.sessionAgrees(live?.session, session);
    views.sessionAgrees(shown?.session, rules.sessions.get(id));
    const all = rules.messages(id);
    const inOrder = isEven ? all.reverse() : all;
    views.messagesAgree(
      id,
      listed.flatMap(({ messages }) => messages),
      inOrder,
    );
  };

  /** Each process is asked, for each keeps what it has read; but of two one leaves out some turns, and has missed more then. */
  const readMemories = async (id: string): Promise<void> => {
    const asked = apis.length === 1 || index % 3 === 2 ? apis : [apis[index % 3] as Api];
    const lastN = LAST_NS[index % LAST_NS.length] as number;
    const maxTokens = MAX_TOKENS[index % MAX_TOKENS.length] as number;
    const { windowStart, start } = WINDOW_STARTS[index % WINDOW_STARTS.length] as (typeof WINDOW_STARTS)[number];
    const request = { sessionId: full(id), lastN, maxTokens, windowStart };
    const answers = await Promise.all(asked.map((api) => api.memory.getMemory(request)));
    const session = rules.liveSession(id);
    for (const recent of answers) {
      views.sessionAgrees(recent.session, session);
      views.summaryAgrees(recent.summary, session?.summary);
      const { summary } = session ?? {};
      const { messages, tokens } = windowOf(
        rules.messages(id).map(windowed),
        {
          tokens: tokensOf({ tokenCount: 0, text: [Buffer.from(summary?.content ?? "")] }),
          recentSequence: summary?.recentSequence ?? 0,
        },
        { lastN, usual: memoryWindow, maxTokens, start },
      );
      views.messagesAgree(
        id,
        recent.messages,
        messages.map(({ message }) => message),
      );
      expect(recent).toMatchObject({ tokenCount: tokens, truncated: false });
    }
  };

  /** In a session, or in all of a user's; of two processes both are asked now and then, as for memories. */
  const search = async (scope: { session: string } | { user: string }): Promise<void> => {
    const asked = apis.length === 1 || index % 3 === 2 ? apis : [apis[index % 3] as Api];
    const request = "user" in scope ? { userId: full(scope.user) } : { sessionId: full(scope.session) };
    const answers = await Promise.all(
      asked.map((api) => api.memory.searchMemory({ ...request, text: TEXT, limit: 100 })),
    );
    const inScope = rules
      .liveSessions()
      .filter((session) => ("user" in scope ? session.user === scope.user : session.id === scope.session));
    const messages = inScope.flatMap((session) =>
      liveMessages(session).map(({ sequence }) => ({ session: full(session.id), sequence })),
    );
    for (const answer of answers) searchAgrees(answer, messages);
  };

  const readUser = async (id: string): Promise<void> => {
    const read = await found(users.getUser({ userId: full(id) }), "NOT_FOUND USER_NOT_FOUND");
    views.userAgrees(read?.user, rules.liveUser(id));
  };

  const readBatch = async (): Promise<void> => {
    const batch = await sessions.batchGetSessions({ sessionIds: SESSIONS.map(full) });
    const live = SESSIONS.flatMap((id) => rules.liveSession(id) ?? []);
    views.sessionListAgrees(batch.sessions, live);
    expect(batch.missingSessionIds).toEqual(SESSIONS.filter((id) => !rules.liveSession(id)).map(full));
  };

  const readUsers = async (): Promise<void> => {
    const chunks = await users.listUsers({ chunkSize: 1 });
    const live = [...rules.users.values()].filter(({ deleted }) => !deleted);
    const createTime = (user: User) => Number(known.valueOf(`create time ${user.incarnation}`));
    views.userListAgrees(
      chunks.flatMap((chunk) => chunk.users),
      sorted(live, createTime, false),
    );
  };

  const readReceipts = async (): Promise<void> => {
    const chunks = await purge.listErasures({ chunkSize: 1 });
    const seen = chunks.flatMap(({ receipts }) =>
      receipts.map(({ userIdSha256, purgedSessions, purgedMessages }) =>
        [userIdSha256, purgedSessions, purgedMessages].join(),
      ),
    );
    const expected = rules.receipts.map(({ user, sessions, messages }) =>
      [sha256(full(user)), sessions, messages].join(),
    );
    // Those of one millisecond come in the order of their ids.
    expect(seen.sort()).toEqual(expected.sort());
  };

  const order = ORDERS[index % ORDERS.length] as (typeof ORDERS)[number];
  const descending = index % 4 > 1;
  const readList = async (filter: { user?: string; metadata?: JsonObject; showDeleted?: boolean }): Promise<void> => {
    const { user, metadata = {}, showDeleted = false } = filter;
    // A deleted session shows no last_message_time, so its place in that order is nothing that a reader could check.
    const by = showDeleted ? CREATE_ORDER : order;
    const chunks = await sessions.listSessions({
      userId: user && full(user),
      metadata,
      showDeleted,
      order: by.order,
      descending,
      chunkSize: 2,
    });
    const expected = (showDeleted ? [...rules.sessions.values()] : rules.liveSessions()).filter(
      (session) => (user === undefined || session.user === user) && holds(session.metadata, metadata),
    );
    const time = (session: Session) => Number(known.valueOf(by.time(session)) ?? Number.NEGATIVE_INFINITY);
    views.sessionListAgrees(
      chunks.flatMap((chunk) => chunk.sessions),
      sorted(expected, time, descending),
    );
  };

  await Promise.all([...SESSIONS.map(readSession), ...SESSIONS.map(readMemories), ...USERS.map(readUser), readBatch()]);
  // After the others: they may be the first to tell the times that these are ordered by.
  await Promise.all([
    readUsers(),
    readReceipts(),
    readList({}),
    readList({ showDeleted: true }),
    ...USERS.map((user) => readList({ user, showDeleted: isEven })),
    readList({ metadata: FILTERS[index % FILTERS.length] as JsonObject }),
    ...SESSIONS.map((session) => search({ session })),
    ...USERS.map((user) => search({ user })),
  ]);
}

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

/** What readers of a memory ask for: what follows the summary, and less and more than the window that is kept for it. */
const LAST_NS = [0, 2, 0, 1, 5, 0, 1000];

const MAX_TOKENS = [0, 3, 0, 9, 1];

const WINDOW_STARTS = [
  { windowStart: WindowStart.WINDOW_START_UNSPECIFIED, start: "any" },
  { windowStart: WindowStart.WINDOW_START_WHOLE_TOOL_CALLS, start: "whole tool calls" },
  { windowStart: WindowStart.WINDOW_START_USER, start: "user" },
  { windowStart: WindowStart.WINDOW_START_WHOLE_TOOL_CALLS, start: "whole tool calls" },
] as const;

/** A message as a window looks at it. */
function windowed(message: Message) {
  const { content, payload, payloadType } = said(message.says, message.edit);
  const text = [Buffer.from(content), ...(payloadType.startsWith("text/") ? [payload] : [])];
  const { sequence, group, tokenCount } = message;
  return { message, sequence, group, tokenCount, text, roleType: wire(message.says).roleType };
}

const CREATE_ORDER = {
  order: SessionOrder.SESSION_ORDER_UNSPECIFIED,
  time: ({ incarnation }: Session) => `create time ${incarnation}`,
};

const ORDERS = [
  CREATE_ORDER,
  {
    order: SessionOrder.SESSION_ORDER_UPDATE_TIME,
    time: ({ incarnation, revision }: Session) => `update time ${incarnation}.${revision}`,
  },
  {
    order: SessionOrder.SESSION_ORDER_LAST_MESSAGE_TIME,
    time: (session: Session) => `create time of ${liveMessages(session).at(-1)?.made}`,
  },
];

function sorted<T extends { id: string }>(items: T[], time: (item: T) => number, descending: boolean): T[] {
  const ascending = items.sort((a, b) => (time(a) < time(b) ? -1 : time(a) > time(b) ? 1 : a.id < b.id ? -1 : 1));
  return descending ? ascending.reverse() : ascending;
}

/** The service's resources beside the rules', in a form in which a difference can be read. */
function createViews(rules: Rules, known: Knowledge, { prefix, retentionMs }: Subject) {
  const expectedSession = (session: Session) => ({
    sessionId: prefix + session.id,
    userId: session.user && prefix + session.user,
    metadata: text(session.metadata),
    messageCount: session.deleted ? 0 : liveMessages(session).length,
    uid: `uid ${session.incarnation}`,
    etag: `etag ${session.incarnation}.${session.revision}`,
    createTime: `create time ${session.incarnation}`,
    updateTime: `update time ${session.incarnation}.${session.revision}`,
    lastMessageTime: session.deleted ? undefined : timeOf(liveMessages(session).at(-1)),
    deleteTime: session.deleted ? `delete time ${session.incarnation}.${session.revision}` : undefined,
    keptMs: session.deleted ? retentionMs : undefined,
    forkedFrom: session.forkedFrom && {
      sessionId: prefix + session.forkedFrom.id,
      sequence: session.forkedFrom.sequence,
    },
    expiry: session.expiry,
    expires: session.deleted ? undefined : session.expiry,
  });

  const actualSession = (session: api.Session, expected: ReturnType<typeof expectedSession>) => ({
    sessionId: session.sessionId,
    userId: session.userId,
    metadata: text(session.metadata as JsonObject),
    messageCount: session.messageCount,
    uid: known.unique(expected.uid, session.uid),
    etag: known.unique(expected.etag, session.etag),
    createTime: known.same(expected.createTime, milliseconds(session.createTime)),
    updateTime: known.same(expected.updateTime, milliseconds(session.updateTime)),
    lastMessageTime: time(expected.lastMessageTime, session.lastMessageTime),
    deleteTime: time(expected.deleteTime, session.deleteTime),
    keptMs: kept(session),
    forkedFrom: session.forkedFrom,
    expiry: withSince(expiryOf(session), expected.expiry),
    expires: expires(session, expected.expires),
  });

  const withSince = (expiry: NewExpiry | undefined, expected: Expiry | undefined) =>
    expiry && "idleMs" in expiry && expected && "since" in expected ? { ...expiry, since: expected.since } : expiry;

  /** By what a session expires, as its moment tells. */
  const expires = ({ expiresAt }: api.Session, expected: Expiry | undefined): Expiry | string | undefined => {
    if (!expiresAt || !expected) return expiresAt && new Date(milliseconds(expiresAt)).toISOString();
    if ("at" in expected) return { at: milliseconds(expiresAt) };
    const { idleMs, since } = expected;
    const latest = milliseconds(expiresAt) - idleMs;
    const [name = ""] = since;
    if (since.length === 1) return { idleMs, since: [known.same(name, latest)] };
    const times = since.map((name) => Number(known.valueOf(name)));
    return latest === Math.max(...times) ? { idleMs, since } : `idle since ${latest}, not the latest of ${times}`;
  };

  const expectedUser = (user: User) => ({
    userId: prefix + user.id,
    email: user.email,
    firstName: "",
    lastName: "",
    metadata: text(user.metadata),
    sessionCount: user.deleted ? 0 : rules.sessionCount(user.id),
    uid: `uid ${user.incarnation}`,
    etag: `etag ${user.incarnation}.${user.revision}`,
    createTime: `create time ${user.incarnation}`,
    updateTime: `update time ${user.incarnation}.${user.revision}`,
    deleteTime: user.deleted ? `delete time ${user.incarnation}.${user.revision}` : undefined,
    keptMs: user.deleted ? retentionMs : undefined,
  });

  const actualUser = (user: api.User, expected: ReturnType<typeof expectedUser>) => ({
    userId: user.userId,
    email: user.email,
    firstName: user.firstName,
    lastName: user.lastName,
    metadata: text(user.metadata as JsonObject),
    sessionCount: user.sessionCount,
    uid: known.unique(expected.uid, user.uid),
    etag: known.unique(expected.etag, user.etag),
    createTime: known.same(expected.createTime, milliseconds(user.createTime)),
    updateTime: known.same(expected.updateTime, milliseconds(user.updateTime)),
    deleteTime: time(expected.deleteTime, user.deleteTime),
    keptMs: kept(user),
  });

  const expectedMessage = (session: string, message: Message) => ({
    messageId: message.id,
    sessionId: prefix + session,
    sequence: message.sequence,
    ...wire(message.says),
    ...said(message.says, message.edit),
    groupId: message.group,
    metadata: text(message.metadata),
    tokenCount: message.tokenCount,
    createTime: timeOf(message),
    updateTime: `update time of ${message.updated}`,
    etag: `etag of ${message.name}.${message.revision}`,
  });

  const actualMessage = (message: api.Message, expected: ReturnType<typeof expectedMessage>) => ({
    ...message,
    metadata: text(message.metadata as JsonObject),
    payload: Buffer.from(message.payload),
    createTime: time(expected.createTime, message.createTime),
    updateTime: time(expected.updateTime, message.updateTime),
    etag: known.unique(expected.etag, message.etag),
  });

  /** An unexpected time stands as it is. */
  const time = (name: string | undefined, value: Timestamp | undefined): string | undefined =>
    name === undefined ? value && new Date(milliseconds(value)).toISOString() : known.same(name, milliseconds(value));

  /** Pairs what was read with what was expected, as far as both go. */
  const pairs = <A, E, V>(actual: readonly A[], expected: readonly E[], view: (actual: A, expected: E) => V) =>
    actual.map((item, index) => (index < expected.length ? view(item, expected[index] as E) : item));

  const sessionListAgrees = (actual: readonly api.Session[], expected: readonly Session[]): void => {
    const views = expected.map(expectedSession);
    expect(pairs(actual, views, actualSession)).toEqual(views);
  };
  const userListAgrees = (actual: readonly api.User[], expected: readonly User[]): void => {
    const views = expected.map(expectedUser);
    expect(pairs(actual, views, actualUser)).toEqual(views);
  };

  return {
    sessionListAgrees,
    userListAgrees,
    sessionAgrees: (actual: api.Session | undefined, expected: Session | undefined) =>
      sessionListAgrees(actual ? [actual] : [], expected ? [expected] : []),
    userAgrees: (actual: api.User | undefined, expected: User | undefined) =>
      userListAgrees(actual ? [actual] : [], expected ? [expected] : []),
    messagesAgree(session: string, actual: readonly api.Message[], expected: readonly Message[]): void {
      const views = expected.map((message) => expectedMessage(session, message));
      expect(pairs(actual, views, actualMessage)).toEqual(views);
    },
    summaryAgrees(actual: api.Summary | undefined, expected: Session["summary"]): void {
      if (!actual || !expected) {
        expect(actual).toEqual(expected);
        return;
      }
      expect({ ...actual, createTime: time(expected.name, actual.createTime) }).toEqual({
        content: expected.content,
        recentMessageId: expected.recentMessageId,
        metadata: {},
        tokenCount: 0,
        createTime: expected.name,
      });
    },
  };
}

const timeOf = (message: Message | undefined): string | undefined => message && `create time of ${message.made}`;

function wireExpiry(expiry: NewExpiry | undefined) {
  if (!expiry) return undefined;
  return "at" in expiry ? expireTime(expiry.at) : idleTtl(expiry.idleMs);
}

function expiryOf({ expiry }: api.Session): NewExpiry | undefined {
  if (!expiry) return undefined;
  return expiry.$case === "expireTime" ? { at: milliseconds(expiry.value) } : { idleMs: milliseconds(expiry.value) };
}

const MODES: Record<Mode, MetadataMode> = {
  merge: MetadataMode.METADATA_MODE_UNSPECIFIED,
  patch: MetadataMode.METADATA_MODE_MERGE_PATCH,
  replace: MetadataMode.METADATA_MODE_REPLACE,
};

/** A message as it is sent. */
function wire(says: string) {
  const { by = says, content = "", metadata, tokenCount = 0, createTime } = CONTENTS[says] ?? {};
  const isRich = createTime !== undefined;
  return {
    role: by,
    roleType: isRich ? RoleType.ROLE_TYPE_TOOL : RoleType.ROLE_TYPE_USER,
    content,
    payload: Buffer.from(isRich ? [0, 255, 128] : []),
    payloadType: isRich ? "application/octet-stream" : "",
    metadata,
    tokenCount,
    createTime: isRich ? { seconds: createTime / 1000, nanos: 0 } : undefined,
  };
}

/** What a message says, with what was put in its place. */
function said(says: string, edit: Said) {
  const { content, payload, payloadType } = wire(says);
  return {
    content: edit.content ?? content,
    payload: edit.payload === undefined ? payload : Buffer.from(edit.payload, "base64"),
    payloadType: edit.payloadType ?? payloadType,
  };
}

/** Metadata as JSON with sorted keys, in which `__proto__` is a key like any other. */
function text(value: Json | undefined): string {
  if (Array.isArray(value)) return `[${value.map(text).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "nothing";
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, inner]) => `${JSON.stringify(key)}:${text(inner)}`).join(",")}}`;
}

function milliseconds(timestamp: Timestamp | undefined): number {
  return timestamp ? timestamp.seconds * 1000 + timestamp.nanos / 1e6 : Number.NaN;
}

function kept({ deleteTime, purgeTime }: { deleteTime?: Timestamp; purgeTime?: Timestamp }): number | undefined {
  return deleteTime || purgeTime ? milliseconds(purgeTime) - milliseconds(deleteTime) : undefined;
}

/** What a read finds; nothing when it fails for this reason. */
async function found<R>(read: Promise<R>, missing: string): Promise<R | undefined> {
  try {
    return await read;
  } catch {
    const { code, reason } = await failure(read);
    expect(`${code} ${reason}`).toBe(missing);
    return undefined;
  }
}
