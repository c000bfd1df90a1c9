import { counted, type Decision, existing, liveUser, type SessionState, uncounted } from "./decision.js";
import {
  etagMismatch,
  memoryNotRestorable,
  SessionsError,
  sessionAlreadyExists,
  sessionNotDeleted,
  sessionNotFound,
  sessionSoftDeleted,
} from "./errors.js";
import { asleep, awake, checkAhead, type Expiry, idleSince, isDue, withExpiry, withoutExpiry } from "./expiry.js";
import { idOf } from "./keys.js";
import { NO_TIME, type RetiredEpoch, type SessionRecord, type UserTask } from "./records.js";

/** What only the caller of a creation knows. */
export interface NewSession {
  readonly key: string;
  readonly project: string;
  readonly uid: string;
  readonly epoch: string;
  readonly user: string | undefined;
  readonly metadata: Uint8Array | undefined;
  readonly terms: readonly string[] | undefined;
  readonly expiry: Expiry | undefined;
}

export function etagOf({ uid, version }: { uid: string; version: number }): string {
  return `${uid}-${version}`;
}

export function checkEtag(record: { uid: string; version: number }, etag: string, of: EtagOwner): void {
  if (etag !== "" && etag !== etagOf(record)) throw etagMismatch(of, etag);
}

type EtagOwner = { session_id: string } | { user_id: string };

export function createSession(state: SessionState, input: NewSession): Decision<SessionRecord> {
  // Not even whether it is soft-deleted is for those to know who may not see it.
  if (state.isHidden) throw sessionAlreadyExists(idOf(input.key));
  const found = existing(state);
  if (found) throw (found.deleted ? sessionSoftDeleted : sessionAlreadyExists)(idOf(input.key));
  return born(state, input);
}

/**
 * A new session, on top of what a purge of its predecessor may still have to erase. Throws NOT_FOUND when the id is taken by one that
 * the caller may not see.
 */
export function born(state: SessionState, input: NewSession): Decision<SessionRecord> {
  if (state.isHidden) throw sessionNotFound(idOf(input.key));
  checkAhead(input.expiry, state.now);
  const owner = input.user === undefined ? undefined : liveUser(state.users, input.user);
  const fresh: SessionRecord = {
    _id: input.key,
    project: input.project,
    uid: input.uid,
    user: owner?._id,
    userEpoch: owner?.epoch,
    metadata: input.metadata,
    terms: input.terms,
    createTime: state.now,
    updateTime: state.now,
    lastMessageTime: NO_TIME,
    version: 1,
    epoch: input.epoch,
    messageCount: 0,
    lastSequence: 0,
    deleted: false,
    retired: state.session?.retired,
  };
  const session = input.expiry ? withExpiry(fresh, input.expiry, state.now) : fresh;
  return { result: session, session, users: owner ? [counted(owner, 1)] : [] };
}

/** A session's new metadata out of what it has. */
export type MetadataChange = (current: Uint8Array | undefined) => Pick<SessionRecord, "metadata" | "terms">;

export interface SessionUpdate {
  readonly etag: string;
  /** The key of the new user, "" for none, undefined to leave it. */
  readonly user: string | undefined;
  /** The new metadata out of the current one; undefined to leave it. */
  readonly metadata: MetadataChange | undefined;
  /** The new expiry; undefined to leave it. */
  readonly expiry: Expiry | "none" | undefined;
  /** The epoch under which the update brings a deleted session back, without its memory; undefined where it does not. */
  readonly undeleteUnder: string | undefined;
}

/** Changes a session. For an idle time it needs the newest message of the memory. */
export function updateSession(state: SessionState, key: string, update: SessionUpdate): Decision<SessionRecord> {
  const found = existing(state);
  const undeleted =
    update.undeleteUnder !== undefined && found?.deleted
      ? revived(state, withoutMemory(found, update.undeleteUnder))
      : undefined;
  const session = undeleted?.session ?? live(state, key);
  checkEtag(session, update.etag, { session_id: idOf(key) });
  const moves = update.user !== undefined && update.user !== (session.user ?? "");
  const owner = moves && update.user ? liveUser(state.users, update.user) : undefined;
  const after: SessionRecord = {
    ...updatedExpiry(touched(session, state.now), update.expiry, state),
    ...update.metadata?.(session.metadata),
    ...(moves && { user: owner?._id, userEpoch: owner?.epoch }),
  };
  const left = moves && !undeleted ? uncounted(session, state.users) : [];
  const users = moves ? [...left, ...(owner ? [counted(owner, 1)] : [])] : (undeleted?.users ?? []);
  return { result: after, session: after, users };
}

function updatedExpiry(
  session: SessionRecord,
  expiry: SessionUpdate["expiry"],
  { newest: [last], now }: SessionState,
): SessionRecord {
  if (expiry === undefined) return session;
  if (expiry === "none") return withoutExpiry(session);
  checkAhead(expiry, now);
  const { createTime } = session;
  // A copy has messages that are older than itself.
  const lastAdded = last && last.addTime > createTime ? last.addTime : createTime;
  return withExpiry(session, expiry, idleSince(session) ?? lastAdded);
}

