import type { ClientSession } from "mongodb";
import type { Call } from "../domain/call.js";
import type { MessageRecord, SessionRecord } from "../domain/records.js";
import { tokensOf } from "../domain/tokens.js";
import { startedAt, type WindowStart } from "../domain/window.js";
import { bounded, boundedForAll, type Database } from "./database.js";
import { translated } from "./driver-errors.js";
import { type Choice, createGroups, type Outcome } from "./groups.js";
import { MAX_READS_IN_FLIGHT } from "./key-reads.js";
import {
  bytesIn,
  type EncodeMessages,
  EVERYTHING,
  extended,
  headsIn,
  type KnownMemory,
  newest,
  preceded,
  reaches,
  type Slice,
  tokensIn,
  type Window,
} from "./known/memory.js";
import type { KnownSessions } from "./known/sessions.js";
import { LIVE, type MemoryKey, memoryOf } from "./messages.js";
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
  /** How many tokens the messages may have together with the summary. Default: any number. */
  readonly maxTokens?: number;
  /** Default: any. */
  readonly start?: WindowStart;
  /** Makes the rest of the answer, but for what tells its tokens. */
  readonly encodeRest: (session: Raw<SessionRecord>) => Buffer;
  /** How many bytes of the answer tell so many tokens. Default: none. */
  readonly tokenBytes?: (tokens: number) => number;
}

export interface Memory {
  readonly session: Raw<SessionRecord>;
  /** In order, as parts of the answer. */
  readonly messages: readonly Buffer[];
  readonly rest: Buffer;
  /** How many tokens the summary and the messages have. */
  readonly tokens: number;
  /** Whether there was no room for the bytes of all that was asked for. */
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
      const { limit, maxBytes: room, maxTokens: tokens = Number.POSITIVE_INFINITY } = query;
      const window = { ...EVERYTHING, limit, room, tokens };
      messages += kept && reaches(kept, window) ? 0 : query.limit;
      return index > 0 && messages > MAX_MESSAGES;
    };
    const first = waiting.slice(0, MAX_READS);
    const end = first.findIndex(isTooMuch);
    if (end >= 0) return { group: first.slice(0, end), isFull: true };
    return { group: first, isFull: waiting.length >= MAX_READS };
  }

  /**
   * Reads for many with two queries: the sessions, and of each memory what is not known of it, under its last sequences. Who would
   * need more has no outcome here: those of whose messages some were deleted one by one, those whose groups may reach further back, and
   * all when they are too large together.
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
        const selected = select(one, memory);
        return selected.openGroups.length > 0 ? undefined : { result: memoryFor(one, selected) };
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

  /** Reads for one in as many queries as it takes, each a batch of the newest that are left and not known. */
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
      const kept = known.memory(query.session);
      const isCurrent = isStored(kept, session) && kept.to === session.lastSequence;
      let memory = isCurrent ? kept : unknown(session, session.lastSequence);
      while (!reaches(memory, window)) {
        const filter = { ...memoryOf(session), sequence: { $gt: window.after, $lte: memory.from }, ...LIVE };
        const limit = window.limit - newest(memory, window).count;
        const options = { ...snapshot, ...bounded(call) };
        const batch = await findRaw(database, "messages", { filter, sort: { sequence: -1 }, limit }, options);
        const isAll = !batch.mayBeCut && batch.documents.length < limit;
        const oldest = batch.documents.at(-1)?.pick("sequence").sequence ?? 0;
        const from = isAll ? window.after : oldest - 1;
        memory = preceded(memory, { from, run: encode([...batch.documents].reverse()) });
      }
      known.keep(query.session, memory, query.limit);
      const selected = select(asked, memory);
      const options = { ...snapshot, ...bounded(call) };
      const older = await groupsUpTo(memory.from, memoryOf(session), selected.openGroups, options);
      return memoryFor(asked, selected, older);
    });
  }

  /** Those of the groups that have a live message up to a sequence. */
  async function groupsUpTo(
    sequence: number,
    memory: MemoryKey,
    groupIds: readonly string[],
    options: Parameters<typeof findRaw>[3],
  ): Promise<ReadonlySet<string>> {
    const found = new Set<string>();
    let limit = FEW_GROUP_MESSAGES;
    for (let isAll = groupIds.length === 0; !isAll; ) {
      const left = groupIds.filter((groupId) => !found.has(groupId));
      const filter = { ...memory, groupId: { $in: left }, sequence: { $lte: sequence }, ...LIVE };
      // In the order of an index that has nothing but groups: by another one all messages could be in the way.
      const sort = { groupId: 1, sequence: 1 } as const;
      const query = { filter, sort, projection: { groupId: 1 }, limit };
      const { documents } = await findRaw(database, "messages", query, options);
      for (const document of documents) found.add(String(document.pick("groupId").groupId));
      // All of a batch may be of one group; each batch that is full tells of one more at least.
      isAll = documents.length < limit;
      limit = MANY_GROUP_MESSAGES;
    }
    return found;
  }
}

