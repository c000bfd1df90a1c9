import type { Duration } from "../../gen/google/protobuf/duration.js";
import type { Timestamp } from "../../gen/google/protobuf/timestamp.js";
import {
  type ErasureReceipt,
  type Message,
  MetadataMode,
  type RoleType,
  type Session,
  type Summary,
  type User,
} from "../../gen/sessions/v1/resources.js";
import { invalidFields } from "../domain/errors.js";
import type { JsonObject } from "../domain/json.js";
import { idOf, messageIdOf } from "../domain/keys.js";
import { messageEtagOf } from "../domain/memory.js";
import { applyMetadata, type MetadataMode as Mode } from "../domain/metadata.js";
import {
  type ErasureRecord,
  type MessageRecord,
  NO_TIME,
  type SessionRecord,
  type SummaryRecord,
  type UserRecord,
} from "../domain/records.js";
import { etagOf } from "../domain/session.js";
import { decodeStruct, encodeStruct } from "../domain/struct.js";
import { metadataFault } from "./checks.js";

/** Between the API's messages and what is stored. */

export function toSession(record: SessionRecord): Session {
  return {
    sessionId: idOf(record._id),
    uid: record.uid,
    userId: record.user === undefined ? undefined : idOf(record.user),
    metadata: record.metadata ?? {},
    createTime: toTimestamp(record.createTime),
    updateTime: toTimestamp(record.updateTime),
    lastMessageTime:
      record.deleted || record.lastMessageTime.getTime() === NO_TIME.getTime()
        ? undefined
        : toTimestamp(record.lastMessageTime),
    deleteTime: record.deleteTime && toTimestamp(record.deleteTime),
    purgeTime: record.purgeTime && toTimestamp(record.purgeTime),
    messageCount: record.deleted ? 0 : record.messageCount,
    etag: etagOf(record),
    expiry: toExpiry(record),
    expiresAt: record.expiresAt && toTimestamp(record.expiresAt),
    forkedFrom: record.forkedFrom && {
      sessionId: idOf(record.forkedFrom.session),
      sequence: record.forkedFrom.sequence,
    },
  };
}

function toExpiry({ expireTime, idleTtlMs }: SessionRecord): Session["expiry"] {
  if (expireTime) return { $case: "expireTime", value: toTimestamp(expireTime) };
  return idleTtlMs === undefined ? undefined : { $case: "idleTtl", value: toDuration(idleTtlMs) };
}

export function toMessage(record: MessageRecord): Message {
  return {
    messageId: messageIdOf(record),
    sessionId: idOf(record.session),
    sequence: record.sequence,
    role: record.role,
    roleType: record.roleType as RoleType,
    content: record.content,
    payload: record.payload ?? EMPTY,
    payloadType: record.payloadType ?? "",
    metadata: record.metadata ?? {},
    tokenCount: record.tokenCount,
    createTime: toTimestamp(record.createTime),
    updateTime: toTimestamp(record.updateTime ?? record.addTime),
    etag: messageEtagOf(record),
    groupId: record.groupId,
  };
}

export function toSummary(record: SummaryRecord): Summary {
  return {
    content: record.content,
    recentMessageId: record.recentMessageId,
    metadata: record.metadata ?? {},
    tokenCount: record.tokenCount,
    createTime: toTimestamp(record.createTime),
  };
}

export function toUser(record: UserRecord): User {
  return {
    userId: idOf(record._id),
    uid: record.uid,
    email: record.email,
    firstName: record.firstName,
    lastName: record.lastName,
    metadata: record.metadata ?? {},
    createTime: toTimestamp(record.createTime),
    updateTime: toTimestamp(record.updateTime),
    deleteTime: record.deleteTime && toTimestamp(record.deleteTime),
    purgeTime: record.purgeTime && toTimestamp(record.purgeTime),
    sessionCount: record.sessionCount,
    etag: etagOf(record),
  };
}

export function toErasureReceipt(record: ErasureRecord): ErasureReceipt {
  return {
    receiptId: idOf(record._id),
    userIdSha256: record.userSha256,
    purgedSessions: record.sessions,
    purgedMessages: record.messages,
    requestId: record.requestId,
    requestedBy: record.requestedBy,
    beginTime: toTimestamp(record.beginTime),
    endTime: toTimestamp(record.endTime),
  };
}

export function toTimestamp(date: Date): Timestamp {
  return toDuration(date.getTime());
}

/** A time and a span of time have the same fields. */
function toDuration(milliseconds: number): Duration {
  const seconds = Math.floor(milliseconds / 1000);
  return { seconds, nanos: (milliseconds - seconds * 1000) * 1e6 };
}

/** Metadata as it is stored: nothing when it is empty. */
export function storedMetadata(metadata: JsonObject | undefined): Uint8Array | undefined {
  return metadata === undefined || Object.keys(metadata).length === 0 ? undefined : encodeStruct(metadata);
}

export function loadedMetadata(stored: Uint8Array | undefined): JsonObject {
  return stored === undefined ? {} : decodeStruct(stored);
}

/** The metadata after an update; undefined when the request has none. Throws INVALID_ARGUMENT when the result is over the limits. */
export function metadataUpdate(
  update: JsonObject | undefined,
  mode: MetadataMode,
  field = "metadata",
): ((current: Uint8Array | undefined) => JsonObject) | undefined {
  if (update === undefined) return undefined;
  return (current) => {
    const metadata = applyMetadata(loadedMetadata(current), update, modeOf(mode));
    const fault = metadataFault(metadata);
    if (fault) throw invalidFields([{ field, description: `With what is there already: ${fault}` }]);
    return metadata;
  };
}

function modeOf(mode: MetadataMode): Mode {
  if (mode === MetadataMode.METADATA_MODE_REPLACE) return "replace";
  return mode === MetadataMode.METADATA_MODE_MERGE_PATCH ? "merge-patch" : "merge";
}

const EMPTY = new Uint8Array();