export interface SessionDeletion {
  readonly allowMissing: boolean;
  readonly etag: string;
  readonly retentionMs: number;
}

export function deleteSession(
  state: SessionState,
  key: string,
  { allowMissing, etag, retentionMs }: SessionDeletion,
): Decision<SessionRecord | undefined> {
  const session = existing(state);
  if (session === undefined || session.deleted) {
    if (allowMissing) return { result: session };
    throw sessionNotFound(idOf(key));
  }
  checkEtag(session, etag, { session_id: idOf(key) });
  return softDeleted(state, session, retentionMs);
}

/** Deletes a session whose moment has come, and does nothing to any other. A restoration does not bring the expiry back. */
export function expireSession(state: SessionState, retentionMs: number): Decision<SessionRecord | undefined> {
  const session = existing(state);
  if (session === undefined || session.deleted || !isDue(session, state.now)) return { result: undefined };
  return softDeleted(state, withoutExpiry(session), retentionMs);
}

function softDeleted(state: SessionState, session: SessionRecord, retentionMs: number): Decision<SessionRecord> {
  const purgeTime = new Date(state.now.getTime() + retentionMs);
  const retired = retire(session, state.now, purgeTime);
  const after: SessionRecord = {
    ...asleep(touched(session, state.now)),
    deleted: true,
    deleteTime: state.now,
    purgeTime,
    retired,
    expireAt: retired ? undefined : purgeTime,
  };
  return { result: after, session: after, users: uncounted(session, state.users) };
}

/** Takes away memory and summary; the session lives on under a new epoch. */
export function clearMemory(
  state: SessionState,
  key: string,
  { epoch, retentionMs }: { epoch: string; retentionMs: number },
): Decision<SessionRecord> {
  const session = live(state, key);
  const purgeTime = new Date(state.now.getTime() + retentionMs);
  const after = withoutMemory({ ...session, retired: retire(session, state.now, purgeTime) }, epoch);
  return { result: after, session: after };
}

/** Makes a deleted session live again, without its memory. */
export function undeleteSession(state: SessionState, key: string, epoch: string): Decision<SessionRecord> {
  return revived(state, withoutMemory(restorable(state, key), epoch));
}

/**
 * The first step of an undelete with memory. As long as messages carry the time of their erasure the session must not
 * live, so it claims them under a token: the marks are taken off then, and {@link finishRestore} makes it live. Nothing is
 * visible before that, and whoever else takes the session in hand meanwhile takes the claim away. Only another restoration
 * joins the claim that is there: if each made a claim of its own, none would ever end.
 *
 * The result is the session when it is live already, as it is when it has no messages, or else the token of the claim.
 */
export function beginRestore(
  state: SessionState,
  key: string,
  token: string,
): Decision<{ live: SessionRecord } | { token: string }> {
  const session = restorable(state, key);
  if (session.messageCount === 0) {
    const { session: after, users } = revived(state, session);
    return { result: { live: after }, session: after, users };
  }
  // Before any mark is taken off, for then it would have to be set again.
  if (session.user !== undefined) liveUser(state.users, session.user);
  const joined = session.retired?.find(({ epoch, task }) => epoch === session.epoch && task === "unmark");
  if (joined?.token !== undefined) return { result: { token: joined.token } };
  const { deleteTime = state.now, purgeTime = state.now } = session;
  const claim: RetiredEpoch = {
    epoch: session.epoch,
    deleteTime,
    purgeTime,
    doneTo: 0,
    task: "unmark",
    token,
    claimTime: state.now,
  };
  return {
    result: { token },
    session: { ...session, expireAt: undefined, retired: [...others(session), claim] },
  };
}

/**
 * The last step of an undelete with memory, when all marks are off. The result is the live session, or the error when some
 * messages are erased already, or nothing when the claim is lost and the whole has to be begun again.
 */
export function finishRestore(
  state: SessionState,
  key: string,
  token: string,
): Decision<SessionRecord | SessionsError | undefined> {
  const session = restorable(state, key);
  const claim = session.retired?.find((entry) => entry.token === token);
  if (claim === undefined) return { result: undefined };
  const failed = (error: SessionsError): Decision<SessionsError> => ({
    result: error,
    session: { ...session, retired: [...others(session), unclaimed(claim)] },
  });
  if (state.unmarkedCount !== session.messageCount) return failed(memoryNotRestorable({ session_id: idOf(key) }));
  try {
    return revived(state, { ...session, retired: nonEmpty(others(session)) });
  } catch (error) {
    // The user was deleted meanwhile.
    if (error instanceof SessionsError) return failed(error);
    throw error;
  }
}

