import type { Change, MessageAdded, MessageRef, SessionChange } from "./changes.js";

/**
 * What can happen to a session, in the order in which several of them are told that one transaction has done. Their numbers are in
 * tokens: a new one goes to the end.
 */
export const EVENT_KINDS = [
  "purged",
  "created",
  "undeleted",
  "updated",
  "memory cleared",
  "messages added",
  "messages updated",
  "messages deleted",
  "summary set",
  "deleted",
] as const;
export type EventKind = (typeof EVENT_KINDS)[number];

/** What one transaction has done to one session. */
export interface SessionEvent {
  readonly session: string;
  readonly kind: EventKind;
  /** The messages that it is about. */
  readonly messages: readonly MessageRef[];
  /** Whether the session has gone from one user to another, or nobody. */
  readonly moves: boolean;
  /** Whether it is the end of a session that was soft-deleted already, so that this was told. */
  readonly isLast: boolean;
}

/**
 * What the changes of one transaction mean. Messages that come without their session's document, as the copies of a fork do that is not
 * there yet, mean nothing; nor does what only housekeeping writes. `sessionOf`: whose memory has this epoch.
 */
export function eventsOf(
  changes: readonly Change[],
  sessionOf: (epoch: string) => string | undefined,
): readonly SessionEvent[] {
  const events: SessionEvent[] = [];
  const messages = messagesBySession(changes, sessionOf);
  for (const change of changes) {
    if (!isOfSession(change)) continue;
    const { session } = change;
    const moves = change.kind === "session updated" && has(change, "user");
    const isLast =
      change.kind === "session removed" ||
      (change.kind === "session updated" && change.set.has("purging") && change.deleted === undefined);
    const theirs = messages.get(session) ?? NO_MESSAGES;
    const kinds = new Set<EventKind>(kindsOf(change));
    if (theirs.added.length > 0) kinds.add("messages added");
    if (theirs.updated.length > 0) kinds.add("messages updated");
    if (theirs.deleted.length > 0) kinds.add("messages deleted");
    for (const kind of EVENT_KINDS) {
      if (!kinds.has(kind)) continue;
      events.push({ session, kind, messages: refsOf(kind, theirs), moves: moves && kind === "updated", isLast });
    }
  }
  return events;
}

function kindsOf(change: SessionChange): EventKind[] {
  if (change.kind === "session removed") return ["purged"];
  if (change.kind === "session inserted") return change.deleted ? ["created", "deleted"] : ["created"];
  const { set, unset, deleted } = change;
  if (set.has("purging")) return ["purged"];
  const summary: EventKind[] = set.has("summary") ? ["summary set"] : [];
  // Of a session of the same id that was being erased, or was in the same transaction, nothing is left but what is to be erased.
  if (set.has("uid")) {
    const before: EventKind[] = unset.has("purging") ? [] : ["purged"];
    return [...before, "created", ...summary, ...(deleted ? (["deleted"] as const) : [])];
  }
  if (deleted === true) return ["deleted"];
  if (deleted === false) return ["undeleted", ...summary];
  return [
    ...(set.has("version") ? (["updated"] as const) : []),
    ...(set.has("epoch") ? (["memory cleared"] as const) : []),
    ...summary,
  ];
}

interface Messages {
  readonly added: MessageAdded[];
  readonly updated: MessageRef[];
  readonly deleted: MessageRef[];
}

const NO_MESSAGES: Messages = { added: [], updated: [], deleted: [] };

function messagesBySession(
  changes: readonly Change[],
  sessionOf: (epoch: string) => string | undefined,
): ReadonlyMap<string, Messages> {
  const bySession = new Map<string, Messages>();
  for (const change of changes) {
    if (isOfSession(change)) continue;
    const session = change.kind === "message added" ? change.session : sessionOf(change.epoch);
    if (session === undefined) continue;
    let messages = bySession.get(session);
    if (!messages) {
      messages = { added: [], updated: [], deleted: [] };
      bySession.set(session, messages);
    }
    if (change.kind === "message added") messages.added.push(change);
    else if (change.kind === "message updated") messages.updated.push(change);
    else messages.deleted.push(change);
  }
  for (const { added } of bySession.values()) added.sort((a, b) => a.sequence - b.sequence);
  return bySession;
}

function refsOf(kind: EventKind, { added, updated, deleted }: Messages): readonly MessageRef[] {
  if (kind === "messages added") return added;
  if (kind === "messages updated") return updated;
  return kind === "messages deleted" ? deleted : [];
}

export function isOfSession(change: Change): change is SessionChange {
  return change.kind.startsWith("session");
}

const has = ({ set, unset }: SessionChange & { kind: "session updated" }, field: string): boolean =>
  set.has(field) || unset.has(field);
