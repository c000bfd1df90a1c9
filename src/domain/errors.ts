import { DEFAULT_PROJECT } from "./keys.js";
import type { Role } from "./principal.js";

/** The status codes that a domain error can have, by their gRPC names. */
export type ErrorCode =
  | "INVALID_ARGUMENT"
  | "NOT_FOUND"
  | "ALREADY_EXISTS"
  | "FAILED_PRECONDITION"
  | "ABORTED"
  | "OUT_OF_RANGE"
  | "RESOURCE_EXHAUSTED"
  | "UNAVAILABLE"
  | "DEADLINE_EXCEEDED"
  | "UNAUTHENTICATED"
  | "PERMISSION_DENIED"
  | "UNIMPLEMENTED"
  | "INTERNAL";

/** The names of `sessions.v1.ErrorReason` without their prefix. */
export type ErrorReason =
  | "SESSION_NOT_FOUND"
  | "SESSION_ALREADY_EXISTS"
  | "SESSION_SOFT_DELETED"
  | "SESSION_NOT_DELETED"
  | "USER_NOT_FOUND"
  | "USER_ALREADY_EXISTS"
  | "USER_NOT_DELETED"
  | "MESSAGE_NOT_FOUND"
  | "MESSAGE_ID_CONFLICT"
  | "SEQUENCE_MISMATCH"
  | "MEMORY_NOT_RESTORABLE"
  | "ETAG_MISMATCH"
  | "INVALID_FIELD"
  | "INVALID_CURSOR"
  | "STORAGE_UNAVAILABLE"
  | "DEADLINE_EXCEEDED"
  | "SHUTTING_DOWN"
  | "OVERLOADED"
  | "UNAUTHENTICATED"
  | "PERMISSION_DENIED"
  | "RATE_LIMITED"
  | "KEY_NOT_FOUND"
  | "KEY_SET_UNAVAILABLE"
  | "UNIMPLEMENTED"
  | "SCOPE_TOO_LARGE"
  | "EMBEDDINGS_NOT_CONFIGURED"
  | "EMBEDDINGS_UNAVAILABLE"
  | "TOO_MANY_MESSAGES"
  | "SUMMARY_SUPERSEDED"
  | "RESUME_TOKEN_EXPIRED"
  | "WATCHER_TOO_SLOW"
  | "INTERNAL";

export interface Violation {
  /** The field's path in the request, as the proto spells it: `messages[3].metadata`. */
  readonly field: string;
  /** What is wrong and what to do, for the caller's eyes. */
  readonly description: string;
}

/**
 * The one error that callers may see. Its message and metadata reach the client as they are; the cause is for the log
 * and never sent.
 */
export class SessionsError extends Error {
  override readonly name = "SessionsError";
  readonly code: ErrorCode;
  readonly reason: ErrorReason;
  readonly metadata: Readonly<Record<string, string>>;
  readonly violations: readonly Violation[];
  /** After how long it is worth to try again, where that is known. */
  readonly retryAfterMs: number | undefined;

  constructor(
    code: ErrorCode,
    reason: ErrorReason,
    message: string,
    metadata: Readonly<Record<string, string>> = {},
    violations: readonly Violation[] = [],
    options: ErrorOptions & { readonly retryAfterMs?: number } = {},
  ) {
    super(message, options);
    this.retryAfterMs = options.retryAfterMs;
    this.code = code;
    this.reason = reason;
    this.metadata = metadata;
    this.violations = violations;
  }
}

export const sessionNotFound = (sessionId: string) =>
  new SessionsError("NOT_FOUND", "SESSION_NOT_FOUND", `There is no live session ${quote(sessionId)}.`, {
    session_id: sessionId,
  });

export const sessionAlreadyExists = (sessionId: string) =>
  new SessionsError("ALREADY_EXISTS", "SESSION_ALREADY_EXISTS", `Session ${quote(sessionId)} exists already.`, {
    session_id: sessionId,
  });

export const sessionSoftDeleted = (sessionId: string) =>
  new SessionsError(
    "ALREADY_EXISTS",
    "SESSION_SOFT_DELETED",
    `Session ${quote(sessionId)} is soft-deleted: undelete it, purge it, or add memory to it.`,
    { session_id: sessionId },
  );

