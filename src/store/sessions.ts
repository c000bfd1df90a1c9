import type { Filter } from "mongodb";
import type { Call } from "../domain/call.js";
import { ANY_TERM } from "../domain/metadata-terms.js";
import type { SessionRecord } from "../domain/records.js";
import { bounded, boundedForAll, type Database } from "./database.js";
import { translated } from "./driver-errors.js";
import { createGroups } from "./groups.js";
import type { MemoryKey } from "./messages.js";
import { afterTime, readRawPage } from "./paging.js";
import { findRaw, type Raw } from "./raw.js";

/** Reads of sessions. They filter by visibility themselves: the TTL index erases late. */
export interface SessionReader {
  /** The session, live or, when asked for, soft-deleted. */
  get(call: Call, key: string, showDeleted?: boolean): Promise<Raw<SessionRecord> | undefined>;
  /** The live ones of these sessions, by their keys. */
  getMany(call: Call, keys: readonly string[]): Promise<ReadonlyMap<string, Raw<SessionRecord>>>;
  /** Whether the session lives and its memory is still this one. */
  isCurrent(call: Call, memory: MemoryKey): Promise<boolean>;
  /** The next sessions of a listing after a position, in its order; none when it is at its end. */
  page(
    call: Call,
    listing: SessionListing,
    after: readonly [number, string] | undefined,
    limit: number,
  ): Promise<readonly Raw<SessionRecord>[]>;
}

export type SessionOrder = "createTime" | "updateTime" | "lastMessageTime";

export interface SessionListing {
  readonly project: string;
  readonly user: string | undefined;
  /** What the metadata must be indexed under. The caller checks what is found, see metadata-terms.ts. */
  readonly terms: readonly string[];
  readonly createdAfter: Date | undefined;
  readonly createdBefore: Date | undefined;
  readonly order: SessionOrder;
  readonly descending: boolean;
  readonly showDeleted: boolean;
}

/** Whether a stored session is there for callers. */
export function isVisible(
  { deleted, purging }: Pick<SessionRecord, "deleted" | "purging">,
  showDeleted = false,
): boolean {
  return !purging && (!deleted || showDeleted);
}

/** What can be large and is no part of a session's own answer. */
const AS_ANSWERED = { summary: 0, terms: 0, retired: 0 };

const MAX_GROUPS_IN_FLIGHT = 8;
const HEAD_START_MS = 5;
const MAX_READS = 128;

export function createSessionReader(database: Database): SessionReader {
  const { sessions } = database;
  const groups = createGroups<{ call: Call; key: string }>({
    maxInFlight: MAX_GROUPS_IN_FLIGHT,
    headStartMs: HEAD_START_MS,
    choose: (waiting) => waiting.slice(0, MAX_READS),
    async run(group) {
      const found = await readMany(database, new Set(group.map(({ key }) => key)), boundedForAll(group));
      return group.map(({ key }) => ({ result: found.get(key) }));
    },
  });
  return {
    async get(call, key, showDeleted = false) {
      const found = (await groups.submit({ call, key })) as Raw<SessionRecord> | undefined;
      return found && isVisible(found, showDeleted) ? found : undefined;
    },
    async getMany(call, keys) {
      const found = await readMany(database, new Set(keys), bounded(call));
      return new Map([...found].filter(([, session]) => isVisible(session)));
    },
    isCurrent: async (call, { session, epoch }) =>
      (await translated(() =>
        sessions.findOne({ _id: session, epoch, deleted: false }, { projection: { _id: 1 }, ...bounded(call) }),
      )) !== null,
    page: (call, listing, after, limit) =>
      readRawPage(database, "sessions", call, {
        filter: filterOf(listing, after),
        sort: listing.descending ? { [listing.order]: -1, _id: -1 } : { [listing.order]: 1, _id: 1 },
        limit,
        projection: AS_ANSWERED,
      }),
  };
}

/** Sessions by their keys, live or deleted: at most {@link MAX_READS}, which have room in one batch with all their metadata. */
async function readMany(
  database: Database,
  keys: ReadonlySet<string>,
  bound: { maxTimeMS: number },
): Promise<ReadonlyMap<string, Raw<SessionRecord>>> {
  const query = { filter: { _id: { $in: [...keys] } }, projection: AS_ANSWERED };
  const { documents } = await translated(() => findRaw(database, "sessions", query, bound));
  return new Map(documents.map((session) => [session._id.toString(), session]));
}

function filterOf(listing: SessionListing, after: readonly [number, string] | undefined): Filter<SessionRecord> {
  const { createdAfter, createdBefore } = listing;
  return {
    project: listing.project,
    deleted: listing.showDeleted ? { $in: [false, true] } : false,
    ...(listing.showDeleted && { purging: { $exists: false } }),
    ...(listing.user !== undefined && { user: listing.user }),
    $and: [
      ...listing.terms.map((term) => ({ terms: { $in: [term, ANY_TERM] } })),
      ...(createdAfter ? [{ createTime: { $gt: createdAfter } }] : []),
      ...(createdBefore ? [{ createTime: { $lt: createdBefore } }] : []),
      ...(after ? [afterTime(listing.order, after, listing.descending)] : []),
      {},
    ],
  };
}
