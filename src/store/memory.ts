import type { ClientSession } from "mongodb";
import type { Call } from "../domain/call.js";
import { memoryTooLarge } from "../domain/errors.js";
import { idOf } from "../domain/keys.js";
import { MAX_MEMORY_BYTES } from "../domain/limits.js";
import type { MessageRecord, SessionRecord } from "../domain/records.js";
import { bounded, boundedForAll, type Database } from "./database.js";
import { translated } from "./driver-errors.js";
import { createGroups, type Outcome, READ_GROUPS } from "./groups.js";
import { LIVE, memoryOf } from "./messages.js";
import { findRaw, type Raw, type RawDocument } from "./raw.js";
import { isVisible } from "./sessions.js";

/** Reads of a session together with the newest part of its memory, as both were at one moment. */
export interface MemoryReader {
  /** The live session with its newest messages, in order. Throws RESPONSE_TOO_LARGE when they are too much for one answer. */
  read(call: Call, query: MemoryQuery): Promise<Memory | undefined>;
}

export interface MemoryQuery {
  /** The session's key. */
  readonly session: string;
  readonly limit: number;
  /** Whether messages that the summary covers are left out. */
  readonly afterSummary: boolean;
}

export interface Memory {
  readonly session: Raw<SessionRecord>;
  /** In order. */
  readonly messages: readonly RawDocument<MessageRecord>[];
}

interface Read {
  readonly call: Call;
  readonly query: MemoryQuery;
}

const MAX_READS = 32;
/** What all reads of a group may ask for. One batch of the database has room for them, when they are not unusually long. */
const MAX_MESSAGES = 1000;

export function createMemoryReader(database: Database): MemoryReader {
  const groups = createGroups<Read>({
    ...READ_GROUPS,
    choose: nextReads,
    run: (group) => readGroup(database, group),
  });
  return { read: (call, query) => groups.submit({ call, query }) as Promise<Memory | undefined> };
}

function nextReads(waiting: readonly Read[]): Read[] {
  let messages = 0;
  const isTooMuch = ({ query }: Read, index: number): boolean => {
    messages += query.limit;
    return index > 0 && messages > MAX_MESSAGES;
  };
  const first = waiting.slice(0, MAX_READS);
  const end = first.findIndex(isTooMuch);
  return end < 0 ? first : first.slice(0, end);
}

async function readGroup(database: Database, group: readonly Read[]) {
  const outcomes = group.length === 1 ? [] : await readTogether(database, group);
  return group.map((read, index) => outcomes[index] ?? outcomeOf(readAlone(database, read)));
}

function outcomeOf<T>(promise: Promise<T>): Promise<Outcome<T>> {
  return promise.then(
    (result) => ({ result }),
    (error: unknown) => ({ error }),
  );
}

function readAlone(database: Database, { call, query }: Read): Promise<Memory | undefined> {
  return inSnapshot(database, async (snapshot) => {
    const found = await findRaw(database, "sessions", bySession([query.session]), { ...snapshot, ...bounded(call) });
    const session = found.documents[0]?.fields();
    if (!session || !isVisible(session)) return undefined;

    const newest: RawDocument<MessageRecord>[] = [];
    const after = coveredBySummary(session, query);
    let before = session.lastSequence + 1;
    let bytes = 0;
    while (newest.length < query.limit) {
      const filter = { ...memoryOf(session), sequence: { $gt: after, $lt: before }, ...LIVE };
      const rest = { filter, sort: { sequence: -1 as const }, limit: query.limit - newest.length };
      const batch = await findRaw(database, "messages", rest, { ...snapshot, ...bounded(call) });
      bytes += batch.bytes;
      if (bytes > MAX_MEMORY_BYTES) throw memoryTooLarge(idOf(query.session), query.limit);
      newest.push(...batch.documents);
      before = newest.at(-1)?.pick("sequence").sequence ?? 0;
      if (!batch.mayBeCut) break;
    }
    return { session, messages: newest.reverse() };
  });
}

/**
 * Reads for many with two queries: of each memory what lies under its last sequences, as many as are asked for. Who would need
 * more has no outcome here: those of whose messages some were deleted one by one, and all when they are too large together.
 */
function readTogether(
  database: Database,
  group: readonly Read[],
): Promise<readonly (Outcome<Memory | undefined> | undefined)[]> {
  return inSnapshot(database, async (snapshot) => {
    const options = { ...snapshot, ...boundedForAll(group) };
    const keys = new Set(group.map(({ query }) => query.session));
    const found = await findRaw(database, "sessions", bySession([...keys]), options);
    if (found.mayBeCut) return [];
    const stored = found.documents.map((document) => document.fields());
    const live = new Map(stored.filter((one) => isVisible(one)).map((session) => [session._id.toString(), session]));

    const starts = new Map<Raw<SessionRecord>, number>();
    for (const { query } of group) {
      const session = live.get(query.session);
      if (session) starts.set(session, Math.min(startOf(session, query), starts.get(session) ?? session.lastSequence));
    }
    const memories = await readMemories(database, starts, options);
    if (!memories) return [];

    return group.map(({ query }) => {
      const session = live.get(query.session);
      if (!session) return { result: undefined };
      const start = startOf(session, query);
      const memory = memories.get(session.epoch.toString()) ?? [];
      const messages = memory.filter(({ sequence }) => sequence > start).map(({ message }) => message);
      const isComplete =
        start === coveredBySummary(session, query) || messages.length === Math.min(query.limit, session.messageCount);
      return isComplete ? { result: { session, messages } } : undefined;
    });
  });
}

/** The messages of many memories after a sequence each, in order, by epoch; undefined when they are too large together. */
async function readMemories(
  database: Database,
  starts: ReadonlyMap<Raw<SessionRecord>, number>,
  options: Parameters<typeof findRaw>[3],
): Promise<ReadonlyMap<string, Placed[]> | undefined> {
  const memories = new Map<string, Placed[]>();
  if (starts.size === 0) return memories;
  const ranges = [...starts].map(([session, start]) => ({ ...memoryOf(session), sequence: { $gt: start } }));
  const found = await findRaw(database, "messages", { filter: { $or: ranges, ...LIVE } }, options);
  if (found.mayBeCut) return undefined;
  for (const message of found.documents) {
    const { epoch, sequence } = message.pick("epoch", "sequence");
    const key = epoch.toString();
    const memory = memories.get(key);
    if (memory) memory.push({ sequence, message });
    else memories.set(key, [{ sequence, message }]);
  }
  for (const memory of memories.values()) memory.sort((a, b) => a.sequence - b.sequence);
  return memories;
}

interface Placed {
  readonly sequence: number;
  readonly message: RawDocument<MessageRecord>;
}

/** Behind which sequence the messages are that are asked for, if none was deleted by itself. */
function startOf(session: Raw<SessionRecord>, query: MemoryQuery): number {
  return Math.max(coveredBySummary(session, query), session.lastSequence - query.limit);
}

function coveredBySummary({ summary }: Raw<SessionRecord>, { afterSummary }: MemoryQuery): number {
  return afterSummary ? (summary?.recentSequence ?? 0) : 0;
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
function inSnapshot<T>({ client }: Database, run: (snapshot: { session: ClientSession }) => Promise<T>): Promise<T> {
  return translated(() => client.withSession({ snapshot: true }, (session) => run({ session })));
}
