/**
 * The rules of the API as a plain program over plain objects: one caller, no crash, no storage. It is the second opinion on
 * the service, so it follows the contract and shares no code with the service.
 *
 * What only the service can know (uids, etags, times, sequences) stands here as a name for it, such as `uid 3`: the same name
 * must be the same value in every answer, see knowledge.ts.
 */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

/** What a message says, under the name by which steps send it. The same name is the same content. */
export interface Content {
  /** Who says it, and that with what; by default the one whose name it has. */
  readonly by?: string;
  readonly content: string;
  readonly metadata: JsonObject;
  readonly tokenCount: number;
  /** Milliseconds since 1970. */
  readonly createTime?: number;
}

/** What of a message UpdateMessage may replace. */
export interface Said {
  readonly content?: string;
  /** In base64. */
  readonly payload?: string;
  readonly payloadType?: string;
}

export interface NewMessage {
  readonly id?: string;
  readonly says: string;
  readonly group?: string;
}

export interface Message {
  /** The caller's id, or the service's, which is learned from its answer. */
  id: string;
  says: string;
  readonly group: string | undefined;
  /** What UpdateMessage has put in place of what the message said. */
  edit: Said;
  /** Whether any of it was something else than before. */
  isEdited: boolean;
  sequence: number;
  /** Tells this message from all others of the run, whatever their ids. */
  name: string;
  /** When it was made and last changed, by the names of the messages and revisions that these times are of: a copy has those of another. */
  made: string;
  updated: string;
  metadata: JsonObject;
  tokenCount: number;
  revision: number;
  deleted: boolean;
  /** What the call that added it did, all that it sent, and which of that this is. */
  call: { created: boolean; undeleted: boolean; sent: Message[]; firstId: string | undefined };
  place: number;
  /** Whether its id is the caller's. */
  isNamed: boolean;
}

/**
 * What ends a session by itself: a moment, or so long after the latest of the times that have these names. All of it is so far away that
 * nothing ends while a sequence runs.
 */
export type Expiry = { at: number } | { idleMs: number; since: readonly string[] };

export interface Summary {
  name: string;
  content: string;
  recentMessageId: string;
  recentSequence: number;
}

export interface Session {
  readonly id: string;
  readonly incarnation: number;
  readonly forkedFrom: { readonly id: string; readonly sequence: number } | undefined;
  user: string | undefined;
  metadata: JsonObject;
  /** Counts the changes of the session itself. */
  revision: number;
  deleted: boolean;
  /** The deletion of a user that took the session along. */
  takenBy: number | undefined;
  /** The current memory, individually deleted messages included; a deleted session keeps it for its restoration. */
  memory: Message[];
  summary: Summary | undefined;
  expiry: Expiry | undefined;
  /** How many messages are deleted for good and not erased yet. */
  attic: number;
  lastSequence: number;
}

export interface User {
  readonly id: string;
  readonly incarnation: number;
  email: string;
  metadata: JsonObject;
  revision: number;
  deleted: boolean;
  /** The deletion that the user is under, or was under last. */
  deletion: number;
}

/** A call that must fail, with one of these: where several rules forbid it, the contract does not say which one speaks. */
export class Refused extends Error {
  readonly reasons: readonly string[];

  constructor(reasons: readonly string[]) {
    super(reasons.join(" or "));
    this.reasons = reasons;
  }
}

export const NO_SESSION = "NOT_FOUND SESSION_NOT_FOUND";
export const NO_USER = "NOT_FOUND USER_NOT_FOUND";
export const NO_MESSAGE = "NOT_FOUND MESSAGE_NOT_FOUND";
export const USER_UNUSABLE = "FAILED_PRECONDITION USER_NOT_FOUND";
export const WRONG_ETAG = "ABORTED ETAG_MISMATCH";

export type Mode = "merge" | "patch" | "replace";

export class Rules {
  readonly sessions = new Map<string, Session>();
  readonly users = new Map<string, User>();
  /** Of users who were erased when a caller asked for it. */
  readonly receipts: { user: string; sessions: number; messages: number }[] = [];
  readonly #contents: Readonly<Record<string, Content>>;
  #count = 0;

  constructor(contents: Readonly<Record<string, Content>>) {
    this.#contents = contents;
  }

  // Sessions

  createSession(id: string, user: string | undefined, metadata: JsonObject, expiry?: NewExpiry): Session {
    const found = this.sessions.get(id);
    refuseIf(
      [found !== undefined && !found.deleted, "ALREADY_EXISTS SESSION_ALREADY_EXISTS"],
      [found?.deleted === true, "ALREADY_EXISTS SESSION_SOFT_DELETED"],
      [user !== undefined && !this.liveUser(user), USER_UNUSABLE],
    );
    return this.#born(id, user, metadata, expiry);
  }

