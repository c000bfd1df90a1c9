import { type Call, reaches } from "./call.js";
import { userNotUsable } from "./errors.js";
import { idOf } from "./keys.js";
import type { MessageRecord, SessionRecord, UserRecord } from "./records.js";

/**
 * Every change of a session is a pure decision over what one transaction has read: the session's state in, what is to be
 * written out. The store reads and writes; whether, and what, is decided here.
 */
export type Decide<T> = (state: SessionState) => Decision<T>;

export interface SessionState {
  /** The document as stored, live or deleted; also when its erasure has begun, see {@link existing}. */
  readonly session: SessionRecord | undefined;
  /** Whether the key is taken by a session that the caller may not see: to them it is missing, but cannot be created. */
  readonly isHidden?: true;
  /** The users that the call has asked for, by key; null for those who do not exist. */
  readonly users: Users;
  /**
   * The messages of the current epoch that the call has asked for, by id, deleted ones included. Undefined when nothing has
   * been looked up, which is not the same as nothing found.
   */
  readonly messages: ReadonlyMap<string, MessageRecord> | undefined;
  /** The newest live messages of the current epoch, newest first, when the call has asked for them. */
  readonly newest: readonly MessageRecord[];
  /** The live messages of the current epoch that are later than one, when the call has asked for them. */
  readonly later?: LaterMessages | undefined;
  /** What the call has asked to count: the unmarked live messages of the current epoch. */
  readonly unmarkedCount: number;
  /** Every epoch that has a message in this session, when the call has asked for them. */
  readonly epochs: readonly string[];
  /** The database's clock: by the transaction's own reading where it has read the session, else about. */
  readonly now: Date;
}

export interface LaterMessages {
  /** In order: all of them, or one more than the call can do with. */
  readonly places: readonly MessagePlace[];
  /** The oldest of them, whole, as many as there is room for. */
  readonly messages: readonly MessageRecord[];
  /** The newest one that is not later. */
  readonly newestBefore: Pick<MessageRecord, "createTime"> | undefined;
}

export type MessagePlace = Pick<MessageRecord, "_id" | "session" | "epoch" | "sequence">;

export type Users = ReadonlyMap<string, UserRecord | null>;

export interface Decision<T> {
  readonly result: T;
  readonly session?: SessionRecord;
  readonly users?: readonly UserRecord[];
  readonly inserted?: readonly MessageRecord[];
  readonly changed?: readonly MessageRecord[];
  readonly removed?: Removal;
}

/** Messages of one memory that are taken away together: there may be too many of them to be read whole. */
export interface Removal {
  readonly places: readonly MessagePlace[];
  readonly deleteTime: Date;
  readonly expireAt: Date;
}

/**
 * Thrown by a decision that cannot be made without something that its call names but did not ask to have read. Reading costs a
 * round trip, so what is seldom needed is read only then, and the decision is made again.
 */
export class LookupNeeded extends Error {}

/** The session as callers know it: one that is being erased is gone. */
export function existing(state: SessionState): SessionRecord | undefined {
  return state.session?.purging ? undefined : state.session;
}

/** The state as a caller sees it who may be bound to a user: a session that is not theirs is not there. */
export function asSeenBy(call: Call, state: SessionState): SessionState {
  const session = existing(state);
  if (session === undefined || reaches(call, session.user)) return state;
  return {
    ...state,
    session: undefined,
    isHidden: true,
    messages: state.messages && new Map(),
    newest: [],
    later: undefined,
    unmarkedCount: 0,
    epochs: [],
  };
}

/** The live user of this key. Throws USER_NOT_FOUND (FAILED_PRECONDITION) when there is none. */
export function liveUser(users: Users, key: string): UserRecord {
  const user = lookedUp(users, key);
  if (user === null || user.deleted) throw userNotUsable(idOf(key));
  return user;
}

/** The user with one session more or less. */
export function counted(user: UserRecord, by: 1 | -1): UserRecord {
  return { ...user, sessionCount: user.sessionCount + by };
}

/**
 * What a live session's user becomes when the session leaves: nothing changes when the user was deleted since, for then the
 * session is no longer counted.
 */
export function uncounted(session: SessionRecord, users: Users): UserRecord[] {
  const user = session.user === undefined ? null : lookedUp(users, session.user);
  return user && !user.deleted && user.epoch === session.userEpoch ? [counted(user, -1)] : [];
}

function lookedUp(users: Users, key: string): UserRecord | null {
  const user = users.get(key);
  if (user === undefined) throw new LookupNeeded();
  return user;
}
