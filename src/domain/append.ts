import { sameBytes } from "./bytes.js";
import { type Decision, existing, LookupNeeded, type SessionState } from "./decision.js";
import { messageIdConflict, sequenceMismatch } from "./errors.js";
import { addedTo } from "./expiry.js";
import { idOf, messageIdOf, messageKeyOf } from "./keys.js";
import { sameMetadata } from "./metadata.js";
import type { MessageRecord, SessionRecord } from "./records.js";
import { born, type MetadataChange, type NewSession, revived, touched, withoutMemory } from "./session.js";
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
  readonly groupId: string | undefined;
}

export interface Append {
  /** The session to create when there is none; its epoch also serves for an undeleted one. */
  readonly session: NewSession;
  readonly messages: readonly NewMessage[];
  /** Whether some messages have ids of the caller, so that the call may be a repetition. */
  readonly repeatable: boolean;
  readonly expectedLastSequence: number | undefined;
  /** The session's new metadata out of what it has; undefined to leave it. */
  readonly metadata: MetadataChange | undefined;
}

export interface Appended {
  readonly messages: readonly { messageId: string; sequence: number; createTime: Date }[];
  readonly created: boolean;
  readonly undeleted: boolean;
}

/**
 * Adds messages to a session, which is created or undeleted when need be. A repetition of a call changes nothing and has
 * the same result. Of a call that begins with what is there, only what follows is new.
 */
export function append(state: SessionState, input: Append): Decision<Appended> {
  const found = existing(state);
  const known = found && !found.deleted && input.repeatable ? beginning(state, found, input.messages) : [];
  if (known.length > 0 && known.length === input.messages.length) return { result: asBefore(known) };

  const key = input.session.key;
  const lastSequence = found?.lastSequence ?? 0;
  if (input.expectedLastSequence !== undefined && input.expectedLastSequence !== lastSequence) {
    if (input.repeatable && !state.messages) throw new LookupNeeded();
    throw sequenceMismatch(idOf(key), input.expectedLastSequence, lastSequence);
  }

  const base = baseOf(state, found, input);
  const sessionEffect = !found ? "created" : found.deleted ? "undeleted" : undefined;
  const onFirst: Pick<MessageRecord, "sessionEffect" | "continues"> =
    known.length > 0 ? { continues: true } : { sessionEffect };
  const inserted = input.messages.slice(known.length).map(
    (message, index): MessageRecord => ({
      ...toRecord(message, base.session, lastSequence + index + 1, state.now),
      ...(index === 0 && onFirst),
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
      messages: [...known, ...inserted].map((record) => resultOf(record)),
      created: sessionEffect === "created",
      undeleted: sessionEffect === "undeleted",
    },
    session,
    users: base.users,
    inserted,
  };
}

/** The session that is added to, with its metadata as the call leaves it. */
function baseOf(
  state: SessionState,
  found: SessionRecord | undefined,
  { session: input, metadata }: Append,
): Pick<Decision<unknown>, "users"> & { session: SessionRecord } {
  if (!found) {
    const { result, users } = born(state, input);
    return { session: { ...result, ...metadata?.(result.metadata) }, users };
  }
  if (found.deleted) {
    const { session, users } = revived(state, withoutMemory(found, input.epoch));
    return { session: { ...session, ...metadata?.(session.metadata) }, users };
  }
  return { session: metadata ? { ...touched(found, state.now), ...metadata(found.metadata) } : found };
}

/**
 * The messages that a call begins with and that are there already: the same, and in the same order, whatever lies between them. None
 * when none is there; anything else is a conflict. Deleted messages count as there: a retry must not bring them back.
 */
function beginning(
  state: SessionState,
  session: SessionRecord,
  messages: readonly NewMessage[],
): readonly MessageRecord[] {
  if (!state.messages) return [];
  const records = messages.map(({ messageId }) => state.messages?.get(messageId));
  const strange = messages.find((message, index) => {
    const record = records[index];
    return record !== undefined && !isSame(record, message);
  });
  if (strange) throw messageIdConflict(idOf(session._id), strange.messageId);
  const known = records.filter((record) => record !== undefined);
  const misplaced = known.find(
    (record, index) => record !== records[index] || record.sequence <= (known[index - 1]?.sequence ?? 0),
  );
  if (misplaced) throw messageIdConflict(idOf(session._id), messageIdOf(misplaced));
  return known;
}

/** The answer to a call whose messages are all there already, as it was the first time. */
function asBefore(known: readonly MessageRecord[]): Appended {
  const [first] = known;
  // Only the call that brought them all did anything to the session: one that came later, or went on from some, found it live.
  const isOneCall = known.every(
    ({ continues, addTime }) => !continues && addTime.getTime() === first?.addTime.getTime(),
  );
  const effect = isOneCall ? first?.sessionEffect : undefined;
  return {
    messages: known.map((record) => resultOf(record)),
    created: effect === "created",
    undeleted: effect === "undeleted",
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
    record.groupId === message.groupId &&
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