/** Of the groups that a window cuts there are seldom more messages than this before it. */
const FEW_GROUP_MESSAGES = 100;
/** Where there are, there may be as many groups, and no round trip is to be made for each. */
const MANY_GROUP_MESSAGES = 1000;

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
  readonly start: WindowStart;
  readonly rest: Buffer;
  /** The summary's. */
  readonly tokens: number;
}

function askedOf(session: Raw<SessionRecord>, query: MemoryQuery): Asked {
  const { afterSummary, limit, maxBytes, maxTokens = Number.POSITIVE_INFINITY, start = "any" } = query;
  const after = afterSummary ? (session.summary?.recentSequence ?? 0) : 0;
  const rest = query.encodeRest(session);
  const tokens = session.summary ? tokensOf(session.summary) : 0;
  const tokenBytes = (more: number): number => query.tokenBytes?.(tokens + more) ?? 0;
  const window = { after, limit, room: maxBytes - rest.length, tokens: maxTokens - tokens, tokenBytes };
  return { session, window, start, rest, tokens };
}

/** What a window has of a memory, and the groups in it of which the memory does not tell whether they have older messages. */
interface Selected {
  readonly slices: readonly Slice[];
  readonly isCut: boolean;
  /** Groups that have older messages than those of the window. */
  readonly cutGroups: ReadonlySet<string>;
  readonly openGroups: readonly string[];
}

function select({ window, start }: Asked, memory: KnownMemory): Selected {
  const { slices, cut } = newest(memory, window);
  const isCut = cut === "bytes";
  if (start !== "whole-tool-calls") return { slices, isCut, cutGroups: NO_GROUPS, openGroups: [] };
  const groups = groupsIn(slices);
  if (groups.size === 0) return { slices, isCut, cutGroups: groups, openGroups: [] };
  const cutGroups = groupsIn(before(slices[0] as Slice, memory));
  const openGroups = memory.from === 0 ? [] : [...groups].filter((groupId) => !cutGroups.has(groupId));
  return { slices, isCut, cutGroups, openGroups };
}

const NO_GROUPS: ReadonlySet<string> = new Set();

const groupsIn = (slices: readonly Slice[]): ReadonlySet<string> =>
  new Set(slices.flatMap((slice) => headsIn(slice).flatMap(({ groupId }) => groupId ?? [])));

/** What of a memory comes before. */
function before({ run, start }: Slice, { runs }: KnownMemory): readonly Slice[] {
  const whole = runs.slice(0, runs.indexOf(run)).map((older) => ({ run: older, start: 0, end: older.ends.length }));
  return [...whole, { run, start: 0, end: start }];
}

function memoryFor(asked: Asked, { slices, isCut, cutGroups }: Selected, older = NO_GROUPS): Memory {
  const { session, rest, tokens, start } = asked;
  const isCutOff = (groupId: string): boolean => cutGroups.has(groupId) || older.has(groupId);
  const returned = start === "any" ? slices : allowed(slices, startedAt(start, slices.flatMap(headsIn), isCutOff));
  return {
    session,
    messages: returned.map(bytesIn),
    rest,
    tokens: returned.reduce((sum, slice) => sum + tokensIn(slice), tokens),
    isCut,
  };
}

/** Of the messages of some slices those that are allowed, one after the other. */
function allowed(slices: readonly Slice[], isAllowed: readonly boolean[]): readonly Slice[] {
  let index = 0;
  return slices.flatMap(({ run, start, end }) => {
    const parts: Slice[] = [];
    for (let at = start; at < end; at++, index++) {
      const last = parts.at(-1);
      if (!isAllowed[index]) continue;
      if (last?.end === at) parts[parts.length - 1] = { ...last, end: at + 1 };
      else parts.push({ run, start: at, end: at + 1 });
    }
    return parts;
  });
}

/** A live session, and what of its memory need not be read. What is behind it is to be read. */
interface KnownPart {
  readonly session: Raw<SessionRecord>;
  readonly memory: KnownMemory;
}

/** What is kept, if it is what is stored and reaches as far back as is asked for; else nothing, from where reading is to begin. */
function knownPart(kept: KnownMemory | undefined, session: Raw<SessionRecord>, windows: readonly Window[]): KnownPart {
  const from = Math.min(...windows.map(({ after, limit }) => Math.max(after, session.lastSequence - limit)));
  // Far more may have come than is asked for. And what has come makes up for what it does not reach back to.
  const isOfUse =
    isStored(kept, session) &&
    kept.to >= from &&
    (kept.from <= from || windows.every((window) => reaches(kept, window)));
  return { session, memory: isOfUse ? kept : unknown(session, from) };
}

/** Whether what is kept of a memory is still what the session has, as far as it goes. */
function isStored(kept: KnownMemory | undefined, session: Raw<SessionRecord>): kept is KnownMemory {
  return (
    kept !== undefined &&
    kept.epoch === session.epoch.toString() &&
    kept.version === (session.memoryVersion ?? 0) &&
    kept.to <= session.lastSequence
  );
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
