import { randomUUID } from "node:crypto";
import { DEFAULT_PROJECT, keyOf, messageKeyOf } from "../../src/domain/keys.js";
import { indexTerms } from "../../src/domain/metadata-terms.js";
import { newId } from "../../src/domain/new-id.js";
import { type MessageRecord, NO_TIME, type SessionRecord, type UserRecord } from "../../src/domain/records.js";
import { encodeStruct } from "../../src/domain/struct.js";

/** Documents as the service would have stored them. */

export interface Owned {
  readonly user?: UserRecord;
  readonly metadata?: { [key: string]: string };
}

/** One after the other, so that a listing by time has no ties to pass over. */
const FIRST_TIME = Date.UTC(2026, 0, 1);
const timeOf = (index: number): Date => new Date(FIRST_TIME + index * 10);

/** 200 characters. */
export const CONTENT = "The tram up to Alfama leaves from Martim Moniz; go early, for the queue grows by ten. "
  .repeat(3)
  .slice(0, 200);

export type Said = Pick<MessageRecord, "role" | "roleType" | "content" | "tokenCount">;
export const QUESTION: Said = { role: "Ann", roleType: 3, content: CONTENT, tokenCount: 50 };
export const ANSWER: Said = { role: "Leo", roleType: 2, content: CONTENT, tokenCount: 50 };
/** What a turn of a chat adds. */
export const TURN: readonly Said[] = [QUESTION, ANSWER];

export function sessionRecord(id: string, index: number, { user, metadata = {} }: Owned = {}): SessionRecord {
  const all = { topic: "travel", language: "en", channel: "web", ...metadata };
  return {
    _id: keyOf(DEFAULT_PROJECT, id),
    project: DEFAULT_PROJECT,
    uid: randomUUID(),
    user: user?._id,
    userEpoch: user?.epoch,
    metadata: encodeStruct(all),
    terms: indexTerms(DEFAULT_PROJECT, all),
    createTime: timeOf(index),
    updateTime: timeOf(index),
    lastMessageTime: NO_TIME,
    version: 1,
    epoch: newId(),
    messageCount: 0,
    lastSequence: 0,
    deleted: false,
  };
}

/** The session after it was given so many messages. */
export function filled(session: SessionRecord, messages: number): SessionRecord {
  return { ...session, messageCount: messages, lastSequence: messages, lastMessageTime: timeOf(messages) };
}

export function messageRecord(
  { _id, epoch }: Pick<SessionRecord, "_id" | "epoch">,
  sequence: number,
  said: Said = QUESTION,
): MessageRecord {
  return {
    _id: messageKeyOf(epoch, randomUUID()),
    session: _id,
    epoch,
    sequence,
    ...said,
    createTime: timeOf(sequence),
    addTime: timeOf(sequence),
  };
}

export function userRecord(id: string, index: number, sessionCount: number): UserRecord {
  return {
    _id: keyOf(DEFAULT_PROJECT, id),
    project: DEFAULT_PROJECT,
    uid: randomUUID(),
    email: `${id}@example.org`,
    firstName: "Ann",
    lastName: "Example",
    createTime: timeOf(index),
    updateTime: timeOf(index),
    version: 1,
    epoch: newId(),
    sessionCount,
    deleted: false,
  };
}
