import type {
  ErasureReceipt,
  Key,
  Message,
  SearchResult,
  Session,
  Summary,
  User,
  WatchEvent,
} from "../client/index.js";

/**
 * Resources as `--json` prints them: the names of the API's own fields, times in RFC 3339, payloads in base64, what is unset
 * left out. `show --json` prints what `import` reads.
 */
export const jsonLine = (value: unknown): string => `${JSON.stringify(value)}\n`;

export function jsonOfSession(session: Session) {
  return {
    session_id: session.sessionId,
    uid: session.uid,
    user_id: session.userId,
    metadata: session.metadata,
    create_time: session.createTime,
    update_time: session.updateTime,
    last_message_time: session.lastMessageTime,
    delete_time: session.deleteTime,
    purge_time: session.purgeTime,
    message_count: session.messageCount,
    expire_time: session.expireTime,
    idle_ttl: session.idleTtlMs === undefined ? undefined : `${session.idleTtlMs / 1000}s`,
    expires_at: session.expiresAt,
    etag: session.etag,
    forked_from: session.forkedFrom && {
      session_id: session.forkedFrom.sessionId,
      sequence: session.forkedFrom.sequence,
    },
  };
}

export function jsonOfUser(user: User) {
  return {
    user_id: user.userId,
    uid: user.uid,
    email: user.email,
    first_name: user.firstName,
    last_name: user.lastName,
    metadata: user.metadata,
    create_time: user.createTime,
    update_time: user.updateTime,
    session_count: user.sessionCount,
    etag: user.etag,
  };
}

export function jsonOfSummary(summary: Summary) {
  return {
    content: summary.content,
    recent_message_id: summary.recentMessageId,
    metadata: summary.metadata,
    token_count: summary.tokenCount,
    create_time: summary.createTime,
  };
}

export function jsonOfMessage(message: Message) {
  return {
    message_id: message.messageId,
    sequence: message.sequence,
    role: message.role,
    role_type: message.roleType && `ROLE_TYPE_${message.roleType.toUpperCase()}`,
    content: message.content,
    payload: message.payload && Buffer.from(message.payload).toString("base64"),
    payload_type: message.payloadType,
    metadata: message.metadata,
    token_count: message.tokenCount,
    create_time: message.createTime,
    update_time: message.updateTime,
    etag: message.etag,
    group_id: message.groupId,
  };
}

export function jsonOfSearchResult({ message, score, before, after }: SearchResult) {
  const full = (one: Message) => ({ session_id: one.sessionId, ...jsonOfMessage(one) });
  return { score, message: full(message), before: before.map(full), after: after.map(full) };
}

export function jsonOfEvent({ type, sessionId, session, messages, messageIds, resumeToken, eventTime }: WatchEvent) {
  return {
    event_type: type && `EVENT_TYPE_${type.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`,
    session_id: sessionId,
    session: session && jsonOfSession(session),
    messages: messages.length > 0 ? messages.map(jsonOfMessage) : undefined,
    message_ids: messageIds.length > 0 ? messageIds : undefined,
    resume_token: resumeToken,
    event_time: eventTime,
  };
}

export function jsonOfKey(key: Key) {
  return {
    key_id: key.keyId,
    name: key.name,
    project: key.project,
    role: key.role && `ROLE_${key.role.toUpperCase()}`,
    user_id: key.userId,
    create_time: key.createTime,
    expire_time: key.expireTime,
    revoke_time: key.revokeTime,
  };
}

export function jsonOfErasureReceipt(receipt: ErasureReceipt) {
  return {
    receipt_id: receipt.receiptId,
    user_id_sha256: receipt.userIdSha256,
    purged_sessions: receipt.purgedSessions,
    purged_messages: receipt.purgedMessages,
    request_id: receipt.requestId,
    requested_by: receipt.requestedBy,
    begin_time: receipt.beginTime,
    end_time: receipt.endTime,
  };
}
