import type * as memoryApi from "../../gen/sessions/v1/memory_service.js";
import type * as sessionApi from "../../gen/sessions/v1/session_service.js";
import { Encoded } from "../domain/encoded.js";
import { USUAL_RESPONSE_BYTES } from "../domain/limits.js";
import { type MessageRecord, NO_TIME, type SessionRecord, type SummaryRecord } from "../domain/records.js";
import { tokensOf } from "../domain/tokens.js";
import { type EncodeMessages, someGroups } from "../store/known/memory.js";
import type { Memory } from "../store/memory.js";
import type { Raw, RawDocument } from "../store/raw.js";
import type { Found } from "./search/found.js";
import { varintBytes, WireWriter } from "./wire-writer.js";

/**
 * Answers of which most is as it is stored, encoded from what was read with nothing in between. The numbers are those of the
 * fields in the protos. What the API's messages mean is also in convert.ts, for answers to changes: a test holds the two together.
 */

export function encodeGetSession(session: Raw<SessionRecord>): Encoded<sessionApi.GetSessionResponse> {
  const out = new WireWriter(sessionBytes(session));
  writeSession(out, 1, session);
  return new Encoded(out.finish());
}

export function encodeBatchGetSessions(
  sessionIds: readonly string[],
  found: (sessionId: string) => Raw<SessionRecord> | undefined,
): Encoded<sessionApi.BatchGetSessionsResponse> {
  const ids = sessionIds.map((sessionId) => Buffer.from(sessionId));
  // Each that does not come is named.
  let room = USUAL_RESPONSE_BYTES - sum(ids, ({ length }) => length + MAX_ID_HEAD);
  let isFull = false;
  const out = new WireWriter(USUAL_SESSION_BYTES * ids.length);
  for (const [index, sessionId] of sessionIds.entries()) {
    const session = found(sessionId);
    const id = ids[index] as Buffer;
    if (!session) {
      out.encoded(2, id);
      continue;
    }
    // In its answer, too, the session is the field of number 1.
    const bytes: Uint8Array = isFull ? NOTHING : encodeGetSession(session).bytes;
    isFull ||= bytes.length > room;
    if (isFull) {
      out.encoded(3, id);
    } else {
      out.fields(bytes);
      room -= bytes.length;
    }
  }
  return new Encoded(out.finish());
}

/** The tag and the length of an id: it has at most 1 KiB. */
const MAX_ID_HEAD = 3;
const USUAL_SESSION_BYTES = 500;

export function encodeListSessions(
  sessions: readonly RawDocument<SessionRecord>[],
  nextCursor: string,
): Encoded<sessionApi.ListSessionsResponse> {
  const out = new WireWriter(sum(sessions, storedSessionBytes) + nextCursor.length);
  for (const session of sessions) writeSession(out, 1, session.fields());
  out.text(2, nextCursor);
  return new Encoded(out.finish());
}

/** The messages of a GetMemoryResponse. */
export const encodeMessages: EncodeMessages = (messages) => {
  const out = new WireWriter(sum(messages, messageBytes));
  const ends: number[] = [];
  const tokenEnds: number[] = [];
  const sequences: number[] = [];
  const roleTypes: number[] = [];
  const groupIds: (string | undefined)[] = [];
  let tokens = 0;
  for (const message of messages) {
    const fields = message.fields();
    writeMessage(out, 1, message, fields);
    tokens += tokensOf(fields);
    ends.push(out.size);
    tokenEnds.push(tokens);
    sequences.push(fields.sequence);
    roleTypes.push(fields.roleType);
    groupIds.push(fields.groupId?.toString());
  }
  return { bytes: out.finish(), ends, tokenEnds, sequences, roleTypes, groupIds: someGroups(groupIds) };
};

export function encodeGetMemory(memory: Memory | undefined): Encoded<memoryApi.GetMemoryResponse> {
  if (!memory) return new Encoded(Buffer.alloc(0));
  const { messages, rest, tokens, isCut } = memory;
  const out = new WireWriter(sum(messages, ({ length }) => length) + rest.length);
  for (const part of messages) out.fields(part);
  out.fields(rest);
  out.integer(4, isCut ? 1 : 0);
  out.integer(5, tokens);
  return new Encoded(out.finish());
}

/** What a GetMemoryResponse has besides its messages, {@link TRUNCATED_BYTES} and {@link tokenCountBytes}. */
export function encodeRestOfMemory(session: Raw<SessionRecord>): Buffer {
  const { summary } = session;
  const out = new WireWriter(sessionBytes(session) + (summary ? summaryBytes(summary) : 0));
  if (summary) writeSummary(out, 2, summary);
  writeSession(out, 3, session);
  return out.finish();
}

export const TRUNCATED_BYTES = 2;

export const tokenCountBytes = (tokens: number): number => (tokens === 0 ? 0 : 1 + varintBytes(tokens));

export function encodeListMessages(
  messages: readonly RawDocument<MessageRecord>[],
  nextCursor: string,
): Encoded<memoryApi.ListMessagesResponse> {
  const out = new WireWriter(sum(messages, messageBytes) + nextCursor.length);
  for (const message of messages) writeMessage(out, 1, message);
  out.text(2, nextCursor);
  return new Encoded(out.finish());
}

