import { type Document, type Filter, MongoServerError, Timestamp } from "mongodb";
import { messageKeyOf } from "../../domain/keys.js";
import type { MessageRecord, SessionRecord } from "../../domain/records.js";
import type { LogTime, MessageRef } from "../../domain/watching/changes.js";
import type { Database } from "../database.js";
import { OPERATION_TIMEOUT_MS, translated } from "../driver-errors.js";
import { LIVE } from "../messages.js";
import { findRaw, type RawDocument } from "../raw.js";
import { AS_ANSWERED } from "../sessions.js";

/** Reads of what watchers are told about. */
export interface WatchReader {
  /** The time of the log up to which whoever reads from now on sees everything. */
  now(): Promise<LogTime>;
  /** Sessions, live or not, as a commit has left them, or as they are now. Undefined when that is too long ago for the database. */
  sessions(keys: readonly string[], at?: LogTime): Promise<ReadonlyMap<string, RawDocument<SessionRecord>> | undefined>;
  /** Those of the messages that are there and not deleted one by one, by their keys. */
  messages(of: readonly WantedMessage[]): Promise<ReadonlyMap<string, RawDocument<MessageRecord>>>;
}

export interface WantedMessage extends MessageRef {
  readonly session: string;
}

/** Of this many metadata fits into a batch. */
const SESSIONS_AT_A_TIME = 100;

export function createWatchReader(database: Database): WatchReader {
  const bound = { maxTimeMS: OPERATION_TIMEOUT_MS };

  const sessionsAt = (keys: readonly string[], at: LogTime | undefined) => {
    const readConcern: Document | undefined =
      at === undefined ? undefined : { level: "snapshot", atClusterTime: new Timestamp(at) };
    const query = { filter: { _id: { $in: [...keys] } }, projection: AS_ANSWERED };
    return findRaw(database, "sessions", query, { ...bound, readConcern });
  };

  return {
    now: () =>
      translated(async () => {
        const nothing = { find: "sessions", filter: { _id: "" }, limit: 1, singleBatch: true, ...bound };
        // Reads of a snapshot tell of which time it is: one that a majority has.
        const { cursor } = await database.db.command({ ...nothing, readConcern: { level: "snapshot" } });
        return (cursor.atClusterTime as Timestamp).toBigInt();
      }),
    sessions: (keys, at) =>
      translated(async () => {
        const found = new Map<string, RawDocument<SessionRecord>>();
        try {
          for (let from = 0; from < keys.length; from += SESSIONS_AT_A_TIME) {
            const { documents } = await sessionsAt(keys.slice(from, from + SESSIONS_AT_A_TIME), at);
            for (const document of documents) found.set(document.pick("_id")._id.toString(), document);
          }
        } catch (error) {
          if (isTooLongAgo(error)) return undefined;
          throw error;
        }
        return found;
      }),
    messages: (of) =>
      translated(async () => {
        const found = new Map<string, RawDocument<MessageRecord>>();
        const sessions = [...new Set(of.map(({ session }) => session))];
        let keys = of.map(({ epoch, messageId }) => messageKeyOf(epoch, messageId));
        while (keys.length > 0) {
          const filter: Filter<MessageRecord> = { _id: { $in: keys }, session: { $in: sessions }, ...LIVE };
          const { documents, mayBeCut } = await findRaw(database, "messages", { filter }, bound);
          for (const document of documents) found.set(document.pick("_id")._id.toString(), document);
          keys = mayBeCut ? keys.filter((key) => !found.has(key)) : [];
        }
        return found;
      }),
  };
}

/** SnapshotTooOld, SnapshotUnavailable. */
const isTooLongAgo = (error: unknown): boolean =>
  error instanceof MongoServerError && (error.code === 239 || error.code === 246);