  updateSession(
    id: string,
    update: {
      metadata: JsonObject | undefined;
      mode: Mode;
      user: string | undefined;
      etagIsRight: boolean;
      expiry?: NewExpiry | "none";
    },
  ): Session {
    const session = this.liveSession(id);
    if (!session) throw new Refused([NO_SESSION]);
    const { user } = update;
    refuseIf([!update.etagIsRight, WRONG_ETAG], [Boolean(user && !this.liveUser(user)), USER_UNUSABLE]);
    if (update.metadata) session.metadata = changed(session.metadata, update.metadata, update.mode);
    if (user !== undefined) session.user = user === "" ? undefined : user;
    const { expiry } = update;
    const last = liveMessages(session).at(-1);
    if (expiry === "none") session.expiry = undefined;
    else if (expiry) {
      const known = session.expiry && "since" in session.expiry ? session.expiry.since : undefined;
      session.expiry = expiring(expiry, ...(known ?? [createTimeOf(session), ...(last ? [addTimeOf(last)] : [])]));
    }
    session.revision += 1;
    return session;
  }

  deleteSession(id: string, allowMissing: boolean, etagIsRight: boolean): Session | undefined {
    const session = this.liveSession(id);
    if (!session) {
      if (allowMissing) return this.sessions.get(id);
      throw new Refused([NO_SESSION]);
    }
    refuseIf([!etagIsRight, WRONG_ETAG]);
    remove(session, undefined);
    return session;
  }

  undeleteSession(id: string, restoreMemory: boolean): Session {
    const session = this.sessions.get(id);
    if (!session) throw new Refused([NO_SESSION]);
    refuseIf(
      [!session.deleted, "ALREADY_EXISTS SESSION_NOT_DELETED"],
      [session.deleted && session.user !== undefined && !this.liveUser(session.user), USER_UNUSABLE],
    );
    revive(session, restoreMemory);
    return session;
  }

