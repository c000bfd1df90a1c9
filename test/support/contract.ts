import { randomUUID } from "node:crypto";
import type { Timestamp } from "../../gen/google/protobuf/timestamp.js";
import { type Failure, failure } from "./api.js";

/** What the contract tests have in common: fresh ids, the errors of the contract, waiting. */

/** An id that no other test has. */
export const newId = (name = "id"): string => `${name}-${randomUUID()}`;

/** Messages of these texts. */
export const texts = (...contents: string[]) => contents.map((content) => ({ content }));

/** Messages with these ids, each with its id as its text. */
export const withIds = (...ids: string[]) => ids.map((messageId) => ({ messageId, content: messageId }));

/** A timestamp in milliseconds. */
export function millis(time: Timestamp | undefined): number {
  if (time === undefined) throw new Error("the time is not set");
  return time.seconds * 1000 + time.nanos / 1e6;
}

export const timestamp = (ms: number): Timestamp => {
  const seconds = Math.floor(ms / 1000);
  return { seconds, nanos: (ms - seconds * 1000) * 1e6 };
};

export type Refusal = Pick<Failure, "code" | "reason" | "domain" | "metadata" | "fields">;

/** How a call is refused: all that a program can go by. Fails when the call succeeds. */
export async function refusal(outcome: Promise<unknown>): Promise<Refusal> {
  const { code, reason, domain, metadata, fields } = await failure(outcome);
  return { code, reason, domain, metadata, fields };
}

const refused = (code: string, reason: string, metadata: Record<string, string>): Refusal => ({
  code,
  reason,
  domain: "sessions.v1",
  metadata,
  fields: [],
});

/** INVALID_ARGUMENT that names exactly these fields. */
export const invalid = (...fields: string[]): Refusal => ({
  ...refused("INVALID_ARGUMENT", "INVALID_FIELD", { fields: fields.join(",") }),
  fields,
});

export const invalidCursor: Refusal = {
  ...refused("INVALID_ARGUMENT", "INVALID_CURSOR", { fields: "cursor" }),
  fields: ["cursor"],
};

export const sessionNotFound = (id: string) => refused("NOT_FOUND", "SESSION_NOT_FOUND", { session_id: id });
export const sessionExists = (id: string) => refused("ALREADY_EXISTS", "SESSION_ALREADY_EXISTS", { session_id: id });
export const sessionSoftDeleted = (id: string) => refused("ALREADY_EXISTS", "SESSION_SOFT_DELETED", { session_id: id });
export const sessionNotDeleted = (id: string) => refused("ALREADY_EXISTS", "SESSION_NOT_DELETED", { session_id: id });
export const userNotFound = (id: string) => refused("NOT_FOUND", "USER_NOT_FOUND", { user_id: id });
export const userNotUsable = (id: string) => refused("FAILED_PRECONDITION", "USER_NOT_FOUND", { user_id: id });
export const userExists = (id: string) => refused("ALREADY_EXISTS", "USER_ALREADY_EXISTS", { user_id: id });
export const userNotDeleted = (id: string) => refused("ALREADY_EXISTS", "USER_NOT_DELETED", { user_id: id });
export const messageNotFound = (sessionId: string, messageId: string) =>
  refused("NOT_FOUND", "MESSAGE_NOT_FOUND", { session_id: sessionId, message_id: messageId });
export const messageNotUsable = (sessionId: string, messageId: string) =>
  refused("FAILED_PRECONDITION", "MESSAGE_NOT_FOUND", { session_id: sessionId, message_id: messageId });
export const messageConflict = (sessionId: string, messageId: string) =>
  refused("ALREADY_EXISTS", "MESSAGE_ID_CONFLICT", { session_id: sessionId, message_id: messageId });
export const sequenceMismatch = (sessionId: string, expected: number, actual: number) =>
  refused("ABORTED", "SEQUENCE_MISMATCH", {
    session_id: sessionId,
    expected_last_sequence: String(expected),
    last_sequence: String(actual),
  });
export const memoryNotRestorable = (of: { session_id: string } | { user_id: string }) =>
  refused("FAILED_PRECONDITION", "MEMORY_NOT_RESTORABLE", of);
export const tooManyMessages = (sessionId: string) =>
  refused("FAILED_PRECONDITION", "TOO_MANY_MESSAGES", { session_id: sessionId, max_messages: "1000" });
export const summarySuperseded = (sessionId: string, messageId: string, storedMessageId: string) =>
  refused("ABORTED", "SUMMARY_SUPERSEDED", {
    session_id: sessionId,
    recent_message_id: messageId,
    stored_recent_message_id: storedMessageId,
  });
export const etagMismatch = (of: { session_id: string; message_id?: string } | { user_id: string }, etag: string) =>
  refused("ABORTED", "ETAG_MISMATCH", { ...of, etag });

/** Lets the clocks go on, which count in milliseconds, so that what comes next is later than what was before. */
export const aMoment = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));

/** Waits until the condition holds, and fails when it does not within the time. */
export async function until(condition: () => Promise<boolean>, withinMs = 120_000): Promise<void> {
  const deadline = Date.now() + withinMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`it did not come true within ${withinMs} ms: ${condition}`);
    await aMoment();
  }
}