export function encodeSearchMemory(
  found: readonly Found[],
  mode: memoryApi.SearchMode,
  unembeddedMessages: number,
): Encoded<memoryApi.SearchMemoryResponse> {
  const out = new WireWriter(sum(found, foundBytes));
  for (const one of found) {
    out.message(1, foundBytes(one), () => {
      writeMessage(out, 1, one.message);
      out.double(2, one.score);
      for (const message of one.before) writeMessage(out, 3, message);
      for (const message of one.after) writeMessage(out, 4, message);
    });
  }
  out.integer(2, mode);
  out.integer(3, unembeddedMessages);
  return new Encoded(out.finish());
}

const foundBytes = ({ message, before, after }: Found): number => sum([message, ...before, ...after], messageBytes);

export function writeSession(out: WireWriter, field: number, session: Raw<SessionRecord>): void {
  const { _id, uid, user, metadata, deleted, lastMessageTime, deleteTime, purgeTime } = session;
  const { expireTime, idleTtlMs, expiresAt, forkedFrom } = session;
  out.message(field, sessionBytes(session), () => {
    out.bytes(1, idBytes(_id));
    out.bytes(2, uid);
    if (user) out.bytes(3, idBytes(user));
    out.encoded(4, metadata ?? NOTHING);
    out.time(5, session.createTime);
    out.time(6, session.updateTime);
    if (!deleted && lastMessageTime !== NO_TIME.getTime()) out.time(7, lastMessageTime);
    if (deleteTime !== undefined) out.time(8, deleteTime);
    if (purgeTime !== undefined) out.time(9, purgeTime);
    out.integer(10, deleted ? 0 : session.messageCount);
    out.joined(11, uid, `-${session.version}`);
    if (expireTime !== undefined) out.time(12, expireTime);
    if (idleTtlMs !== undefined) out.time(13, idleTtlMs);
    if (expiresAt !== undefined) out.time(14, expiresAt);
    if (forkedFrom) writeForkOrigin(out, 15, forkedFrom);
  });
}

function writeForkOrigin(out: WireWriter, field: number, { session, sequence }: ForkOrigin): void {
  out.message(field, session.length, () => {
    out.bytes(1, idBytes(session));
    out.integer(2, sequence);
  });
}

type ForkOrigin = NonNullable<Raw<SessionRecord>["forkedFrom"]>;

export function writeMessage(
  out: WireWriter,
  field: number,
  stored: RawDocument<MessageRecord>,
  message: Raw<MessageRecord> = stored.fields(),
): void {
  const { _id, session, epoch, sequence, payload, payloadType, metadata, updateTime, version = 0, groupId } = message;
  out.message(field, messageBytes(stored), () => {
    out.bytes(1, _id.subarray(epoch.length + 1));
    out.bytes(2, idBytes(session));
    out.integer(3, sequence);
    out.bytes(4, message.role);
    out.integer(5, message.roleType);
    out.bytes(6, message.content);
    if (payload) out.bytes(7, payload);
    if (payloadType) out.bytes(8, payloadType);
    out.encoded(9, metadata ?? NOTHING);
    out.integer(10, message.tokenCount);
    out.time(11, message.createTime);
    out.time(12, updateTime ?? message.addTime);
    out.joined(13, epoch, `-${sequence}-${version}`);
    if (groupId) out.bytes(14, groupId);
  });
}

function writeSummary(out: WireWriter, field: number, summary: Raw<SummaryRecord>): void {
  out.message(field, summaryBytes(summary), () => {
    out.bytes(1, summary.content);
    out.bytes(2, summary.recentMessageId);
    out.encoded(3, summary.metadata ?? NOTHING);
    out.integer(4, summary.tokenCount);
    out.time(5, summary.createTime);
  });
}

const NOTHING = new Uint8Array();
const SLASH = 0x2f;

/** The id in a key, see keys.ts. */
function idBytes(key: Buffer): Buffer {
  return key.subarray(key.indexOf(SLASH) + 1);
}

/** About how many bytes a stored message has on the wire: the database has the names of its fields, too, and its epoch twice. */
export function messageBytes({ size }: RawDocument<MessageRecord>): number {
  return size - 120;
}

export function storedSessionBytes({ size }: RawDocument<SessionRecord>): number {
  return size - 130;
}

function sessionBytes({ _id, uid, user, metadata, forkedFrom }: Raw<SessionRecord>): number {
  const origin = forkedFrom ? 20 + forkedFrom.session.length : 0;
  return 80 + _id.length + 2 * uid.length + (user?.length ?? 0) + (metadata?.length ?? 0) + origin;
}

function summaryBytes({ content, recentMessageId, metadata }: Raw<SummaryRecord>): number {
  return 40 + content.length + recentMessageId.length + (metadata?.length ?? 0);
}

function sum<T>(items: readonly T[], bytesOf: (item: T) => number): number {
  return items.reduce((total, item) => total + bytesOf(item), 0);
}
