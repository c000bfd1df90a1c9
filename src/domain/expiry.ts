import { invalidFields } from "./errors.js";
import type { SessionRecord } from "./records.js";

/**
 * What ends a session's life by itself: a moment, or a time in which nothing is added to it. Whatever makes, revives, deletes or adds to
 * a session passes through here. A session without an expiry comes out as it went in: it pays nothing for those that have one.
 */
export type Expiry = { readonly time: Date } | { readonly idleMs: number };

/** Throws INVALID_ARGUMENT for a moment that is not to come. */
export function checkAhead(expiry: Expiry | undefined, now: Date): void {
  if (expiry && "time" in expiry && expiry.time <= now)
    throw invalidFields([{ field: "expire_time", description: NOT_AHEAD }]);
}

export const NOT_AHEAD = "Does not lie in the future.";

/** The session with this expiry in place of the one that it had. Idleness counts from `since`. */
export function withExpiry(session: SessionRecord, expiry: Expiry, since: Date): SessionRecord {
  if ("time" in expiry) return { ...session, expireTime: expiry.time, idleTtlMs: undefined, expiresAt: expiry.time };
  const { idleMs } = expiry;
  return { ...session, expireTime: undefined, idleTtlMs: idleMs, expiresAt: after(since, idleMs) };
}

/** Since when a session has been idle by the idle time that it has; undefined where it has none, for then nobody counts. */
export function idleSince({ idleTtlMs, expiresAt }: SessionRecord): Date | undefined {
  return idleTtlMs !== undefined && expiresAt ? after(expiresAt, -idleTtlMs) : undefined;
}

/** The session without an expiry. */
export function withoutExpiry(session: SessionRecord): SessionRecord {
  if (session.expireTime === undefined && session.idleTtlMs === undefined) return session;
  return { ...session, expireTime: undefined, idleTtlMs: undefined, expiresAt: undefined };
}

/** The session when something is added to it. */
export function addedTo(session: SessionRecord, now: Date): SessionRecord {
  const { idleTtlMs } = session;
  return idleTtlMs === undefined ? session : { ...session, expiresAt: after(now, idleTtlMs) };
}

/** The session when it is deleted: what it was to expire by waits for its return. */
export function asleep(session: SessionRecord): SessionRecord {
  return session.expiresAt === undefined ? session : { ...session, expiresAt: undefined };
}

/**
 * The session when it comes back, with its last change: idleness counts anew from that, and a moment that has passed is gone, or it would
 * be deleted at once.
 */
export function awake(session: SessionRecord): SessionRecord {
  const { updateTime, expireTime, idleTtlMs } = session;
  if (idleTtlMs !== undefined) return { ...session, expiresAt: after(updateTime, idleTtlMs) };
  if (expireTime === undefined) return session;
  return expireTime > updateTime ? { ...session, expiresAt: expireTime } : withoutExpiry(session);
}

/** Whether the moment has come. */
export function isDue({ expiresAt }: SessionRecord, now: Date): boolean {
  return expiresAt !== undefined && expiresAt <= now;
}

const after = (time: Date, ms: number): Date => new Date(time.getTime() + ms);
