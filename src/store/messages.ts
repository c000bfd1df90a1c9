import type { Call } from "../domain/call.js";
import { messageKeyOf } from "../domain/keys.js";
import type { MessageRecord, SessionRecord } from "../domain/records.js";
import { bounded, type Database } from "./database.js";
import { translated } from "./driver-errors.js";
import { readRawPage } from "./paging.js";
import type { Raw, RawDocument } from "./raw.js";

/**
 * Reads of messages. All of them go by the epoch of a session document that the caller has read: a message counts only under
 * its session's current epoch.
 */
export interface MessageReader {
  get(call: Call, memory: MemoryKey, messageId: string): Promise<MessageRecord | undefined>;
  /** The next messages after a position, in order; none when there are no more. */
  page(call: Call, memory: MemoryKey, listing: MessageListing): Promise<readonly RawDocument<MessageRecord>[]>;
}

export type MemoryKey = Pick<MessageRecord, "session" | "epoch">;

/** Where a session's current messages are. */
export function memoryOf({ _id, epoch }: Raw<SessionRecord>): MemoryKey {
  return { session: _id.toString(), epoch: epoch.toString() };
}

export interface MessageListing {
  /** The highest sequence that it goes to. */
  readonly lastSequence: number;
  readonly after: number | undefined;
  readonly descending: boolean;
  readonly limit: number;
}

/** What a message must be besides being of its session's current epoch. */
export const LIVE = { deleted: { $exists: false } } as const;

export function createMessageReader(database: Database): MessageReader {
  const { messages } = database;
  return {
    async get(call, { session, epoch }, messageId) {
      const _id = messageKeyOf(epoch, messageId);
      const found = await translated(() => messages.findOne({ _id, session, ...LIVE }, bounded(call)));
      return found ?? undefined;
    },
    page: (call, memory, { after, descending, limit, lastSequence }) =>
      readRawPage(database, "messages", call, {
        filter: {
          ...memory,
          sequence: descending
            ? { $lt: after ?? Number.MAX_SAFE_INTEGER, $lte: lastSequence }
            : { $gt: after ?? 0, $lte: lastSequence },
          ...LIVE,
        },
        sort: { sequence: descending ? -1 : 1 },
        limit,
      }),
  };
}
