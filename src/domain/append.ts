import { sameBytes } from "./bytes.js";
import { type Decision, existing, LookupNeeded, type SessionState } from "./decision.js";
import { messageIdConflict, sequenceMismatch } from "./errors.js";
import { addedTo } from "./expiry.js";
import { idOf, messageIdOf, messageKeyOf } from "./keys.js";
import { sameMetadata } from "./metadata.js";
import type { MessageRecord, SessionRecord } from "./records.js";
import { born, type NewSession, revived, withoutMemory } from "./session.js";
import { decodeStruct } from "./struct.js";

/** A message as its caller sends it; `messageId` is always set, whether the caller chose it or the service. */
export interface NewMessage {
  readonly messageId: string;
  readonly role: string;
  readonly roleType: number;
  readonly content: string;
  readonly payload: Uint8Array | undefined;
  readonly payloadType: string | undefined;
  readonly metadata: Uint8Array | undefined;
  readonly tokenCount: number;
  readonly createTime: Date | undefined;
}

export interface Append {
  /** The session to create when there is none; its epoch also serves for an undeleted one. */
  readonly session: NewSession;
  readonly messages: readonly NewMessage[];
  /** Whether some messages have ids of the caller, so that the call may be a repetition. */
  readonly repeatable: boolean;
  readonly expectedLastSequence: number | undefined;
}

export interface Appended {
  readonly messages: readonly { messageId: string; sequence: number; createTime: Date }[];
  readonly created: boolean;
  readonly undeleted: boolean;
}

/**
 * Adds messages to a session, which is created or undeleted when need be. A repetition of a call changes nothing and has
 * the same result.
 */
export function append(state: SessionState, input: Append): Decision<Appended> {
  const found = existing(state);
  const repeated = found && !found.deleted && input.repeatable ? repetition(state, found, input) : undefined;
  if (repeated) return { result: repeated };

  const key = input.session.key;
  const lastSequence = found?.lastSequence ?? 0;
  if (input.expectedLastSequence !== undefined && input.expectedLastSequence !== lastSequence) {
    if (input.repeatable && !state.messages) throw new LookupNeeded();
    throw sequenceMismatch(idOf(key), input.expectedLastSequence, lastSequence);
  }

  const base = baseOf(state, found, input.session);
  const sessionEffect = !found ? "created" : found.deleted ? "undeleted" : undefined;
  const inserted = input.messages.map(
    (message, index): MessageRecord => ({
      ...toRecord(message, base.session, lastSequence + index + 1, state.now),
      ...(index === 0 && { sessionEffect }),
    }),
  );
  const last = inserted.at(-1);
  const session: SessionRecord = last
    ? {
        ...addedTo(base.session, state.now),
        messageCount: base.session.messageCount + inserted.length,
        lastSequence: last.sequence,
        lastMessageTime: last.createTime,
      }
    : base.session;
  return {
    result: {
      messages: inserted.map((record) => resultOf(record)),
      created: sessionEffect === "created",
      undeleted: sessionEffect === "undeleted",
    },
    session,
    users: base.users,
    inserted,
  };
}

function baseOf(
  state: SessionState,
  found: SessionRecord | undefined,
  input: NewSession,
): Pick<Decision<unknown>, "users"> & { session: SessionRecord } {
  if (!found) {
    const { result, users } = born(state, input);
    return { session: result, users };
  }
  return found.deleted ? revived(state, withoutMemory(found, input.epoch)) : { session: found };
}

/**
 * The answer to a call whose messages are all there already, as it was the first time. Nothing when none is there. Deleted
 * messages count as there: a retry must not bring them back.
 */
function repetition(state: SessionState, session: SessionRecord, input: Append): Appended | undefined {
  if (!state.messages) return undefined;
  const records = input.messages.map(({ messageId }) => state.messages?.get(messageId));
  const known = records.filter((record) => record !== undefined);
  if (known.length === 0) return undefined;
  const strange = input.messages.find((message, index) => {
    const record = records[index];
    return record !== undefined && !isSame(record, message);
  });
  if (strange) throw messageIdConflict(idOf(session._id), strange.messageId);
  const [first] = known;
  const inOneGo = known.every(({ sequence }, index) => first && sequence === first.sequence + index);
  if (first && (known.length < records.length || !inOneGo)) {
    throw messageIdConflict(idOf(session._id), messageIdOf(first));
  }
  return {
    messages: known.map((record) => resultOf(record)),
    created: first?.sessionEffect === "created",
    undeleted: first?.sessionEffect === "undeleted",
  };
}

/**
 * Whether a call's message is the one that is stored. What UpdateMessage may have changed since is compared only while it
 * has not.
 */
function isSame(record: MessageRecord, message: NewMessage): boolean {
  return (
    record.role === message.role &&
    record.roleType === message.roleType &&
    (record.edited || saysSame(record, message)) &&
    (message.createTime === undefined
      ? record.createTime.getTime() === record.addTime.getTime()
      : record.createTime.getTime() === message.createTime.getTime()) &&
    (record.version !== undefined ||
      (record.tokenCount === message.tokenCount && sameStruct(record.metadata, message.metadata)))
  );
}

const saysSame = (record: MessageRecord, message: NewMessage): boolean =>
  record.content === message.content &&
  (record.payloadType ?? "") === (message.payloadType ?? "") &&
  sameBytes(record.payload, message.payload);

/** The same bytes are the same metadata; other bytes may be, with its keys in another order. */
const sameStruct = (a: Uint8Array | undefined, b: Uint8Array | undefined): boolean =>
  sameBytes(a, b) || (a !== undefined && a.length === b?.length && sameMetadata(decodeStruct(a), decodeStruct(b)));

function toRecord(message: NewMessage, session: SessionRecord, sequence: number, now: Date): MessageRecord {
  const { messageId, createTime, ...rest } = message;
  return {
    _id: messageKeyOf(session.epoch, messageId),
    session: session._id,
    epoch: session.epoch,
    sequence,
    ...rest,
    createTime: createTime ?? now,
    addTime: now,
  };
}

function resultOf(record: MessageRecord): Appended["messages"][number] {
  return {
    messageId: messageIdOf(record),
    sequence: record.sequence,
    createTime: record.createTime,
  };
}
