import type { Decision, SessionState } from "./decision.js";
import { messageIdOf, messageKeyOf } from "./keys.js";
import { liveMessage } from "./memory.js";
import { type ForkRecord, type MessageRecord, NO_TIME, type SessionRecord } from "./records.js";
import { createSession, live, type NewSession } from "./session.js";

/** A session that is to begin as a copy of another one's memory. */
export interface Fork {
  /** That the new session is to have; it serves for one attempt. */
  readonly epoch: string;
  /** The keys of the session that is copied, and of the new one. */
  readonly source: string;
  readonly target: string;
  /** The id of the last message that is copied; undefined for all that there are. */
  readonly upToMessageId: string | undefined;
  /** The key of the user whom the new session is to belong to. */
  readonly owner: (source: SessionRecord) => string | undefined;
  /** The new session out of the one that is copied. */
  readonly make: (source: SessionRecord) => NewSession;
}

/** What one transaction has read of both. The source's `messages` have the one up to which it is copied, if one is named. */
export interface ForkState {
  readonly source: SessionState;
  readonly target: SessionState;
}

/** What is copied: the live messages of a memory up to and with a sequence. */
export interface Extent {
  readonly sourceEpoch: string;
  /** The source's as the copy has it. */
  readonly memoryVersion: number;
  readonly upTo: number;
}

export interface Copied extends Extent {
  readonly messageCount: number;
  /** When its newest message was made; undefined where there is none. */
  readonly lastMessageTime: Date | undefined;
}

/** What there is to be copied. Throws when no session could be made of it as things are, so that nothing is copied in vain. */
export function beginFork({ source, target }: ForkState, fork: Fork): Extent {
  const session = live(source, fork.source);
  const last = lastMessage(source, fork);
  createSession(target, fork.make(session));
  const { epoch: sourceEpoch, memoryVersion = 0, lastSequence } = session;
  return { sourceEpoch, memoryVersion, upTo: last?.sequence ?? lastSequence };
}

/**
 * Makes the new session, of which all messages are there. Nothing when these are of a memory that the source does not have any more, or
 * does not have like this: the whole has to be begun again.
 */
export function publishFork(
  { source, target }: ForkState,
  fork: Fork,
  { sourceEpoch, memoryVersion, upTo, messageCount, lastMessageTime = NO_TIME }: Copied,
): Decision<SessionRecord | undefined> {
  const session = live(source, fork.source);
  if (session.epoch !== sourceEpoch || (session.memoryVersion ?? 0) !== memoryVersion) return { result: undefined };
  // Deleted meanwhile, it is not in the copy either.
  lastMessage(source, fork);
  const { summary } = session;
  const created = createSession(target, { ...fork.make(session), epoch: fork.epoch });
  const after: SessionRecord = {
    ...created.result,
    messageCount,
    // Not that of the newest copy: what the summary covers may reach further, for messages behind that may have been deleted.
    lastSequence: upTo,
    lastMessageTime,
    summary: summary && summary.recentSequence <= upTo ? summary : undefined,
    forkedFrom: { session: fork.source, sequence: upTo },
  };
  return { ...created, result: after, session: after };
}

const lastMessage = (source: SessionState, fork: Fork): MessageRecord | undefined =>
  fork.upToMessageId === undefined ? undefined : liveMessage(source, fork.source, fork.upToMessageId);

/** A message as the copy has it: the same but for where it is. That it has created the session it is in is not so there. */
export function copyOf(
  { sessionEffect, ...message }: MessageRecord,
  { _id: epoch, session }: Pick<ForkRecord, "_id" | "session">,
): MessageRecord {
  return { ...message, _id: messageKeyOf(epoch, messageIdOf(message)), session, epoch };
}
