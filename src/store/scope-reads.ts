import type { ClientSession } from "mongodb";
import type { Call } from "../domain/call.js";
import type { MessageRecord, SessionRecord } from "../domain/records.js";
import { boundedForAll, type Database } from "./database.js";
import { translated } from "./driver-errors.js";
import { LIVE, type MemoryKey } from "./messages.js";
import { type Raw, type RawBatch, readRaw } from "./raw.js";
import { isVisible } from "./sessions.js";
import { type VectorReads, vectorReadsIn } from "./vectors/vector-reads.js";

/** Where a search looks: in one session, or in all live sessions of a user. By their keys. */
export type Scope = { readonly session: string } | { readonly user: string };

/** Reads of a scope that all see one moment. */
export interface ScopeReader {
  /** `calls` are those for whom it is read; the most patient one decides how long a read may take. */
  at<T>(calls: readonly { readonly call: Call }[], run: (moment: ScopeMoment) => Promise<T>): Promise<T>;
}

export interface ScopeMoment extends VectorReads {
  /** The live sessions of the scope; undefined when they are more than one batch has room for. */
  sessions(scope: Scope): Promise<readonly ScopeSession[] | undefined>;
  /** The live messages in these ranges, of each memory in order, without what nobody looks for: as many as have room in one batch. */
  searchable(ranges: readonly Range[]): Promise<RawBatch<MessageRecord>>;
  /** The live messages of a memory up to and with a sequence, in order, without all but what tells them and their state apart. */
  states(memory: MemoryKey, upTo: number): Promise<readonly MessageState[]>;
  /** Whole live messages, in no order; as many as have room in one batch. */
  messages(places: readonly Place[]): Promise<RawBatch<MessageRecord>>;
  /** Of the same only what says which they are, and their metadata. */
  metadata(places: readonly Place[]): Promise<RawBatch<MessageRecord>>;
}

/** A live session, as far as a search depends on it. */
export interface ScopeSession extends MemoryKey {
  /** The key of the user whom it belongs to. */
  readonly user: string | undefined;
  readonly memoryVersion: number;
  readonly lastSequence: number;
  readonly messageCount: number;
}

/** The messages of a memory behind one sequence, up to and with another. */
export interface Range {
  readonly memory: MemoryKey;
  readonly after: number;
  readonly upTo: number;
}

/** Some messages of a memory, by their sequences. */
export interface Place {
  readonly memory: MemoryKey;
  readonly sequences: readonly number[];
}

export interface MessageState {
  readonly sequence: number;
  /** Another number after each change. */
  readonly version: number;
}

/** What a search looks at. Not the payloads, which may be larger than all else. */
const SEARCHABLE = {
  _id: 0,
  session: 1,
  sequence: 1,
  version: 1,
  role: 1,
  roleType: 1,
  content: 1,
  metadata: 1,
  createTime: 1,
};

const METADATA = { _id: 0, session: 1, sequence: 1, metadata: 1 };

const SESSION_STATE = {
  user: 1,
  epoch: 1,
  memoryVersion: 1,
  lastSequence: 1,
  messageCount: 1,
  deleted: 1,
  purging: 1,
};

export function createScopeReader(database: Database): ScopeReader {
  return {
    at: (calls, run) =>
      translated(() =>
        database.withSnapshot((session) => run(momentIn(database, session, () => boundedForAll(calls)))),
      ),
  };
}

function momentIn(database: Database, session: ClientSession, bound: () => { maxTimeMS: number }): ScopeMoment {
  const options = () => ({ session, ...bound() });
  return {
    ...vectorReadsIn(database, options),
    async sessions(scope) {
      const filter = "user" in scope ? { user: scope.user, deleted: false } : { _id: scope.session, deleted: false };
      const found = await readRaw(database, "sessions", { filter, projection: SESSION_STATE }, options());
      return found.mayBeCut
        ? undefined
        : found.documents
            .map((document) => document.fields())
            .filter((one) => isVisible(one))
            .map(stateOf);
    },
    async searchable(ranges) {
      const filter = {
        $or: ranges.map(({ memory, after, upTo }) => ({ ...keyOf(memory), sequence: { $gt: after, $lte: upTo } })),
        ...LIVE,
      };
      const sort = { session: 1, epoch: 1, sequence: 1 } as const;
      return readRaw(database, "messages", { filter, sort, projection: SEARCHABLE }, options());
    },
    async states(memory, upTo) {
      const filter = { ...keyOf(memory), sequence: { $lte: upTo }, ...LIVE };
      const query = { filter, sort: { sequence: 1 } as const, projection: { _id: 0, sequence: 1, version: 1 } };
      const { documents } = await readRaw(database, "messages", query, options());
      return documents.map((document) => ({ version: 0, ...document.pick("sequence", "version") }));
    },
    async messages(places) {
      return readRaw(database, "messages", { filter: at(places) }, options());
    },
    async metadata(places) {
      return readRaw(database, "messages", { filter: at(places), projection: METADATA }, options());
    },
  };
}

const at = (places: readonly Place[]) => ({
  $or: places.map(({ memory, sequences }) => ({ ...keyOf(memory), sequence: { $in: [...sequences] } })),
  ...LIVE,
});

/** What is known besides is no part of a query. */
const keyOf = ({ session, epoch }: MemoryKey): MemoryKey => ({ session, epoch });

function stateOf({
  _id,
  user,
  epoch,
  memoryVersion = 0,
  lastSequence,
  messageCount,
}: Raw<SessionRecord>): ScopeSession {
  return {
    session: _id.toString(),
    epoch: epoch.toString(),
    user: user?.toString(),
    memoryVersion,
    lastSequence,
    messageCount,
  };
}