  forkSession(
    id: string,
    call: { into: string; upTo: string | undefined; user: string | undefined; metadata: JsonObject },
  ): Session {
    const source = this.liveSession(id);
    if (!source) throw new Refused([NO_SESSION]);
    const last = liveMessages(source).find((message) => message.id === call.upTo);
    const target = this.sessions.get(call.into);
    const user = call.user === undefined ? source.user : call.user || undefined;
    refuseIf(
      [call.upTo !== undefined && !last, NO_MESSAGE],
      [target !== undefined && !target.deleted, "ALREADY_EXISTS SESSION_ALREADY_EXISTS"],
      [target?.deleted === true, "ALREADY_EXISTS SESSION_SOFT_DELETED"],
      [user !== undefined && !this.liveUser(user), USER_UNUSABLE],
    );
    const sequence = last?.sequence ?? source.lastSequence;
    const fork = this.#born(call.into, user, changed(source.metadata, call.metadata, "merge"), undefined, {
      id,
      sequence,
    });
    fork.lastSequence = sequence;
    fork.summary = source.summary && source.summary.recentSequence <= sequence ? { ...source.summary } : undefined;
    // Of those that came in one call so do their copies.
    const calls = new Map(source.memory.map((message) => [message.call, { ...message.call, ...NO_EFFECT }]));
    fork.memory = liveMessages(source)
      .filter((message) => message.sequence <= sequence)
      .map((message) => ({
        ...message,
        name: `message ${this.#next()}`,
        call: calls.get(message.call) ?? message.call,
      }));
    return fork;
  }

  /** The answer is how many messages are erased. */
  purgeSession(id: string): number {
    const session = this.sessions.get(id);
    if (!session) throw new Refused([NO_SESSION]);
    this.sessions.delete(id);
    return stored(session);
  }

  // Memory

  /**
   * The answer is the call's messages, how many of them, the first ones, were there already, and what it did to the session; undefined
   * where the contract does not say.
   */
  addMemory(
    id: string,
    call: {
      messages: readonly NewMessage[];
      user: string | undefined;
      metadata: JsonObject;
      merge: JsonObject | undefined;
      mode: Mode;
      expectedLastSequence: number | undefined;
      expiry?: NewExpiry;
    },
  ): { messages: Message[]; known: number; created: boolean | undefined; undeleted: boolean | undefined } {
    const found = this.sessions.get(id);
    const known = found && !found.deleted ? this.#known(found, call.messages) : [];
    const there = known.filter((message) => message !== undefined);
    const isKnown = known.every(
      (message, place) =>
        (message !== undefined) === place < there.length &&
        (message === undefined ||
          (this.#isSame(message, call.messages[place]?.says as string) &&
            message.group === call.messages[place]?.group &&
            message.sequence > (known[place - 1]?.sequence ?? 0))),
    );
    if (there.length > 0) refuseIf([!isKnown, "ALREADY_EXISTS MESSAGE_ID_CONFLICT"]);
    if (there.length > 0 && there.length === call.messages.length) {
      // The call that it repeats is the one that added the last of them, if that sent just these.
      const { sent, ...effect } = (there.at(-1) as Message).call;
      const isRetry = sent.length === there.length && sent.every((message, place) => message === there[place]);
      const { created, undeleted } = isRetry ? effect : { created: undefined, undeleted: undefined };
      return { messages: there, known: there.length, created, undeleted };
    }
    const last = found?.lastSequence ?? 0;
    const owner = found?.deleted ? found.user : found ? undefined : call.user;
    refuseIf(
      [call.expectedLastSequence !== undefined && call.expectedLastSequence !== last, "ABORTED SEQUENCE_MISMATCH"],
      [owner !== undefined && !this.liveUser(owner), USER_UNUSABLE],
    );
    const session = found ?? this.#born(id, call.user, call.metadata, call.expiry);
    const effect = { created: found === undefined, undeleted: session.deleted };
    const thisCall = { ...effect, sent: there, firstId: firstIdOf(call.messages) };
    if (call.merge) session.metadata = changed(session.metadata, call.merge, call.mode);
    if (session.deleted) revive(session, false);
    else if (call.merge && found) session.revision += 1;
    const messages = call.messages.slice(there.length).map(({ id: messageId, says, group }, index): Message => {
      const name = `message ${this.#next()}`;
      const { metadata, tokenCount } = this.#contents[says] as Content;
      return {
        id: messageId ?? "",
        isNamed: messageId !== undefined,
        says,
        group,
        edit: {},
        isEdited: false,
        sequence: 0,
        name,
        made: name,
        updated: `${name}.0`,
        metadata,
        tokenCount,
        revision: 0,
        deleted: false,
        call: thisCall,
        place: there.length + index,
      };
    });
    session.memory.push(...messages);
    const newest = messages.at(-1);
    if (newest && session.expiry && "idleMs" in session.expiry)
      session.expiry = expiring(session.expiry, addTimeOf(newest));
    const sent = [...there, ...messages];
    thisCall.sent = sent;
    return { messages: sent, known: there.length, ...effect };
  }

  /** Of the messages of a call those that are there, in their places; none when it has no ids. */
  #known(session: Session, messages: readonly NewMessage[]): (Message | undefined)[] {
    const firstId = firstIdOf(messages);
    if (firstId === undefined) return [];
    // Messages without an id are known by the first one of their call that has one.
    return messages.map(({ id }, place) =>
      session.memory.find((message) =>
        id === undefined
          ? !message.isNamed && message.call.firstId === firstId && message.place === place
          : message.id === id,
      ),
    );
  }

  /** Once a message was edited, what it said is not known any more, only who did. */
  #isSame(message: Message, says: string): boolean {
    const by = (name: string) => this.#contents[name]?.by ?? name;
    return message.isEdited ? by(message.says) === by(says) : message.says === says;
  }

  updateMessage(
    id: string,
    messageId: string,
    update: {
      metadata: JsonObject | undefined;
      mode: Mode;
      tokenCount: number | undefined;
      edit: Said;
      isOther: (message: Message) => boolean;
      etagIsRight: boolean;
    },
  ): Message {
    const message = this.#liveMessage(id, messageId, NO_MESSAGE);
    refuseIf([!update.etagIsRight, WRONG_ETAG]);
    message.isEdited ||= update.isOther(message);
    message.edit = { ...message.edit, ...update.edit };
    if (update.metadata) message.metadata = changed(message.metadata, update.metadata, update.mode);
    message.tokenCount = update.tokenCount ?? message.tokenCount;
    message.revision += 1;
    message.updated = `${message.name}.${message.revision}`;
    return message;
  }

  deleteMessage(id: string, messageId: string): Message {
    const message = this.#liveMessage(id, messageId, NO_MESSAGE);
    message.deleted = true;
    return message;
  }

  /** `after` is a message's id, or a place behind the sequence of one: then 0 is before all of them. */
  rewindMemory(
    id: string,
    after: string | number,
    lastSequenceIsRight: boolean,
  ): { session: Session; messages: Message[] } {
    const session = this.liveSession(id);
    if (!session) throw new Refused([NO_SESSION]);
    const all = liveMessages(session);
    const last = typeof after === "string" ? all.find((message) => message.id === after) : undefined;
    refuseIf(
      [!lastSequenceIsRight, "ABORTED SEQUENCE_MISMATCH"],
      [typeof after === "string" && last === undefined, NO_MESSAGE],
    );
    const behind = last?.sequence ?? (after as number);
    const messages = all.filter(({ sequence }) => sequence > behind);
    for (const message of messages) message.deleted = true;
    const covered = session.summary?.recentSequence ?? 0;
    if (messages.some(({ sequence }) => sequence <= covered)) session.summary = undefined;
    return { session, messages };
  }

  clearMemory(id: string): Session {
    const session = this.liveSession(id);
    if (!session) throw new Refused([NO_SESSION]);
    forget(session);
    return session;
  }

  setSummary(id: string, content: string, recentMessageId: string): Summary {
    const { sequence } = this.#liveMessage(id, recentMessageId, "FAILED_PRECONDITION MESSAGE_NOT_FOUND");
    const stored = this.liveSession(id)?.summary;
    refuseIf([stored !== undefined && stored.recentSequence > sequence, "ABORTED SUMMARY_SUPERSEDED"]);
    const summary = { name: `summary ${this.#next()}`, content, recentMessageId, recentSequence: sequence };
    (this.liveSession(id) as Session).summary = summary;
    return summary;
  }

  // Users

  createUser(id: string, email: string, metadata: JsonObject): User {
    refuseIf([this.users.has(id), "ALREADY_EXISTS USER_ALREADY_EXISTS"]);
    const user = { id, incarnation: this.#next(), email, metadata, revision: 0, deleted: false, deletion: 0 };
    this.users.set(id, user);
    return user;
  }

  updateUser(
    id: string,
    update: { email: string | undefined; metadata: JsonObject | undefined; mode: Mode; etagIsRight: boolean },
  ): User {
    const user = this.liveUser(id);
    if (!user) throw new Refused([NO_USER]);
    refuseIf([!update.etagIsRight, WRONG_ETAG]);
    user.email = update.email ?? user.email;
    if (update.metadata) user.metadata = changed(user.metadata, update.metadata, update.mode);
    user.revision += 1;
    return user;
  }

  deleteUser(id: string): User {
    const user = this.liveUser(id);
    if (!user) throw new Refused([NO_USER]);
    user.deleted = true;
    user.deletion = this.#next();
    user.revision += 1;
    for (const session of this.liveSessions()) if (session.user === id) remove(session, user.deletion);
    return user;
  }

  undeleteUser(id: string, restoreSessions: boolean): User {
    const user = this.users.get(id);
    if (!user) throw new Refused([NO_USER]);
    refuseIf([!user.deleted, "ALREADY_EXISTS USER_NOT_DELETED"]);
    user.deleted = false;
    user.revision += 1;
    for (const session of this.sessions.values()) {
      if (restoreSessions && session.deleted && session.takenBy === user.deletion) revive(session, true);
    }
    return user;
  }

  /** As a caller asks for it: it leaves a receipt. */
  eraseUser(id: string): { sessions: number; messages: number } {
    const purged = this.purgeUser(id);
    this.receipts.push({ user: id, ...purged });
    return purged;
  }

  purgeUser(id: string): { sessions: number; messages: number } {
    if (!this.users.delete(id)) throw new Refused([NO_USER]);
    const theirs = [...this.sessions.values()].filter(({ user }) => user === id);
    return { sessions: theirs.length, messages: sum(theirs.map((session) => this.purgeSession(session.id))) };
  }

  // Purging

  /** What is deleted and still there. */
  deletedThings(): { sessions: number; messages: number; users: number } {
    const all = [...this.sessions.values()];
    return {
      sessions: all.filter(({ deleted }) => deleted).length,
      messages: sum(
        all.map((session) => (session.deleted ? stored(session) : stored(session) - liveMessages(session).length)),
      ),
      users: [...this.users.values()].filter(({ deleted }) => deleted).length,
    };
  }

  /** Erases the deleted sessions and users with all that is theirs. */
  eraseDeleted(): void {
    for (const user of [...this.users.values()]) if (user.deleted) this.purgeUser(user.id);
    for (const session of [...this.sessions.values()]) if (session.deleted) this.purgeSession(session.id);
  }

  /** Erases what was deleted out of sessions that live. */
  eraseDeletedMessages(): void {
    for (const session of this.sessions.values()) {
      if (session.deleted) continue;
      session.attic = 0;
      session.memory = liveMessages(session);
    }
  }

  // Reads

  liveSession(id: string): Session | undefined {
    const session = this.sessions.get(id);
    return session?.deleted ? undefined : session;
  }

  liveSessions(): Session[] {
    return [...this.sessions.values()].filter(({ deleted }) => !deleted);
  }

  liveUser(id: string): User | undefined {
    const user = this.users.get(id);
    return user?.deleted ? undefined : user;
  }

  messages(id: string): Message[] {
    const session = this.liveSession(id);
    return session ? liveMessages(session) : [];
  }

  sessionCount(user: string): number {
    return this.liveSessions().filter((session) => session.user === user).length;
  }

  #born(
    id: string,
    user: string | undefined,
    metadata: JsonObject,
    expiry?: NewExpiry,
    forkedFrom?: Session["forkedFrom"],
  ): Session {
    const session: Session = {
      id,
      incarnation: this.#next(),
      forkedFrom,
      user,
      metadata,
      revision: 0,
      deleted: false,
      takenBy: undefined,
      memory: [],
      summary: undefined,
      expiry: undefined,
      attic: 0,
      lastSequence: 0,
    };
    if (expiry) session.expiry = expiring(expiry, createTimeOf(session));
    this.sessions.set(id, session);
    return session;
  }

  #liveMessage(id: string, messageId: string, otherwise: string): Message {
    if (!this.liveSession(id)) throw new Refused([NO_SESSION]);
    const message = this.messages(id).find((candidate) => candidate.id === messageId);
    if (!message) throw new Refused([otherwise]);
    return message;
  }

  #next(): number {
    this.#count += 1;
    return this.#count;
  }
}