export const sessionNotDeleted = (sessionId: string) =>
  new SessionsError("ALREADY_EXISTS", "SESSION_NOT_DELETED", `Session ${quote(sessionId)} is live.`, {
    session_id: sessionId,
  });

export const userNotFound = (userId: string) =>
  new SessionsError("NOT_FOUND", "USER_NOT_FOUND", `There is no live user ${quote(userId)}.`, { user_id: userId });

export const userNotUsable = (userId: string) =>
  new SessionsError(
    "FAILED_PRECONDITION",
    "USER_NOT_FOUND",
    `There is no live user ${quote(userId)} whom the session could belong to: create or undelete the user first.`,
    { user_id: userId },
  );

export const userAlreadyExists = (userId: string) =>
  new SessionsError(
    "ALREADY_EXISTS",
    "USER_ALREADY_EXISTS",
    `User ${quote(userId)} exists already, live or soft-deleted.`,
    { user_id: userId },
  );

export const userNotDeleted = (userId: string) =>
  new SessionsError("ALREADY_EXISTS", "USER_NOT_DELETED", `User ${quote(userId)} is live.`, { user_id: userId });

export const messageNotFound = (
  sessionId: string,
  messageId: string,
  code: "NOT_FOUND" | "FAILED_PRECONDITION" = "NOT_FOUND",
) =>
  new SessionsError(
    code,
    "MESSAGE_NOT_FOUND",
    `Session ${quote(sessionId)} has no live message ${quote(messageId)} in its memory.`,
    { session_id: sessionId, message_id: messageId },
  );

export const messageIdConflict = (sessionId: string, messageId: string) =>
  new SessionsError(
    "ALREADY_EXISTS",
    "MESSAGE_ID_CONFLICT",
    `Session ${quote(sessionId)} has a message ${quote(messageId)} already, and this call neither repeats the one that added it nor goes on from what is there: use new message ids.`,
    { session_id: sessionId, message_id: messageId },
  );

export const sequenceMismatch = (sessionId: string, expected: number, actual: number) =>
  new SessionsError(
    "ABORTED",
    "SEQUENCE_MISMATCH",
    `The last sequence of session ${quote(sessionId)} is ${actual}, not ${expected}; deleted and cleared messages count too. Read its memory again, decide anew, and expect ${actual}.`,
    { session_id: sessionId, expected_last_sequence: String(expected), last_sequence: String(actual) },
  );

export const memoryNotRestorable = (of: { session_id: string } | { user_id: string }) =>
  new SessionsError(
    "FAILED_PRECONDITION",
    "MEMORY_NOT_RESTORABLE",
    "The erasure of this memory has begun, so it cannot be restored in full. Undelete without restoring it.",
    of,
  );

export const tooManyMessages = (sessionId: string, max: number) =>
  new SessionsError(
    "FAILED_PRECONDITION",
    "TOO_MANY_MESSAGES",
    `More than ${max} messages of session ${quote(sessionId)} are later than that, and one call takes away so many at most: rewind in several steps, the last messages first, or clear the memory.`,
    { session_id: sessionId, max_messages: String(max) },
  );

export const summarySuperseded = (sessionId: string, messageId: string, storedMessageId: string) =>
  new SessionsError(
    "ABORTED",
    "SUMMARY_SUPERSEDED",
    `Session ${quote(sessionId)} has a summary that reaches further, to message ${quote(storedMessageId)}: this one, to ${quote(messageId)}, comes too late.`,
    { session_id: sessionId, recent_message_id: messageId, stored_recent_message_id: storedMessageId },
  );

export const etagMismatch = (
  of: { session_id: string } | { session_id: string; message_id: string } | { user_id: string },
  etag: string,
) =>
  new SessionsError(
    "ABORTED",
    "ETAG_MISMATCH",
    `The etag ${quote(etag)} is no longer the current one: read the resource again and decide anew.`,
    { ...of, etag },
  );

