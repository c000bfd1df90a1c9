import type { Decision, SessionState } from "./decision.js";
import { messageNotFound } from "./errors.js";
import { idOf } from "./keys.js";
import { type MessageRecord, NO_TIME, type SessionRecord, type SummaryRecord } from "./records.js";
import { live } from "./session.js";

/** What of a message can be changed. */
export interface MessageUpdate {
  /** The new metadata out of the current one; undefined to leave it. */
  readonly metadata: ((current: Uint8Array | undefined) => Uint8Array | undefined) | undefined;
  readonly tokenCount: number | undefined;
}

/** Changes one message of the memory, which it needs. */
export function updateMessage(
  state: SessionState,
  key: string,
  messageId: string,
  update: MessageUpdate,
): Decision<MessageRecord> {
  const session = live(state, key);
  const message = liveMessage(state, key, messageId);
  const after: MessageRecord = {
    ...message,
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
    session: {
      ...withChangedMemory(session),
      messageCount: session.messageCount - 1,
      lastMessageTime: newestLeft?.createTime ?? NO_TIME,
    },
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

/** Sets the summary. Needs the message that it reaches to. */
export function setSummary(
  state: SessionState,
  key: string,
  summary: Omit<SummaryRecord, "recentSequence" | "createTime">,
): Decision<SummaryRecord> {
  const session = live(state, key);
  const message = liveMessage(state, key, summary.recentMessageId, "FAILED_PRECONDITION");
  const record: SummaryRecord = { ...summary, recentSequence: message.sequence, createTime: state.now };
  return { result: record, session: { ...session, summary: record } };
}

function liveMessage(
  state: SessionState,
  key: string,
  messageId: string,
  missing: "NOT_FOUND" | "FAILED_PRECONDITION" = "NOT_FOUND",
): MessageRecord {
  const message = state.messages?.get(messageId);
  if (message === undefined || message.deleted) throw messageNotFound(idOf(key), messageId, missing);
  return message;
}

/** The session when messages that it keeps are not what they were. */
function withChangedMemory(session: SessionRecord): SessionRecord {
  return { ...session, memoryVersion: (session.memoryVersion ?? 0) + 1 };
}
