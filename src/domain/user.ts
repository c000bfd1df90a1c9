import { createHash } from "node:crypto";
import { memoryNotRestorable, userNotDeleted, userNotFound } from "./errors.js";
import { idOf, keyOf } from "./keys.js";
import type { Erasure, ErasureRecord, ErasureRequest, UserRecord } from "./records.js";
import { checkEtag } from "./session.js";

/**
 * Changes of a user, as pure decisions over the stored document. Sessions are retired, restored and erased after the user's
 * document says so, by whoever finds the task on it; until then a user's `task` is work to be finished.
 */
export interface UserUpdate {
  readonly etag: string;
  readonly fields: Partial<Pick<UserRecord, "email" | "firstName" | "lastName">>;
  readonly metadata: ((current: Uint8Array | undefined) => Uint8Array | undefined) | undefined;
}

export function updateUser(user: UserRecord | undefined, key: string, update: UserUpdate, now: Date): UserRecord {
  const found = live(user, key, update.etag);
  return {
    ...touched(found, now),
    ...update.fields,
    ...(update.metadata && { metadata: update.metadata(found.metadata) }),
  };
}

/** Closes the user: no session can be made for them from here on. */
export function deleteUser(
  user: UserRecord | undefined,
  key: string,
  { retentionMs }: { retentionMs: number },
  now: Date,
): UserRecord {
  const found = live(user, key);
  return {
    ...touched(found, now),
    sessionCount: 0,
    deleted: true,
    deleteTime: now,
    purgeTime: new Date(now.getTime() + retentionMs),
    task: { kind: "retire", epoch: found.epoch },
  };
}

/**
 * Opens a deleted user again, under a new epoch. Their sessions must have been retired by then, all of them: one that was
 * still live would not be counted.
 */
export function undeleteUser(
  user: UserRecord | undefined,
  key: string,
  { epoch, restoreSessions }: { epoch: string; restoreSessions: boolean },
  now: Date,
): UserRecord {
  if (user === undefined || user.task?.kind === "purge") throw userNotFound(idOf(key));
  if (!user.deleted) throw userNotDeleted(idOf(key));
  if (restoreSessions && user.purgeTime && user.purgeTime < now) throw memoryNotRestorable({ user_id: idOf(key) });
  return {
    ...touched(user, now),
    epoch,
    sessionCount: 0,
    deleted: false,
    deleteTime: undefined,
    purgeTime: undefined,
    expireAt: undefined,
    task: restoreSessions ? { kind: "restore", epoch: user.epoch } : undefined,
  };
}

/**
 * Begins the erasure of a user, from which there is no way back, or joins the one that has begun. Nothing when there is no such
 * user (any more). With a request it leaves a receipt.
 */
export function condemnUser(
  user: UserRecord | undefined,
  isMeant: (user: UserRecord) => boolean,
  request: ErasureRequest | undefined,
  now: Date,
): UserRecord | undefined {
  if (user === undefined || !isMeant(user)) return undefined;
  if (user.task?.kind === "purge") return user;
  return {
    ...touched(user, now),
    sessionCount: 0,
    deleted: true,
    deleteTime: user.deleteTime ?? now,
    purgeTime: user.purgeTime ?? now,
    expireAt: undefined,
    task: {
      kind: "purge",
      epoch: user.epoch,
      ...(request && { erasure: { ...request, beginTime: now, sessions: 0, messages: 0 } }),
    },
  };
}

/** The receipt of an erasure that has come to its end. */
export function receiptOf({ _id, project }: UserRecord, erasure: Erasure, endTime: Date): ErasureRecord {
  const { receipt, sessions, messages, requestId, requestedBy, beginTime } = erasure;
  return {
    _id: keyOf(project, receipt),
    project,
    userSha256: createHash("sha256").update(idOf(_id)).digest("hex"),
    sessions,
    messages,
    requestId,
    requestedBy,
    beginTime,
    endTime,
  };
}

export function live(user: UserRecord | undefined, key: string, etag = ""): UserRecord {
  if (user === undefined || user.deleted) throw userNotFound(idOf(key));
  checkEtag(user, etag, { user_id: idOf(key) });
  return user;
}

function touched(user: UserRecord, now: Date): UserRecord {
  return { ...user, updateTime: now, version: user.version + 1 };
}
