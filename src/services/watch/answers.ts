import { EventType } from "../../../gen/sessions/v1/session_service.js";
import { idOf, messageKeyOf } from "../../domain/keys.js";
import { CHUNK_BYTES } from "../../domain/limits.js";
import type { MessageRecord, SessionRecord } from "../../domain/records.js";
import type { EventKind } from "../../domain/watching/events.js";
import type { RawDocument } from "../../store/raw.js";
import type { WantedMessage, WatchReader } from "../../store/watching/reads.js";
import { messageBytes, storedSessionBytes, writeMessage, writeSession } from "../encode.js";
import { WireWriter } from "../wire-writer.js";
import type { Told } from "./told.js";
import type { Entry } from "./watcher.js";

/**
 * What an event is answered with, from some part of it on: the same for all who are told of it at about the same time. It is made when it
 * is sent, of what is there then, and not used any more a little later: what was deleted or redacted meanwhile must not go out.
 */
export interface Answer {
  /** The parts behind it. */
  readonly parts: number;
  /** Without the token, which is each watcher's own. */
  readonly bytes: Buffer;
  /** The same for those who are not to see more than that something has happened. */
  readonly bare: Buffer;
  /** The user whose the session is now; "" for nobody's, undefined when there is none. */
  readonly ownerNow: string | undefined;
}

export interface Answers {
  /** The answer to the first of these events, whose followers are likely to be asked for next. */
  next(entries: readonly Entry[]): Promise<Answer>;
}

/** For how long what was read is passed on without a look whether it is still there; as listings have it. */
const FRESH_MS = 100;

/** What is read at a time, for all that ask at the same time. */
const MESSAGES_AT_A_TIME = 500;
const BYTES_AT_A_TIME = 2 * 1024 * 1024;

/** How many such reads are under way: thousands who are slow read each for themselves, and must not take all connections for it. */
const READS_AT_A_TIME = 4;

interface Wanted {
  readonly told: Told;
  readonly from: number;
  /** The part behind the last one that is read for it. */
  readonly to: number;
  readonly bytes: number;
  settle(answer: Answer): void;
  fail(error: unknown): void;
}

export function createAnswers(reader: WatchReader): Answers {
  let wanted: Wanted[] = [];

  const answerTo = (told: Told, from: number): Promise<Answer> => {
    const known = told.answers.get(from) as Promise<Answer> | undefined;
    if (known) return known;
    const answer = new Promise<Answer>((settle, fail) => {
      if (wanted.length === 0) setImmediate(readWanted);
      wanted.push({ told, from, ...rangeOf(told, from), settle, fail });
    });
    told.answers.set(from, answer);
    const forget = (): void => void setTimeout(() => told.answers.delete(from), FRESH_MS).unref();
    answer.then(forget, () => told.answers.delete(from));
    return answer;
  };

  const portions: Wanted[][] = [];
  let reading = 0;

  const readWanted = (): void => {
    portions.push(...portionsOf(wanted));
    wanted = [];
    readNext();
  };

  const readNext = (): void => {
    while (reading < READS_AT_A_TIME && portions.length > 0) {
      const some = portions.shift() as Wanted[];
      reading += 1;
      read(some)
        .catch((error: unknown) => {
          for (const { fail } of some) fail(error);
        })
        .finally(() => {
          reading -= 1;
          readNext();
        });
    }
  };

  const read = async (some: readonly Wanted[]): Promise<void> => {
    const messagesOf = ({ told, from, to }: Wanted): WantedMessage[] =>
      hasContents(told.kind) ? told.messages.slice(from, to).map((ref) => ({ ...ref, session: told.session })) : [];
    const keys = new Set(some.flatMap(({ told }) => (told.kind === "purged" ? [] : [told.session])));
    const messages = some.flatMap(messagesOf);
    const [sessions, found] = await Promise.all([
      keys.size > 0 ? reader.sessions([...keys]) : undefined,
      messages.length > 0 ? reader.messages(messages) : NOTHING,
    ]);
    for (const { told, from, to, settle } of some) {
      settle(encoded(told, { from, to, now: sessions?.get(told.session), messages: found }));
    }
  };

  return {
    next([first, ...followers]) {
      const { told, parts } = first as Entry;
      const answer = answerTo(told, parts);
      let bytes = told.bytes;
      for (const { told, parts } of followers) {
        bytes += told.bytes;
        if (bytes > CHUNK_BYTES) break;
        answerTo(told, parts).catch(() => {});
      }
      return answer;
    },
  };
}

const NOTHING: ReadonlyMap<string, RawDocument<MessageRecord>> = new Map();