/** `atMost`: what of it there is too much of, and how much of that may be. */
export const scopeTooLarge = (
  scope: { session_id: string } | { user_id: string },
  messages: number,
  atMost: { max_messages: string } | { max_index_mib: string },
) =>
  new SessionsError(
    "RESOURCE_EXHAUSTED",
    "SCOPE_TOO_LARGE",
    "user_id" in scope
      ? `The sessions of user ${quote(scope.user_id)} have more to search in (${messages} messages) than this service keeps an index of: search in one session instead, by session_id.`
      : `Session ${quote(scope.session_id)} has more to search in (${messages} messages) than this service keeps an index of: read it with ListMessages, or have SESSIONS_SEARCH_CACHE_MIB raised.`,
    { ...scope, messages: String(messages), ...atMost },
  );

export const embeddingsNotConfigured = () =>
  new SessionsError(
    "FAILED_PRECONDITION",
    "EMBEDDINGS_NOT_CONFIGURED",
    "This service has no embeddings endpoint, which semantic and hybrid search need: search lexically, or leave the mode unspecified.",
  );

export const embeddingsUnavailable = (cause: unknown, retryAfterMs: number) =>
  new SessionsError(
    "UNAVAILABLE",
    "EMBEDDINGS_UNAVAILABLE",
    "The embeddings endpoint, which semantic search needs, does not tell what the text means now: try again later, or search lexically.",
    {},
    [],
    { cause, retryAfterMs: Math.ceil(retryAfterMs) },
  );

/** All that is wrong, as far as the headers that carry an error have room for it: they hold 8 KiB in many a client. */
export const invalidFields = (violations: readonly Violation[]) => {
  let room = VIOLATION_CHARACTERS;
  const shown = violations.filter(({ field, description }) => {
    room -= field.length + description.length;
    return room >= 0;
  });
  const more = violations.length - shown.length;
  if (more > 0) shown.push({ field: "request", description: `There are ${more} more faults.` });
  return new SessionsError(
    "INVALID_ARGUMENT",
    "INVALID_FIELD",
    shown.map(({ field, description }) => `${field}: ${description}`).join(" "),
    { fields: shown.map(({ field }) => field).join(","), ...(more > 0 && { more: String(more) }) },
    shown,
  );
};

const VIOLATION_CHARACTERS = 2_000;

export const invalidCursor = () =>
  notOurs(
    "cursor",
    "Not a cursor of this listing. Send a next_cursor back unchanged, with the same filters and order, or none.",
  );

export const invalidResumeToken = () =>
  notOurs(
    "resume_token",
    "Not a token of this stream. Send a resume_token back unchanged, with the same filter, or none.",
  );

const notOurs = (field: string, description: string) =>
  new SessionsError("INVALID_ARGUMENT", "INVALID_CURSOR", `${field}: ${description}`, { fields: field }, [
    { field, description },
  ]);

export const resumeTokenExpired = () =>
  new SessionsError(
    "OUT_OF_RANGE",
    "RESUME_TOKEN_EXPIRED",
    "What has happened since cannot be told in full any more: list anew, and watch from then on.",
  );

export const watcherTooSlow = (maxBytes: number) =>
  new SessionsError(
    "RESOURCE_EXHAUSTED",
    "WATCHER_TOO_SLOW",
    "This watcher does not keep up with what happens: go on from the last resume_token.",
    { max_bytes: String(maxBytes) },
  );

export const storageUnavailable = (cause: unknown) =>
  new SessionsError(
    "UNAVAILABLE",
    "STORAGE_UNAVAILABLE",
    "The database cannot be reached or did not answer in time. A write may or may not have happened.",
    {},
    [],
    { cause },
  );

export const deadlineExceeded = (cause?: unknown) =>
  new SessionsError(
    "DEADLINE_EXCEEDED",
    "DEADLINE_EXCEEDED",
    "The deadline passed before the answer was there. A write may or may not have happened.",
    {},
    [],
    { cause },
  );

export const requestTooSlow = (bytes: number, withinMs: number) =>
  new SessionsError(
    "DEADLINE_EXCEEDED",
    "DEADLINE_EXCEEDED",
    `Neither the rest of the request nor ${bytes} bytes of it arrived within ${withinMs} ms. Nothing was done.`,
  );

