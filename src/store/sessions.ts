import type { Filter } from "mongodb";
import type { Call } from "../domain/call.js";
import { ANY_TERM } from "../domain/metadata-terms.js";
import type { SessionRecord } from "../domain/records.js";
import { bounded, type Database } from "./database.js";
import { translated } from "./driver-errors.js";
import { afterTime, readPage } from "./paging.js";

/** Reads of sessions. They filter by visibility themselves: the TTL index erases late. */
export interface SessionReader {
  /** The session, live or, when asked for, soft-deleted. */
  get(call: Call, key: string, showDeleted?: boolean): Promise<SessionRecord | undefined>;
  /** The live ones of these sessions, in no order. */
  getMany(call: Call, keys: readonly string[]): Promise<SessionRecord[]>;
  /** Whether the session lives and its memory is still this one. */
  isCurrent(call: Call, memory: Pick<SessionRecord, "_id" | "epoch">): Promise<boolean>;
  /** The next sessions of a listing after a position, in its order; none when it is at its end. */
  page(
    call: Call,
    listing: SessionListing,
    after: readonly [number, string] | undefined,
    limit: number,
  ): Promise<SessionRecord[]>;
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
export function isVisible({ deleted, purging }: SessionRecord, showDeleted = false): boolean {
  return !purging && (!deleted || showDeleted);
}

/** What can be large and is no part of a session's own answer. */
const AS_ANSWERED = { summary: 0, terms: 0, retired: 0 };

export function createSessionReader({ sessions }: Database): SessionReader {
  return {
    async get(call, key, showDeleted = false) {
      const found = await translated(() =>
        sessions.findOne({ _id: key }, { projection: AS_ANSWERED, ...bounded(call) }),
      );
      return found !== null && isVisible(found, showDeleted) ? found : undefined;
    },
    getMany: (call, keys) =>
      translated(() =>
        sessions
          .find({ _id: { $in: [...keys] }, deleted: false }, { projection: AS_ANSWERED, ...bounded(call) })
          .toArray(),
      ),
    isCurrent: async (call, { _id, epoch }) =>
      (await translated(() =>
        sessions.findOne({ _id, epoch, deleted: false }, { projection: { _id: 1 }, ...bounded(call) }),
      )) !== null,
    page: (call, listing, after, limit) =>
      readPage(sessions, call, {
        filter: filterOf(listing, after),
        sort: listing.descending ? { [listing.order]: -1, _id: -1 } : { [listing.order]: 1, _id: 1 },
        limit,
        projection: AS_ANSWERED,
      }),
  };
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