/**
 * Whether a session is one that a task of its user is about, and the task is still what the user's document says: whoever works
 * at a task has read it some time ago, and the user may have been restored, deleted or erased and made anew since.
 */
export function isTaskOf(user: string, task: UserTask, { session, users }: SessionState): boolean {
  const current = users.get(user)?.task;
  if (session?.user !== user || !session.deleted || current?.kind !== task.kind || current.epoch !== task.epoch)
    return false;
  return task.kind === "restore" ? session.takenBy === task.epoch : true;
}

/**
 * Begins the erasure of a session, from which there is no way back. The result is what there is to erase, and whose it is. While its user
 * is being erased it is counted for the receipt, on whosever behalf it goes: the session too, so that even one without messages has
 * something on its work list.
 */
export function condemn(
  state: SessionState,
  isMeant: (session: SessionRecord) => boolean,
): Decision<"begun" | "begun by another" | "nothing"> {
  const { session } = state;
  if (session?.purging) return { result: "begun by another" };
  if (session === undefined || !isMeant(session)) return { result: "nothing" };
  const erasure = session.user === undefined ? undefined : state.users.get(session.user)?.task?.erasure;
  const counted = session.user && erasure && { user: session.user, receipt: erasure.receipt, messages: 0 };
  // What is still to be erased of a session that had the id before is counted for its own user.
  const begun = session.retired?.filter(({ task }) => task === "erase") ?? [];
  const epochs = new Set([...state.epochs, ...(counted ? [session.epoch] : [])]);
  for (const { epoch } of begun) epochs.delete(epoch);
  const entries = [
    ...begun,
    ...[...epochs].map(
      (epoch): RetiredEpoch => ({
        epoch,
        deleteTime: state.now,
        purgeTime: state.now,
        doneTo: 0,
        task: "erase",
        ...(counted && { counted }),
      }),
    ),
  ];
  return {
    result: "begun",
    session: {
      ...asleep(session),
      purging: true,
      deleted: true,
      deleteTime: session.deleteTime ?? state.now,
      purgeTime: session.purgeTime ?? state.now,
      expireAt: undefined,
      retired: nonEmpty(entries),
    },
    users: session.deleted ? [] : uncounted(session, state.users),
  };
}

export function live(state: SessionState, key: string): SessionRecord {
  const session = existing(state);
  if (session === undefined || session.deleted) throw sessionNotFound(idOf(key));
  return session;
}

/** The session without its deletion, counted for its user again, who must be live. */
export function revived(
  state: SessionState,
  session: SessionRecord,
): Decision<SessionRecord> & { session: SessionRecord } {
  const owner = session.user === undefined ? undefined : liveUser(state.users, session.user);
  const after: SessionRecord = {
    ...awake(touched(session, state.now)),
    userEpoch: owner?.epoch,
    deleted: false,
    deleteTime: undefined,
    purgeTime: undefined,
    takenBy: undefined,
    expireAt: undefined,
  };
  return { result: after, session: after, users: owner ? [counted(owner, 1)] : [] };
}

/** The session under a new epoch. A claim on the old memory ends here: its messages are to be marked after all. */
export function withoutMemory(session: SessionRecord, epoch: string): SessionRecord {
  return {
    ...session,
    epoch,
    messageCount: 0,
    lastMessageTime: NO_TIME,
    summary: undefined,
    forks: undefined,
    retired: session.retired?.map((entry) => (entry.task === "unmark" ? unclaimed(entry) : entry)),
  };
}

function restorable(state: SessionState, key: string): SessionRecord {
  const session = existing(state);
  if (session === undefined) throw sessionNotFound(idOf(key));
  if (!session.deleted) throw sessionNotDeleted(idOf(key));
  return session;
}

/** The session when it has changed itself. Times do not go back, even where the clock that it was created by was a little ahead. */
export function touched(session: SessionRecord, now: Date): SessionRecord {
  return { ...session, updateTime: now > session.updateTime ? now : session.updateTime, version: session.version + 1 };
}

function retire(session: SessionRecord, deleteTime: Date, purgeTime: Date): SessionRecord["retired"] {
  const entry: RetiredEpoch = { epoch: session.epoch, deleteTime, purgeTime, doneTo: 0, task: "mark" };
  return nonEmpty([...(session.retired ?? []), ...(session.messageCount > 0 ? [entry] : [])]);
}

/** The work on an epoch whose restoration has failed, was abandoned or is not wanted any more. */
export function unclaimed({ epoch, deleteTime, purgeTime }: RetiredEpoch): RetiredEpoch {
  return { epoch, deleteTime, purgeTime, doneTo: 0, task: "mark" };
}

const others = (session: SessionRecord): RetiredEpoch[] =>
  (session.retired ?? []).filter((entry) => entry.epoch !== session.epoch);

const nonEmpty = (entries: RetiredEpoch[]): RetiredEpoch[] | undefined => (entries.length > 0 ? entries : undefined);
