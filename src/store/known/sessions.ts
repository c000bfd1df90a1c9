import type { MessageRecord, SessionRecord } from "../../domain/records.js";
import { RawDocument } from "../raw.js";
import { compacted, type EncodeMessages, extended, type KnownMemory, sizeOf } from "./memory.js";

/**
 * What this process knows of sessions: of live ones how it has left them by its own last transaction, and the newest messages that
 * it has read or written. Others may have changed a session since, so nothing of it counts until the database has shown that it is
 * so still: for a change its own write, see assumption.ts, and for an answer the session document, see {@link KnownMemory}. So all of
 * it can be dropped at any time.
 */
export interface KnownSessions {
  /** The session as the last transaction of this process has left it. */
  state(key: string): SessionRecord | undefined;
  /** Notes what a transaction that was committed has left or found, and the messages of its current memory that it has added. */
  learn(session: SessionRecord, added: readonly MessageRecord[]): void;
  /** The newest messages of the session, as they were last seen. */
  memory(key: string): KnownMemory | undefined;
  /** Notes what was read of a memory for one who asked for so many messages. */
  keep(key: string, memory: KnownMemory, asked: number): void;
  /** For transactions of which nobody knows whether they were committed. */
  forgetState(key: string): void;
  /** For a session that another process has changed: it may well go on doing so, and to read is cheaper than to be wrong. */
  distrust(key: string): void;
  /** For sessions that are gone. */
  forget(key: string): void;
  /** How many sessions are known, and about what their memories take. */
  size(): { readonly sessions: number; readonly bytes: number };
}

export interface KnownLimits {
  /** What memories may take of this process's own; 0 keeps none. */
  readonly memoryBytes: number;
  /** How many messages of a session readers usually ask for. */
  readonly usualWindow: number;
}

interface Known {
  readonly state: SessionRecord | undefined;
  readonly memory: KnownMemory | undefined;
  /** The most messages that a reader has asked for: what is kept beyond would be kept for nobody. */
  readonly asked: number;
  readonly bytes: number;
}

/** Those of whose memory nothing is kept. */
const MAX_BARE_SESSIONS = 10_000;
const DISTRUST_MS = 10_000;

/** One memory may have this part of the room for all: a huge one does not push out all others. */
const LARGEST_SHARE = 1 / 16;

export function createKnownSessions({ memoryBytes, usualWindow }: KnownLimits, encode: EncodeMessages): KnownSessions {
  /** The one used last comes last, as maps give their keys in the order in which they were put in. */
  const all = new Map<string, Known>();
  const distrusted = new Map<string, number>();
  const largest = memoryBytes * LARGEST_SHARE;
  let bytes = 0;
  let bare = 0;

  const count = (known: Known, by: 1 | -1): void => {
    bytes += by * known.bytes;
    if (!known.memory) bare += by;
  };

  const remove = (key: string): Known | undefined => {
    const known = all.get(key);
    if (known) count(known, -1);
    all.delete(key);
    return known;
  };

  const put = (key: string, { state, memory, asked }: Omit<Known, "bytes">): void => {
    const kept = memory && compacted(memory, { messages: asked, bytes: largest });
    if (!state && !kept) return;
    const known = { state, memory: kept, asked, bytes: kept ? sizeOf(kept) : 0 };
    all.set(key, known);
    count(known, 1);
    for (const oldest of all.keys()) {
      if (bytes <= memoryBytes && bare <= MAX_BARE_SESSIONS) return;
      remove(oldest);
    }
  };

  /** What is known of the memory that the session has now. */
  const withAdded = (
    before: KnownMemory | undefined,
    session: SessionRecord,
    added: readonly MessageRecord[],
  ): KnownMemory | undefined => {
    const { epoch, memoryVersion: version = 0, messageCount } = session;
    // The session may be known less well than its memory, which was read later.
    const memory = before?.epoch === epoch && before.version >= version ? before : undefined;
    const [first, last] = [added[0], added.at(-1)];
    if (!first || !last || largest === 0 || added.reduce(sumOfBytes, 0) > largest) return memory;
    const fresh = () => ({
      epoch,
      version,
      from: messageCount === added.length ? 0 : first.sequence - 1,
      to: 0,
      runs: [],
    });
    if (memory && memory.to !== first.sequence - 1) return memory;
    return extended(memory ?? fresh(), { to: last.sequence, run: encode(added.map(RawDocument.of)) });
  };

  const forgetState = (key: string): void => {
    const before = remove(key);
    if (before) put(key, { ...before, state: undefined });
  };

  return {
    state: (key) => all.get(key)?.state,
    learn(session, added) {
      const { _id: key } = session;
      const before = remove(key);
      if (session.deleted || session.purging) return;
      put(key, {
        state: (distrusted.get(key) ?? 0) > Date.now() ? undefined : withoutBulk(session),
        memory: withAdded(before?.memory, session, added),
        asked: before?.asked ?? usualWindow,
      });
    },
    memory: (key) => all.get(key)?.memory,
    keep(key, read, asked) {
      if (sizeOf(read) > largest) return;
      const before = remove(key);
      const memory = before?.memory && isBetter(before.memory, read) ? before.memory : read;
      put(key, { state: before?.state, memory, asked: Math.max(asked, before?.asked ?? usualWindow) });
    },
    forgetState,
    distrust(key) {
      forgetState(key);
      distrusted.delete(key);
      distrusted.set(key, Date.now() + DISTRUST_MS);
      const [oldest] = distrusted.keys();
      if (distrusted.size > MAX_BARE_SESSIONS && oldest !== undefined) distrusted.delete(oldest);
    },
    forget: (key) => void remove(key),
    size: () => ({ sessions: all.size, bytes }),
  };
}

/**
 * Of two reads of a memory that were under way at a time: the one of the newer version, and else the one that reaches further back,
 * for what has come since is read anyway. Not one after which far more has come than was read: it could not be added to any more, and
 * would be in the way for ever.
 */
function isBetter(kept: KnownMemory, read: KnownMemory): boolean {
  if (kept.epoch !== read.epoch || kept.to < read.from) return false;
  if (kept.version !== read.version) return kept.version > read.version;
  return kept.from < read.from || (kept.from === read.from && kept.to >= read.to);
}

/** Without what can be large, and is nothing that such a change looks at. */
function withoutBulk({ metadata, terms, summary, retired, forks, ...session }: SessionRecord): SessionRecord {
  return session;
}

/** At least what a message takes: its text takes a byte or more for each of its characters. */
const sumOfBytes = (sum: number, { content, payload, metadata }: MessageRecord): number =>
  sum + content.length + (payload?.length ?? 0) + (metadata?.length ?? 0);