export const readerTooSlow = (withinMs: number) =>
  new SessionsError(
    "RESOURCE_EXHAUSTED",
    "OVERLOADED",
    `Nothing of this stream was read for ${withinMs} ms, and its place is wanted by others: go on from the last cursor.`,
    { limited: "pause", max: String(withinMs) },
  );

export const overloaded = (what: "calls" | "streams" | "watchers" | "request bytes" | "unknown keys", max: number) =>
  new SessionsError(
    "RESOURCE_EXHAUSTED",
    "OVERLOADED",
    `This server has ${max} ${what} in flight, as many as it takes. Nothing was done: try again later, or at another one.`,
    { limited: what, max: String(max) },
  );

export const rateLimited = (project: string, max: number, retryAfterMs: number) =>
  new SessionsError(
    "RESOURCE_EXHAUSTED",
    "RATE_LIMITED",
    `Project ${quote(project)} makes more than the ${max} calls a second that it may. Nothing was done: try again a little later.`,
    { project, max: String(max) },
    [],
    { retryAfterMs },
  );

/** `credential` is what was shown. The cause is for the log. */
export const unauthenticated = (credential: "none" | "key" | "token", message: string, cause?: unknown) =>
  new SessionsError("UNAUTHENTICATED", "UNAUTHENTICATED", message, { credential }, [], { cause });

export const roleRequired = (role: Role, required: Role) =>
  new SessionsError(
    "PERMISSION_DENIED",
    "PERMISSION_DENIED",
    `This takes the role ${required}, and the credential has the role ${role}.`,
    { role, required_role: required },
  );

export const keySetUnavailable = (cause: unknown) =>
  new SessionsError(
    "UNAVAILABLE",
    "KEY_SET_UNAVAILABLE",
    "The token names a key that is not known here, and its issuer's keys cannot be fetched now. Nothing was done.",
    {},
    [],
    { cause },
  );

export const methodClosed = (role: Role) =>
  new SessionsError("PERMISSION_DENIED", "PERMISSION_DENIED", "No role may call this method.", { role });

export const unimplemented = (message: string, metadata: Readonly<Record<string, string>> = {}) =>
  new SessionsError("UNIMPLEMENTED", "UNIMPLEMENTED", message, metadata);

export const unknownMethod = (method: string) =>
  unimplemented(`There is no method ${quote(method)} here.`, { method: method.slice(0, QUOTED_METHOD) });

export const unknownCompression = (encoding: string) =>
  unimplemented(`The request is compressed with ${quote(encoding)}, which is not known here.`, {
    encoding: encoding.slice(0, QUOTED_METHOD),
  });

export const otherProject = (project: string) =>
  new SessionsError(
    "PERMISSION_DENIED",
    "PERMISSION_DENIED",
    `Only an admin of the project ${quote(DEFAULT_PROJECT)} may name another project than the credential's own, such as ${quote(project)}.`,
    { project },
  );

export const otherUser = (userId: string) =>
  new SessionsError(
    "PERMISSION_DENIED",
    "PERMISSION_DENIED",
    userId === ""
      ? "This credential is bound to a user: it cannot take a session away from them."
      : `This credential is bound to another user than ${quote(userId)}: name that one, or none.`,
    { user_id: userId },
  );

export const keyNotFound = (keyId: string) =>
  new SessionsError("NOT_FOUND", "KEY_NOT_FOUND", `The project has no key ${quote(keyId)}.`, { key_id: keyId });

export const shuttingDown = () =>
  new SessionsError("UNAVAILABLE", "SHUTTING_DOWN", "This server is shutting down: try again, here or at another one.");

/**
 * In messages ids are quoted as JSON, so that odd ones can be told from the text around them, and long ones are cut: each byte
 * of a message may take three on its way, and an error's metadata has them whole.
 */
const quote = (text: string) => {
  const start = [...text.slice(0, 2 * QUOTED_CODE_POINTS)].slice(0, QUOTED_CODE_POINTS).join("");
  return JSON.stringify(start.length < text.length ? `${start}…` : text);
};

const QUOTED_CODE_POINTS = 40;

/** What a caller can make as long as headers may be. */
const QUOTED_METHOD = 256;