const NO_EFFECT = { created: false, undeleted: false };

export function liveMessages(session: Session): Message[] {
  return session.memory.filter(({ deleted }) => !deleted);
}

function remove(session: Session, takenBy: number | undefined): void {
  session.deleted = true;
  session.takenBy = takenBy;
  session.revision += 1;
}

function revive(session: Session, withMemory: boolean): void {
  if (!withMemory) forget(session);
  session.deleted = false;
  session.takenBy = undefined;
  session.revision += 1;
  if (session.expiry) session.expiry = expiring(session.expiry, updateTimeOf(session));
}

/** As a caller sends it. */
export type NewExpiry = { at: number } | { idleMs: number };

/** Idle time counts from what has this name. */
function expiring(expiry: NewExpiry, ...since: readonly string[]): Expiry {
  return "at" in expiry ? expiry : { idleMs: expiry.idleMs, since };
}

/** Names of times. Until a message is updated its update time is that of its adding, and a copy was added when its original was. */
export const addTimeOf = ({ made }: Message): string => `update time of ${made}.0`;
export const createTimeOf = ({ incarnation }: Session): string => `create time ${incarnation}`;
export const updateTimeOf = ({ incarnation, revision }: Session): string => `update time ${incarnation}.${revision}`;

function forget(session: Session): void {
  session.attic += session.memory.length;
  session.memory = [];
  session.summary = undefined;
}

