import { sameBytes } from "./bytes.js";
import type { Decision, SessionState } from "./decision.js";
import { etagMismatch, messageNotFound, summarySuperseded } from "./errors.js";
import { idOf, messageIdOf } from "./keys.js";
import { type MessageRecord, NO_TIME, type SessionRecord, type SummaryRecord } from "./records.js";
import { live } from "./session.js";

/** Another one after each change, and no other message's, also not of one that has had the same id before: an epoch is never used again. */
export function messageEtagOf({ epoch, sequence, version = 0 }: MessageRecord): string {
  return `${epoch}-${sequence}-${version}`;
}

/** What of a message can be changed; undefined leaves it as it is. */
export interface MessageUpdate {
  /** Empty for none. */
  readonly etag: string;
  /** The new metadata out of the current one; undefined to leave it. */
  readonly metadata: ((current: Uint8Array | undefined) => Uint8Array | undefined) | undefined;
  readonly tokenCount: number | undefined;
  readonly content: string | undefined;
  /** Empty takes it away, as with its type. */
  readonly payload: Uint8Array | undefined;
  readonly payloadType: string | undefined;
}

/**
 * Changes one message of the memory, which it needs. What it said before is kept nowhere, nor anything made of that, such as a hash: a short
 * text is soon guessed from it.
 */
export function updateMessage(
  state: SessionState,
  key: string,
  messageId: string,
  update: MessageUpdate,
): Decision<MessageRecord> {
  const session = live(state, key);
  const message = liveMessage(state, key, messageId);
  if (update.etag !== "" && update.etag !== messageEtagOf(message)) {
    throw etagMismatch({ session_id: idOf(key), message_id: messageIdOf(message) }, update.etag);
  }
  const payload = update.payload ?? message.payload;
  const said = {
    content: update.content ?? message.content,
    payload: payload?.length ? payload : undefined,
    payloadType: (update.payloadType ?? message.payloadType) || undefined,
  };
  const isOther =
    said.content !== message.content ||
    said.payloadType !== message.payloadType ||
    !sameBytes(said.payload, message.payload);
  const after: MessageRecord = {
    ...message,
    ...(isOther && { ...said, edited: true }),
    ...(update.metadata && { metadata: update.metadata(message.metadata) }),
    tokenCount: update.tokenCount ?? message.tokenCount,
    updateTime: state.now,
    version: (message.version ?? 0) + 1,
  };
  return { result: after, session: withChangedMemory(session), changed: [after] };
}

/** Takes one message out of the memory. Needs that message and the two newest ones of the memory. */
export function deleteMessage(
  state: SessionState,
  key: string,
  messageId: string,
  retentionMs: number,
): Decision<MessageRecord> {
  const session = live(state, key);
  const message = liveMessage(state, key, messageId);
  const newestLeft = state.newest.find(({ _id }) => _id !== message._id);
  return {
    result: message,
    session: withoutMessages(session, 1, newestLeft),
    changed: [
      {
        ...message,
        deleted: true,
        deleteTime: state.now,
        expireAt: new Date(state.now.getTime() + retentionMs),
      },
    ],
  };
}

/** Sets the summary, unless there is one that reaches further. Needs the message that it reaches to. */
export function setSummary(
  state: SessionState,
  key: string,
  summary: Omit<SummaryRecord, "recentSequence" | "createTime">,
): Decision<SummaryRecord> {
  const session = live(state, key);
  const message = liveMessage(state, key, summary.recentMessageId, "FAILED_PRECONDITION");
  const stored = session.summary;
  if (stored && stored.recentSequence > message.sequence) {
    throw summarySuperseded(idOf(key), summary.recentMessageId, stored.recentMessageId);
  }
  const record: SummaryRecord = { ...summary, recentSequence: message.sequence, createTime: state.now };
  return { result: record, session: { ...session, summary: record } };
}

export function liveMessage(
  state: SessionState,
  key: string,
  messageId: string,
  missing: "NOT_FOUND" | "FAILED_PRECONDITION" = "NOT_FOUND",
): MessageRecord {
  const message = state.messages?.get(messageId);
  if (message === undefined || message.deleted) throw messageNotFound(idOf(key), messageId, missing);
  return message;
}

/** The session with so many messages less. */
export function withoutMessages(
  session: SessionRecord,
  count: number,
  newestLeft: Pick<MessageRecord, "createTime"> | undefined,
): SessionRecord {
  return {
    ...withChangedMemory(session),
    messageCount: session.messageCount - count,
    lastMessageTime: newestLeft?.createTime ?? NO_TIME,
  };
}

/** The session when messages that it keeps are not what they were. */
function withChangedMemory(session: SessionRecord): SessionRecord {
  return { ...session, memoryVersion: (session.memoryVersion ?? 0) + 1 };
}
