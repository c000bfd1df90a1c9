import type { ClientSession } from "mongodb";
import type { Call } from "../domain/call.js";
import type { MessageRecord, SessionRecord } from "../domain/records.js";
import { bounded, boundedForAll, type Database } from "./database.js";
import { translated } from "./driver-errors.js";
import { type Choice, createGroups, type Outcome } from "./groups.js";
import { MAX_READS_IN_FLIGHT } from "./key-reads.js";
import {
  type EncodeMessages,
  extended,
  type KnownMemory,
  newest,
  preceded,
  reaches,
  type Window,
} from "./known/memory.js";
import type { KnownSessions } from "./known/sessions.js";
import { LIVE, memoryOf } from "./messages.js";
import { type CacheOutcome, type StoreObserver, UNOBSERVED } from "./observer.js";
import { findRaw, type Raw, type RawDocument } from "./raw.js";
import { isVisible } from "./sessions.js";

/**
 * Reads of a session together with the newest part of its memory, as both were at one moment. Of messages that this process has seen
 * before only the session document is read, and of a memory that has grown since only what is new.
 */
export interface MemoryReader {
  /** The live session with its newest messages, in order. */
  read(call: Call, query: MemoryQuery): Promise<Memory | undefined>;
}

export interface MemoryQuery {
  /** The session's key. */
  readonly session: string;
  readonly limit: number;
  /** Whether messages that the summary covers are left out. */
  readonly afterSummary: boolean;
  /** How many bytes the messages may have together with the rest of the answer. */
  readonly maxBytes: number;
  /** Makes the rest of the answer. */
  readonly encodeRest: (session: Raw<SessionRecord>) => Buffer;
}

export interface Memory {
  readonly session: Raw<SessionRecord>;
  /** In order, as parts of the answer. */
  readonly messages: readonly Buffer[];
  readonly rest: Buffer;
  /** Whether there was no room for all that was asked for. */
  readonly isCut: boolean;
}

interface Read {
  readonly call: Call;
  readonly query: MemoryQuery;
}

const MAX_READS = 128;
/** What all reads of a group may ask the database for. One batch has room for them, when they are not unusually long. */
const MAX_MESSAGES = 1000;

