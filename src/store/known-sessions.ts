import type { Document } from "mongodb";
import type { SessionRecord } from "../domain/records.js";

/**
 * The live sessions as this process has left them by its own last transactions. A change may be decided on that without reading the
 * session first, as long as its write holds on to what it was decided on, see {@link setIfAsKnown}: another process may have
 * changed the session since.
 */
export interface KnownSessions {
  get(key: string): SessionRecord | undefined;
  /** Notes what a transaction that was committed has left, or has found. */
  learn(session: SessionRecord): void;
  /** For transactions of which nobody knows whether they were committed, and for sessions that are gone. */
  forget(key: string): void;
  /** For a session that another process has changed: it may well go on doing so, and to read is cheaper than to be wrong. */
  distrust(key: string): void;
}

const MAX_SESSIONS = 10_000;
const DISTRUST_MS = 10_000;

export function createKnownSessions(): KnownSessions {
  const known = new Map<string, SessionRecord>();
  const distrusted = new Map<string, number>();
  return {
    get: (key) => known.get(key),
    learn(session) {
      const { _id: key } = session;
      known.delete(key);
      if (session.deleted || session.purging || (distrusted.get(key) ?? 0) > Date.now()) return;
      known.set(key, withoutBulk(session));
      dropOldest(known);
    },
    forget: (key) => void known.delete(key),
    distrust(key) {
      known.delete(key);
      distrusted.delete(key);
      distrusted.set(key, Date.now() + DISTRUST_MS);
      dropOldest(distrusted);
    },
  };
}

/** Maps give their keys in the order in which they were put in. */
function dropOldest(map: Map<string, unknown>): void {
  const [oldest] = map.keys();
  if (map.size > MAX_SESSIONS && oldest !== undefined) map.delete(oldest);
}

/** Without what can be large, and is nothing that such a change looks at. */
function withoutBulk({ metadata, terms, summary, retired, ...session }: SessionRecord): SessionRecord {
  return session;
}

/**
 * The update that sets these fields of a session, and changes nothing when one of those differs that adding to its memory depends on.
 * As a pipeline, because a filter with more than `_id` costs the database twice as much: it has to be planned.
 */
export function setIfAsKnown(known: SessionRecord, fields: Partial<SessionRecord>): Document[] {
  const holds = [
    ...(["epoch", "lastSequence", "messageCount"] as const).map((name) => ({
      $eq: [`$${name}`, { $literal: known[name] }],
    })),
    { $eq: ["$deleted", false] },
    { $eq: [{ $type: "$purging" }, "missing"] },
  ];
  return [
    { $replaceWith: { $cond: [{ $and: holds }, { $mergeObjects: ["$$ROOT", { $literal: fields }] }, "$$ROOT"] } },
  ];
}

/** Whether {@link setIfAsKnown} would set them. */
export function isAsKnown(known: SessionRecord, stored: SessionRecord | undefined): boolean {
  return (
    stored !== undefined &&
    stored.epoch === known.epoch &&
    stored.lastSequence === known.lastSequence &&
    stored.messageCount === known.messageCount &&
    !stored.deleted &&
    !stored.purging
  );
}
