import { createHash } from "node:crypto";
import type {
  CreateUserRequest,
  Expiry,
  JsonObject,
  NewMessage,
  RoleType,
  SetSummaryRequest,
} from "../../client/index.js";

/** What a line of the file says. */
export type Imported = ImportedUser | ImportedSession | "deleted";

export interface ImportedUser {
  readonly user: CreateUserRequest;
}

/** A session, or a part of one. */
export interface ImportedSession {
  readonly sessionId: string;
  readonly userId: string | undefined;
  readonly metadata: JsonObject | undefined;
  readonly expiry: Expiry;
  readonly messages: readonly NewMessage[];
  readonly summary: Omit<SetSummaryRequest, "sessionId"> | undefined;
  /** Whether it goes on with the session of an earlier line. */
  readonly isContinued: boolean;
}

/** What is wrong with a line, for the eyes of who wrote it. */
export class LineError extends Error {
  override readonly name = "LineError";
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

/** Reads one line. Fields that an import does not know are left alone; those it knows have to be what they should. */
export function parseLine(bytes: Uint8Array): Imported {
  const record = objectOf("the line", parsed(bytes));
  if (record.session_id === undefined && record.user_id !== undefined) return { user: userOf(record) };
  // What is deleted does not come back by an import.
  if (timeOf(record, "delete_time")) return "deleted";
  return sessionOf(record);
}

function userOf(record: Fields): CreateUserRequest {
  return {
    userId: text(record, "user_id") ?? missing("user_id"),
    email: text(record, "email"),
    firstName: text(record, "first_name"),
    lastName: text(record, "last_name"),
    metadata: metadataOf(record),
  };
}

function sessionOf(record: Fields): ImportedSession {
  const sessionId = text(record, "session_id") ?? missing("session_id");
  const messages = record.messages ?? [];
  if (!Array.isArray(messages)) throw new LineError("messages is not an array");
  return {
    sessionId,
    userId: text(record, "user_id"),
    metadata: metadataOf(record),
    expiry: expiryOf(record),
    messages: messages.map((message, index) =>
      within(`messages[${index}]`, () => messageOf(objectOf("it", message), sessionId, index)),
    ),
    summary: record.summary ? within("summary", () => summaryOf(objectOf("it", record.summary))) : undefined,
    isContinued: record.continues === true,
  };
}

function summaryOf(fields: Fields): Omit<SetSummaryRequest, "sessionId"> {
  return {
    content: text(fields, "content"),
    recentMessageId: text(fields, "recent_message_id") ?? missing("recent_message_id"),
    metadata: metadataOf(fields),
    tokenCount: countOf(fields.token_count),
  };
}

type Fields = Readonly<Record<string, unknown>>;

function messageOf(fields: Fields, sessionId: string, index: number): NewMessage {
  return {
    messageId: text(fields, "message_id") ?? derivedId(sessionId, index, fields),
    role: text(fields, "role"),
    roleType: roleTypeOf(text(fields, "role_type")),
    content: text(fields, "content"),
    payload: payloadOf(text(fields, "payload")),
    payloadType: text(fields, "payload_type"),
    metadata: metadataOf(fields),
    tokenCount: countOf(fields.token_count),
    createTime: timeOf(fields, "create_time"),
    groupId: text(fields, "group_id"),
  };
}

function parsed(bytes: Uint8Array): unknown {
  let json: string;
  try {
    json = utf8.decode(bytes);
  } catch {
    throw new LineError("not UTF-8");
  }
  try {
    return JSON.parse(json);
  } catch (error) {
    throw new LineError(`not JSON (${(error as Error).message})`);
  }
}

/** An id that the same file gives again, so that a second import finds what the first one has added. */
function derivedId(sessionId: string, index: number, message: Fields): string {
  return createHash("sha256")
    .update(JSON.stringify([sessionId, index, message]))
    .digest("base64url");
}

const ROLE_TYPES: readonly RoleType[] = ["system", "assistant", "user", "function", "tool"];

/** `user` or `ROLE_TYPE_USER`. */
function roleTypeOf(name: string | undefined): RoleType | undefined {
  const short = name?.replace(/^ROLE_TYPE_/, "").toLowerCase();
  if (short === undefined || short === "unspecified") return undefined;
  return ROLE_TYPES.find((known) => known === short) ?? fail(`role_type is none of ${ROLE_TYPES.join(", ")}`);
}

/** With its zone: a time without one would mean another time on another machine. */
const RFC_3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/i;

function timeOf(fields: Fields, name: string): Date | undefined {
  const value = text(fields, name);
  if (value === undefined) return undefined;
  const date = new Date(value);
  if (!RFC_3339.test(value) || Number.isNaN(date.getTime())) fail(`${name} is not such as 2024-05-01T10:00:00Z`);
  return date;
}

/** A moment that has passed is left out: the session is imported to be there. */
function expiryOf(fields: Fields): Expiry {
  const expireTime = timeOf(fields, "expire_time");
  const idleTtl = text(fields, "idle_ttl");
  if (idleTtl !== undefined && expireTime) fail("expire_time and idle_ttl are both there");
  if (idleTtl !== undefined) return { idleTtlMs: spanOf(idleTtl) };
  return expireTime && expireTime.getTime() > Date.now() ? { expireTime } : {};
}

/** As JSON has a google.protobuf.Duration. */
function spanOf(value: string): number {
  const [, seconds, fraction = ""] =
    /^(\d{1,12})(?:\.(\d{1,9}))?s$/.exec(value) ?? fail("idle_ttl is not such as 3600s");
  return Number(seconds) * 1000 + Math.ceil(Number(fraction.padEnd(9, "0")) / 1e6);
}

function payloadOf(base64: string | undefined): Uint8Array | undefined {
  if (base64 === undefined) return undefined;
  // Buffer.from skips what is not base64.
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(base64) || base64.length % 4 !== 0) fail("payload is not base64");
  return Buffer.from(base64, "base64");
}

function countOf(value: unknown): number | undefined {
  if (value === undefined || value === null) return undefined;
  return Number.isInteger(value) ? (value as number) : fail("token_count is not a whole number");
}

function metadataOf({ metadata }: Fields): JsonObject | undefined {
  return metadata === undefined || metadata === null ? undefined : (objectOf("metadata", metadata) as JsonObject);
}

function text(fields: Fields, name: string): string | undefined {
  const value = fields[name];
  if (value === undefined || value === null) return undefined;
  return typeof value === "string" ? value : fail(`${name} is not a string`);
}

function objectOf(what: string, value: unknown): Fields {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Fields;
  return fail(`${what} is not an object`);
}

function within<T>(where: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw error instanceof LineError ? new LineError(`${where}: ${error.message}`) : error;
  }
}

const missing = (name: string): never => fail(`${name} is missing`);

function fail(message: string): never {
  throw new LineError(message);
}