export function createMemoryReader(
  database: Database,
  known: KnownSessions,
  encode: EncodeMessages,
  observer: StoreObserver = UNOBSERVED,
): MemoryReader {
  const groups = createGroups<Read>(
    {
      name: "read memories",
      maxInFlight: MAX_READS_IN_FLIGHT,
      choose: nextReads,
      run: async (group, asOwn) => {
        const outcomes = await readTogether(group);
        return group.map((read, index) => outcomes[index] ?? outcomeOf(asOwn(read, () => readAlone(read))));
      },
      onEnd: (calls, seconds) => observer.groupEnded("memory_read", calls, seconds),
    },
    database.traces,
  );
  return { read: (call, query) => groups.submit({ call, query }) as Promise<Memory | undefined> };

  function nextReads(waiting: readonly Read[]): Choice<Read> {
    let messages = 0;
    const isTooMuch = ({ query }: Read, index: number): boolean => {
      const kept = known.memory(query.session);
      messages += kept && reaches(kept, { after: 0, limit: query.limit, room: query.maxBytes }) ? 0 : query.limit;
      return index > 0 && messages > MAX_MESSAGES;
    };
    const first = waiting.slice(0, MAX_READS);
    const end = first.findIndex(isTooMuch);
    if (end >= 0) return { group: first.slice(0, end), isFull: true };
    return { group: first, isFull: waiting.length >= MAX_READS };
  }

  /**
   * Reads for many with two queries: the sessions, and of each memory what is not known of it, under its last sequences. Who would
   * need more has no outcome here: those of whose messages some were deleted one by one, and all when they are too large together.
   */
  function readTogether(group: readonly Read[]): Promise<readonly (Outcome<Memory | undefined> | undefined)[]> {
    return inSnapshot(database, async (snapshot) => {
      const options = { ...snapshot, ...boundedForAll(group) };
      const keys = new Set(group.map(({ query }) => query.session));
      const found = await findRaw(database, "sessions", bySession([...keys]), options);
      if (found.mayBeCut) return [];
      const stored = found.documents.map((document) => document.fields());
      const live = new Map(stored.filter((one) => isVisible(one)).map((session) => [session._id.toString(), session]));

      const asked = group.map(({ query }) => {
        const session = live.get(query.session);
        if (!session) known.forget(query.session);
        return session && askedOf(session, query);
      });
      const windows = new Map<Raw<SessionRecord>, Window[]>();
      for (const one of asked) if (one) windows.set(one.session, [...(windows.get(one.session) ?? []), one.window]);
      const memories = [...live].map(([key, session]) => {
        const kept = known.memory(key);
        const part = knownPart(kept, session, windows.get(session) as Window[]);
        observer.cacheAsked("memory", outcomeFor(kept, part), 1);
        return part;
      });
      const complete = await completed(memories, options);

      return group.map(({ query }, index) => {
        const one = asked[index];
        if (!one) return { result: undefined };
        const memory = complete.get(one.session);
        if (!memory || !reaches(memory, one.window)) return undefined;
        known.keep(query.session, memory, query.limit);
        return { result: memoryFor(one, memory) };
      });
    });
  }

  /** The memories with what the database has besides; without those that had to be read, when these are too large together. */
  async function completed(
    memories: readonly KnownPart[],
    options: Parameters<typeof findRaw>[3],
  ): Promise<ReadonlyMap<Raw<SessionRecord>, KnownMemory>> {
    const incomplete = memories.filter(({ session, memory }) => memory.to < session.lastSequence);
    if (incomplete.length === 0) return new Map(memories.map(({ session, memory }) => [session, memory]));

    const ranges = incomplete.map(({ session, memory }) => ({ ...memoryOf(session), sequence: { $gt: memory.to } }));
    const found = await findRaw(database, "messages", { filter: { $or: ranges, ...LIVE } }, options);
    const read = found.mayBeCut ? undefined : byEpoch(found.documents);
    return new Map(
      memories.flatMap((part): [Raw<SessionRecord>, KnownMemory][] => {
        const { session, memory } = part;
        if (memory.to === session.lastSequence) return [[session, memory]];
        if (!read) return [];
        const messages = read.get(memory.epoch) ?? [];
        const isAll = memory.runs.length === 0 && messages.length === session.messageCount;
        const whole = extended(memory, { to: session.lastSequence, run: encode(messages) });
        return [[session, isAll ? { ...whole, from: 0 } : whole]];
      }),
    );
  }

  /** Reads for one in as many queries as it takes, each a batch of the newest that are left. */
  function readAlone({ call, query }: Read): Promise<Memory | undefined> {
    return inSnapshot(database, async (snapshot) => {
      const sessions = await findRaw(database, "sessions", bySession([query.session]), {
        ...snapshot,
        ...bounded(call),
      });
      const session = sessions.documents[0]?.fields();
      if (!session || !isVisible(session)) return undefined;

      const asked = askedOf(session, query);
      const { window } = asked;
      let memory = unknown(session, session.lastSequence);
      do {
        const filter = { ...memoryOf(session), sequence: { $gt: window.after, $lte: memory.from }, ...LIVE };
        const limit = window.limit - newest(memory, window).count;
        const options = { ...snapshot, ...bounded(call) };
        const batch = await findRaw(database, "messages", { filter, sort: { sequence: -1 }, limit }, options);
        const isAll = !batch.mayBeCut && batch.documents.length < limit;
        const oldest = batch.documents.at(-1)?.pick("sequence").sequence ?? 0;
        const from = isAll ? window.after : oldest - 1;
        memory = preceded(memory, { from, run: encode([...batch.documents].reverse()) });
      } while (!reaches(memory, window));
      known.keep(query.session, memory, query.limit);
      return memoryFor(asked, memory);
    });
  }
}