/** Which parts are read together: those that are about a chunk, as far as that is known. */
function rangeOf({ kind, messages }: Told, from: number): { to: number; bytes: number } {
  let to = from;
  let bytes = 0;
  while (to < messages.length && (to === from || bytes < CHUNK_BYTES) && to - from < MESSAGES_AT_A_TIME) {
    bytes += hasContents(kind) ? (messages[to]?.bytes ?? 0) : 0;
    to += 1;
  }
  return { to, bytes };
}

function portionsOf(wanted: readonly Wanted[]): Wanted[][] {
  const portions: Wanted[][] = [];
  let messages = 0;
  let bytes = 0;
  for (const one of wanted) {
    messages += one.to - one.from + 1;
    bytes += one.bytes;
    const portion = portions.at(-1);
    if (portion && messages <= MESSAGES_AT_A_TIME && bytes <= BYTES_AT_A_TIME) {
      portion.push(one);
    } else {
      portions.push([one]);
      messages = one.to - one.from + 1;
      bytes = one.bytes;
    }
  }
  return portions;
}

interface Contents {
  readonly from: number;
  readonly to: number;
  /** The session as it is now. */
  readonly now: RawDocument<SessionRecord> | undefined;
  readonly messages: ReadonlyMap<string, RawDocument<MessageRecord>>;
}

function encoded(told: Told, contents: Contents): Answer {
  const now = contents.now?.fields();
  const epoch = now && !now.purging && !now.deleted ? now.epoch.toString() : undefined;
  const refs = told.messages.slice(contents.from, contents.to);
  const found: RawDocument<MessageRecord>[] = [];
  let bytes = 0;
  let parts = 0;
  for (const ref of refs) {
    const message = ref.epoch === epoch ? contents.messages.get(messageKeyOf(ref.epoch, ref.messageId)) : undefined;
    if (message) {
      if (bytes > 0 && bytes + message.size > CHUNK_BYTES) break;
      bytes += message.size;
      found.push(message);
    }
    parts += 1;
  }
  const ids = refs.slice(0, parts).map(({ messageId }) => messageId);
  const record = now && !now.purging && told.kind !== "purged" ? sessionFor(told, now.uid) : undefined;
  return {
    parts: refs.length === 0 ? told.parts : contents.from + parts,
    bytes: written(told, ids, record, found),
    bare: written(told, ids, undefined, []),
    ownerNow: now && (now.user?.toString() ?? ""),
  };
}

/** The session as the event has left it, unless it has been erased since: what has its id then is another. */
function sessionFor({ record }: Told, uid: Buffer): RawDocument<SessionRecord> | undefined {
  return record?.pick("uid").uid?.equals(uid) ? record : undefined;
}

function written(
  told: Told,
  ids: readonly string[],
  session: RawDocument<SessionRecord> | undefined,
  messages: readonly RawDocument<MessageRecord>[],
): Buffer {
  const out = new WireWriter(
    messages.reduce((sum, message) => sum + messageBytes(message), 200 + (session ? storedSessionBytes(session) : 0)),
  );
  out.integer(1, TYPES[told.kind]);
  out.text(2, idOf(told.session));
  if (session) writeSession(out, 3, session.fields());
  for (const message of messages) writeMessage(out, 4, message);
  for (const id of ids) out.encoded(5, Buffer.from(id));
  out.time(7, told.clock);
  return out.finish();
}

const hasContents = (kind: EventKind): boolean => kind === "messages added" || kind === "messages updated";

const TYPES: Readonly<Record<EventKind, EventType>> = {
  created: EventType.EVENT_TYPE_SESSION_CREATED,
  updated: EventType.EVENT_TYPE_SESSION_UPDATED,
  deleted: EventType.EVENT_TYPE_SESSION_DELETED,
  undeleted: EventType.EVENT_TYPE_SESSION_UNDELETED,
  purged: EventType.EVENT_TYPE_SESSION_PURGED,
  "messages added": EventType.EVENT_TYPE_MESSAGES_ADDED,
  "messages updated": EventType.EVENT_TYPE_MESSAGE_UPDATED,
  "messages deleted": EventType.EVENT_TYPE_MESSAGE_DELETED,
  "memory cleared": EventType.EVENT_TYPE_MEMORY_CLEARED,
  "summary set": EventType.EVENT_TYPE_SUMMARY_SET,
};

/** The whole answer of one watcher. */
export function withToken(answer: Buffer, token: string): Buffer {
  const out = new WireWriter(answer.length + token.length + 8);
  out.fields(answer);
  out.text(6, token);
  return out.finish();
}

export function watching(token: string): Buffer {
  const out = new WireWriter(token.length + 8);
  out.integer(1, EventType.EVENT_TYPE_WATCHING);
  out.text(6, token);
  return out.finish();
}