function stored(session: Session): number {
  return session.attic + session.memory.length;
}

function refuseIf(...rules: [isBroken: boolean, reason: string][]): void {
  const reasons = rules.flatMap(([isBroken, reason]) => (isBroken ? [reason] : []));
  if (reasons.length > 0) throw new Refused(reasons);
}

function sum(numbers: number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

/** The metadata after an update. Entries, not assignments: `__proto__` is a key like any other. */
export function changed(current: JsonObject, update: JsonObject, mode: Mode): JsonObject {
  if (mode === "replace") return update;
  const merged = new Map(Object.entries(current));
  for (const [key, value] of Object.entries(update)) {
    const before = merged.get(key);
    if (mode === "patch" && value === null) merged.delete(key);
    else if (isObject(value)) merged.set(key, changed(isObject(before) ? before : {}, value, mode));
    else merged.set(key, value);
  }
  return Object.fromEntries(merged);
}

/** Whether metadata contains a filter. */
export function holds(value: Json | undefined, part: Json): boolean {
  if (Array.isArray(part)) {
    return Array.isArray(value) && part.every((wanted) => value.some((element) => holds(element, wanted)));
  }
  if (isObject(part)) {
    const has = new Map(isObject(value) ? Object.entries(value) : []);
    return (
      isObject(value) && Object.entries(part).every(([key, wanted]) => has.has(key) && holds(has.get(key), wanted))
    );
  }
  return value === part;
}

function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The first id that a caller gave in a call. */
function firstIdOf(messages: readonly NewMessage[]): string | undefined {
  return messages.find(({ id }) => id !== undefined)?.id;
}
