import { BSON, type Document, type RunCommandCursor, Timestamp } from "mongodb";
import { resumeTokenExpired } from "../../domain/errors.js";
import type { Change, LogTime, Moment } from "../../domain/watching/changes.js";
import type { Database } from "../database.js";
import { isLogLost, translated } from "../driver-errors.js";
import { changeOf, type RawChange } from "./change.js";

/** What is committed to sessions and messages, as the database's log has it, in its order; only what a majority has. */
export interface ChangeStream {
  /**
   * What has come since, waiting for it as long as that. Throws UNAVAILABLE when the database is away, and RESUME_TOKEN_EXPIRED when its
   * log does not reach back to the place any more; then the stream is of no use any more.
   */
  next(waitMs: number): Promise<ChangeBatch>;
  close(): Promise<void>;
}

export interface ChangeBatch {
  readonly moments: readonly Moment[];
  /** Up to where everything has been told, also what means nothing to us. */
  readonly position: LogTime;
  /** Whether that was all there is by now. */
  readonly isAll: boolean;
}

/** The database cuts a batch before 16 MiB, and no change has more than some kilobytes as it is asked for here. */
const CUT_BYTES = 12 * 1024 * 1024;

/**
 * Reads what comes after a place in the log, or from now on. `batchSize` is how many changes come at a time; those of one transaction are
 * not told before all of them are there.
 */
export function openChanges(database: Database, after: LogTime | undefined, batchSize: number): ChangeStream {
  const command = {
    aggregate: 1,
    pipeline: pipelineFrom(after),
    cursor: { batchSize },
    readConcern: { level: "majority" },
  };
  const cursor = database.db
    .runCursorCommand(command, { raw: true, readPreference: "primary" })
    .setBatchSize(batchSize);
  let position = after;
  /** What may be a part of a transaction only. */
  let rest: RawChange[] = [];

  return {
    next: (waitMs) =>
      translated(async () => {
        const first = await firstOf(cursor, waitMs);
        const documents = first ? [first, ...cursor.readBufferedDocuments()] : [];
        const isAll = documents.length < batchSize && bytesOf(documents) < CUT_BYTES;
        const raw = documents.map((document) => BSON.deserialize(document, { promoteLongs: false }) as RawChange);
        const found = after === undefined ? raw : raw.filter(({ clusterTime }) => clusterTime.toBigInt() > after);
        const { complete, incomplete } = completeOf([...rest, ...found], isAll);
        rest = incomplete;
        const moments = momentsOf(complete);
        const reached = isAll ? timeOf(postBatchResumeToken(cursor)) : undefined;
        position = latest(position, moments.at(-1)?.time, reached);
        // The database ends it by itself where its collections are gone.
        if (position === undefined || cursor.id?.isZero()) throw resumeTokenExpired();
        return { moments, position, isAll };
      }).catch((error: unknown) => {
        throw isLogLost(error) ? resumeTokenExpired() : error;
      }),
    close: () => cursor.close().catch(() => {}),
  };
}

/** The next document, if there is one within the time. The first look waits for nothing: it tells where the log is. */
async function firstOf(cursor: RunCommandCursor, waitMs: number): Promise<Uint8Array | null> {
  cursor.setMaxTimeMS(cursor.id === undefined ? 1 : Math.max(1, waitMs));
  return (await cursor.tryNext()) as Uint8Array | null;
}

function pipelineFrom(after: LogTime | undefined): Document[] {
  return [
    // From the place itself, for of one that is not there yet the database does not say whether it has told all up to there.
    { $changeStream: after === undefined ? {} : { startAtOperationTime: new Timestamp(after) } },
    {
      $match: {
        $or: [
          { "ns.coll": "sessions", operationType: { $in: ["insert", "update", "replace", "delete"] } },
          { "ns.coll": "messages", operationType: "insert" },
          // Not what the purger marks.
          {
            "ns.coll": "messages",
            operationType: "update",
            $or: [
              { "updateDescription.updatedFields.version": { $exists: true } },
              { "updateDescription.updatedFields.deleted": { $exists: true } },
            ],
          },
        ],
      },
    },
    {
      $project: {
        operationType: 1,
        "ns.coll": 1,
        "documentKey._id": 1,
        clusterTime: 1,
        wallTime: 1,
        txnNumber: 1,
        "lsid.id": 1,
        "fullDocument.session": 1,
        "fullDocument.epoch": 1,
        "fullDocument.sequence": 1,
        "fullDocument.deleted": 1,
        ...Object.fromEntries(TOLD_FIELDS.map((field) => [`updateDescription.updatedFields.${field}`, 1])),
        "updateDescription.removedFields": 1,
        bytes: { $bsonSize: { $ifNull: ["$fullDocument", {}] } },
      },
    },
  ];
}

/** Those of a session or a message whose change means something. */
const TOLD_FIELDS = ["version", "uid", "user", "epoch", "deleted", "purging", "summary.createTime"];

function completeOf(changes: RawChange[], isAll: boolean): { complete: RawChange[]; incomplete: RawChange[] } {
  if (isAll) return { complete: changes, incomplete: [] };
  const last = changes.at(-1)?.clusterTime;
  const end = changes.findIndex(({ clusterTime }) => last?.equals(clusterTime));
  return { complete: changes.slice(0, end), incomplete: changes.slice(end) };
}

function momentsOf(changes: readonly RawChange[]): Moment[] {
  const moments: { time: LogTime; clock: number; transactions: Map<string, Change[]> }[] = [];
  for (const raw of changes) {
    const time = raw.clusterTime.toBigInt();
    let moment = moments.at(-1);
    if (moment?.time !== time) {
      moment = { time, clock: raw.wallTime.getTime(), transactions: new Map() };
      moments.push(moment);
    }
    const id = raw.lsid ? `${raw.lsid.id.toString()}/${raw.txnNumber}` : "";
    const transaction = moment.transactions.get(id);
    const change = changeOf(raw);
    if (transaction) transaction.push(change);
    else moment.transactions.set(id, [change]);
  }
  return moments.map(({ transactions, ...moment }) => ({ ...moment, transactions: [...transactions.values()] }));
}

/** How far the last batch has come. The driver has it, but tells only its own change streams, which cost three times as much. */
function postBatchResumeToken(cursor: RunCommandCursor): string | undefined {
  const { documents } = cursor as unknown as { documents?: { postBatchResumeToken?: { _data?: unknown } } };
  const token = documents?.postBatchResumeToken?._data;
  return typeof token === "string" ? token : undefined;
}

/** A token of the database's begins with its time. */
function timeOf(token: string | undefined): LogTime | undefined {
  const [, hex] = /^82([0-9A-F]{16})/.exec(token ?? "") ?? [];
  return hex === undefined ? undefined : BigInt(`0x${hex}`);
}

function latest(...times: (LogTime | undefined)[]): LogTime | undefined {
  return times.reduce((a, b) => (a === undefined || (b !== undefined && b > a) ? b : a));
}

function bytesOf(documents: readonly Uint8Array[]): number {
  return documents.reduce((sum, { length }) => sum + length, 0);
}