function outcomeOf<T>(promise: Promise<T>): Promise<Outcome<T>> {
  return promise.then(
    (result) => ({ result }),
    (error: unknown) => ({ error }),
  );
}

/** What a reader is given the newest messages of, and how many. */
interface Asked {
  readonly session: Raw<SessionRecord>;
  readonly window: Window;
  readonly rest: Buffer;
}

function askedOf(session: Raw<SessionRecord>, { afterSummary, limit, maxBytes, encodeRest }: MemoryQuery): Asked {
  const after = afterSummary ? (session.summary?.recentSequence ?? 0) : 0;
  const rest = encodeRest(session);
  return { session, window: { after, limit, room: maxBytes - rest.length }, rest };
}

function memoryFor({ session, window, rest }: Asked, memory: KnownMemory): Memory {
  const { parts, isCut } = newest(memory, window);
  return { session, messages: parts, rest, isCut };
}

/** A live session, and what of its memory need not be read. What is behind it is to be read. */
interface KnownPart {
  readonly session: Raw<SessionRecord>;
  readonly memory: KnownMemory;
}

/** What is kept, if it is what is stored and reaches as far back as is asked for; else nothing, from where reading is to begin. */
function knownPart(kept: KnownMemory | undefined, session: Raw<SessionRecord>, windows: readonly Window[]): KnownPart {
  const from = Math.min(...windows.map(({ after, limit }) => Math.max(after, session.lastSequence - limit)));
  const isStored =
    kept !== undefined &&
    kept.epoch === session.epoch.toString() &&
    kept.version === (session.memoryVersion ?? 0) &&
    kept.to <= session.lastSequence;
  // Far more may have come than is asked for. And what has come makes up for what it does not reach back to.
  const isOfUse =
    isStored && kept.to >= from && (kept.from <= from || windows.every((window) => reaches(kept, window)));
  return { session, memory: isOfUse ? kept : unknown(session, from) };
}

/** What was kept of a memory was of use, for all that was asked or for a part of it; or not any more; or nothing was. */
function outcomeFor(kept: KnownMemory | undefined, { session, memory }: KnownPart): CacheOutcome {
  if (kept === undefined) return "miss";
  if (memory !== kept) return "stale";
  return memory.to === session.lastSequence ? "hit" : "partial";
}

/** A memory of which nothing is known behind a sequence. */
function unknown({ epoch, memoryVersion = 0 }: Raw<SessionRecord>, from: number): KnownMemory {
  return { epoch: epoch.toString(), version: memoryVersion, from, to: from, runs: [] };
}

/** The messages of many memories, in order. */
function byEpoch(
  documents: readonly RawDocument<MessageRecord>[],
): ReadonlyMap<string, readonly RawDocument<MessageRecord>[]> {
  const memories = new Map<string, { sequence: number; message: RawDocument<MessageRecord> }[]>();
  for (const message of documents) {
    const { epoch, sequence } = message.pick("epoch", "sequence");
    const key = epoch.toString();
    const memory = memories.get(key);
    if (memory) memory.push({ sequence, message });
    else memories.set(key, [{ sequence, message }]);
  }
  return new Map(
    [...memories].map(([key, memory]) => [
      key,
      memory.sort((a, b) => a.sequence - b.sequence).map(({ message }) => message),
    ]),
  );
}

/** With the summary, but without what only queries need. */
const bySession = (keys: readonly string[]) => ({
  filter: { _id: { $in: [...keys] } },
  projection: { terms: 0, retired: 0 },
});

/**
 * Runs reads that all see one moment: between two plain reads a session could be deleted and a part of its messages erased, in
 * any order.
 */
function inSnapshot<T>(database: Database, run: (snapshot: { session: ClientSession }) => Promise<T>): Promise<T> {
  return translated(() => database.withSnapshot((session) => run({ session })));
}
