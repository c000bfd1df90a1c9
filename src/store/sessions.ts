import type { Filter } from "mongodb";
import type { Call } from "../domain/call.js";
import { ANY_TERM } from "../domain/metadata-terms.js";
import { NO_TIME, type SessionRecord } from "../domain/records.js";
import { bounded, type Database } from "./database.js";
import { translated } from "./driver-errors.js";
import { createKeyRead } from "./key-reads.js";
import type { MemoryKey } from "./messages.js";
import { type StoreObserver, UNOBSERVED } from "./observer.js";
import { afterTime, readRawPage } from "./paging.js";
import { findRaw, type Raw, type RawDocument } from "./raw.js";

/** Reads of sessions. They filter by visibility themselves: the TTL index erases late. */
export interface SessionReader {
  /** The session, live or, when asked for, soft-deleted. */
  get(call: Call, key: string, showDeleted?: boolean): Promise<Raw<SessionRecord> | undefined>;
  /** The live ones of these sessions, by their keys. */
  getMany(call: Call, keys: readonly string[]): Promise<ReadonlyMap<string, Raw<SessionRecord>>>;
  /** Whether the session lives, its memory is still this one, and a caller who is bound to a user still reaches it. */
  isCurrent(call: Call, memory: MemoryKey): Promise<boolean>;
  /** The next sessions of a listing after a position, in its order; none when it is at its end. */
  page(
    call: Call,
    listing: SessionListing,
    after: readonly [number, string] | undefined,
    limit: number,
  ): Promise<readonly RawDocument<SessionRecord>[]>;
}

export type SessionOrder = "createTime" | "updateTime" | "lastMessageTime";

export interface SessionListing {
  readonly project: string;
  readonly user: string | undefined;
  /** What the metadata must be indexed under. The caller checks what is found, see metadata-terms.ts. */
  readonly terms: readonly string[];
  readonly createdAfter: Date | undefined;
  readonly createdBefore: Date | undefined;
  /** What has no memory, and what is deleted, has no last message. */
  readonly lastMessageAfter: Date | undefined;
  readonly lastMessageBefore: Date | undefined;
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
export const AS_ANSWERED = { summary: 0, terms: 0, retired: 0, forks: 0 };

export function createSessionReader(database: Database, observer: StoreObserver = UNOBSERVED): SessionReader {
  const { sessions } = database;
  const readOne = createKeyRead(
    { name: "read sessions", traces: database.traces },
    (keys, bound) => readMany(database, keys, bound),
    (calls, seconds) => observer.groupEnded("session_read", calls, seconds),
  );
  return {
    async get(call, key, showDeleted = false) {
      const session = (await readOne(call, key))?.fields();
      return session && isVisible(session, showDeleted) ? session : undefined;
    },
    async getMany(call, keys) {
      const found = await readMany(database, keys, bounded(call));
      return new Map(
        [...found]
          .map(([key, document]) => [key, document.fields()] as const)
          .filter(([, session]) => isVisible(session)),
      );
    },
    async isCurrent(call, { session, epoch }) {
      const current = { _id: session, epoch, deleted: false, ...(call.user !== undefined && { user: call.user }) };
      const options = { projection: { _id: 1 }, ...bounded(call) };
      return (await translated(() => sessions.findOne(current, options))) !== null;
    },
    page: (call, listing, after, limit) =>
      readRawPage(database, "sessions", call, {
        filter: filterOf(listing, after),
        sort: listing.descending ? { [listing.order]: -1, _id: -1 } : { [listing.order]: 1, _id: 1 },
        limit,
        projection: AS_ANSWERED,
      }),
  };
}

/** Sessions by their keys, live or deleted. Metadata can be so large that not all have room in one batch. */
async function readMany(
  database: Database,
  keys: readonly string[],
  bound: { maxTimeMS: number },
): Promise<ReadonlyMap<string, RawDocument<SessionRecord>>> {
  const found = new Map<string, RawDocument<SessionRecord>>();
  for (;;) {
    const missing = keys.filter((key) => !found.has(key));
    const query = { filter: { _id: { $in: missing } }, projection: AS_ANSWERED };
    const { documents, mayBeCut } = await translated(() => findRaw(database, "sessions", query, bound));
    for (const document of documents) found.set(document.pick("_id")._id.toString(), document);
    if (!mayBeCut) return found;
  }
}

function filterOf(listing: SessionListing, after: readonly [number, string] | undefined): Filter<SessionRecord> {
  const { createdAfter, createdBefore, lastMessageAfter, lastMessageBefore } = listing;
  const hasMessages = lastMessageAfter !== undefined || lastMessageBefore !== undefined;
  const showDeleted = listing.showDeleted && !hasMessages;
  return {
    // A user's key carries the project.
    ...(listing.user === undefined ? { project: listing.project } : { user: listing.user }),
    deleted: showDeleted ? { $in: [false, true] } : false,
    ...(showDeleted && { purging: { $exists: false } }),
    $and: [
      ...listing.terms.map((term) => ({ terms: { $in: [term, ANY_TERM] } })),
      ...(createdAfter ? [{ createTime: { $gt: createdAfter } }] : []),
      ...(createdBefore ? [{ createTime: { $lt: createdBefore } }] : []),
      ...(hasMessages ? [{ lastMessageTime: { $gt: lastMessageAfter ?? NO_TIME } }] : []),
      ...(lastMessageBefore ? [{ lastMessageTime: { $lt: lastMessageBefore } }] : []),
      ...(after ? [afterTime(listing.order, after, listing.descending)] : []),
      {},
    ],
  };
}
