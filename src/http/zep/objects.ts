import { createHash } from "node:crypto";
import type { Timestamp } from "../../../gen/google/protobuf/timestamp.js";
import { type Message, RoleType, type Session, type Summary, type User } from "../../../gen/sessions/v1/resources.js";
import type { JsonObject } from "../../domain/json.js";
import { decodeStruct } from "../../domain/struct.js";
import { derivedUuid, uuidOf } from "./uuids.js";

/** What the API's resources look like on the legacy wire, with their keys in its order. */

/** All keys are always there. */
export interface ZepSession {
  readonly uuid: string;
  readonly id: number;
  readonly created_at: string;
  readonly updated_at: string;
  readonly deleted_at: string | null;
  readonly session_id: string;
  readonly metadata: JsonObject | null;
  readonly user_id: string | null;
}

export function toZepSession(session: Session): ZepSession {
  return {
    uuid: session.uid,
    id: sessionNumber(session),
    created_at: timeOf(session.createTime),
    updated_at: timeOf(session.updateTime),
    deleted_at: session.deleteTime ? timeOf(session.deleteTime) : null,
    session_id: session.sessionId,
    metadata: metadataOf(session) ?? null,
    user_id: session.userId ?? null,
  };
}

/** What a user does not have is left out. */
export interface ZepUser {
  readonly uuid: string;
  readonly id: number;
  readonly created_at: string;
  readonly updated_at: string;
  readonly deleted_at: string | null;
  readonly user_id: string;
  readonly email: string | undefined;
  readonly first_name: string | undefined;
  readonly last_name: string | undefined;
  readonly metadata: JsonObject | undefined;
}

export function toZepUser(user: User): ZepUser {
  return {
    uuid: user.uid,
    id: userNumber(user),
    created_at: timeOf(user.createTime),
    updated_at: timeOf(user.updateTime),
    deleted_at: user.deleteTime ? timeOf(user.deleteTime) : null,
    user_id: user.userId,
    email: user.email || undefined,
    first_name: user.firstName || undefined,
    last_name: user.lastName || undefined,
    metadata: metadataOf(user),
  };
}

export interface ZepMessage {
  readonly uuid: string;
  readonly created_at: string;
  readonly updated_at: string;
  readonly role: string;
  readonly content: string;
  readonly metadata: JsonObject | undefined;
  readonly token_count: number;
}

export function toZepMessage(message: Message): ZepMessage {
  return {
    uuid: uuidOf(message.messageId),
    created_at: timeOf(message.createTime),
    updated_at: timeOf(message.updateTime),
    role: message.role || (ROLE_NAMES[message.roleType] ?? ""),
    content: message.content,
    metadata: metadataOf(message),
    token_count: message.tokenCount,
  };
}

/** What callers of the other APIs mean who name the kind of speaker only. */
const ROLE_NAMES: Partial<Record<RoleType, string>> = {
  [RoleType.ROLE_TYPE_SYSTEM]: "system",
  [RoleType.ROLE_TYPE_ASSISTANT]: "assistant",
  [RoleType.ROLE_TYPE_USER]: "user",
  [RoleType.ROLE_TYPE_FUNCTION]: "function",
  [RoleType.ROLE_TYPE_TOOL]: "tool",
};

/** The kind of speaker that a role names, as the SDKs and LangChain spell them: the other APIs filter by it. */
export function roleTypeOf(role: string): RoleType {
  return ROLE_TYPES.get(role.toLowerCase()) ?? RoleType.ROLE_TYPE_UNSPECIFIED;
}

const ROLE_TYPES: ReadonlyMap<string, RoleType> = new Map([
  ["user", RoleType.ROLE_TYPE_USER],
  ["human", RoleType.ROLE_TYPE_USER],
  ["assistant", RoleType.ROLE_TYPE_ASSISTANT],
  ["ai", RoleType.ROLE_TYPE_ASSISTANT],
  ["system", RoleType.ROLE_TYPE_SYSTEM],
  ["function", RoleType.ROLE_TYPE_FUNCTION],
  ["tool", RoleType.ROLE_TYPE_TOOL],
]);

export interface ZepSummary {
  readonly uuid: string;
  readonly created_at: string;
  readonly content: string;
  readonly recent_message_uuid: string;
  readonly metadata: JsonObject | undefined;
  readonly token_count: number;
}

/** Summaries have no ids here: that of one follows from where it is and what makes it another one than that before it. */
export function toZepSummary(session: Session, summary: Summary): ZepSummary {
  const createdAt = timeOf(summary.createTime);
  return {
    uuid: derivedUuid(`summary/${session.uid}/${summary.recentMessageId}/${createdAt}`),
    created_at: createdAt,
    content: summary.content,
    recent_message_uuid: uuidOf(summary.recentMessageId),
    metadata: metadataOf(summary),
    token_count: summary.tokenCount,
  };
}

/** Answers to changes have metadata as it is stored, see struct.ts. */
function metadataOf({ metadata }: { metadata: JsonObject | Uint8Array | undefined }): JsonObject | undefined {
  const plain = metadata instanceof Uint8Array ? decodeStruct(metadata) : metadata;
  return plain && Object.keys(plain).length > 0 ? plain : undefined;
}

/**
 * The integer `id` of a session or a user. It never changes, and of two the one that was created later has the larger one, unless both
 * are of one millisecond: so it also says where in a listing its bearer is, to whichever process.
 */
export const sessionNumber = ({ createTime, sessionId }: Session): number => numberOf(createTime, sessionId);
export const userNumber = ({ createTime, userId }: User): number => numberOf(createTime, userId);

function numberOf(createTime: Timestamp | undefined, id: string): number {
  const sinceEpoch = Math.max(millisecondsOf(createTime) - EPOCH, 0);
  return sinceEpoch * PER_MILLISECOND + (createHash("sha1").update(id).digest().readUInt16BE() % PER_MILLISECOND);
}

/** The millisecond in which the bearer of a number was created. */
export function createTimeIn(number: number): number {
  return Math.floor(number / PER_MILLISECOND) + EPOCH;
}

/** Numbers stay such that JavaScript can hold them until 2089. */
const EPOCH = Date.UTC(2020, 0);
const PER_MILLISECOND = 4096;

function millisecondsOf(time: Timestamp | undefined): number {
  return time ? time.seconds * 1000 + time.nanos / 1e6 : 0;
}

function timeOf(time: Timestamp | undefined): string {
  return new Date(millisecondsOf(time)).toISOString();
}
