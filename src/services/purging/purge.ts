import type * as api from "../../../gen/sessions/v1/purge_service.js";
import type { Call } from "../../domain/call.js";
import { decodeCursor, encodeCursor, isTimePosition } from "../../domain/cursor.js";
import type { ErasureRecord } from "../../domain/records.js";
import type { ErasureReader } from "../../store/erasing/erasures.js";
import { createChecks, durationMs } from "../checks.js";
import { toErasureReceipt } from "../convert.js";
import { inChunks } from "../listing.js";
import type { Purger } from "./purger.js";

export interface PurgeDeps {
  readonly purger: Purger;
  readonly erasures: ErasureReader;
  readonly retentionMs: number;
}

export type PurgeService = ReturnType<typeof createPurgeService>;

export function createPurgeService({ purger, erasures, retentionMs }: PurgeDeps) {
  return {
    async purgeDeleted({ olderThan, dryRun }: api.PurgeDeletedRequest, call: Call): Promise<api.PurgeDeletedResponse> {
      const checks = createChecks();
      if (olderThan) checks.duration("older_than", olderThan);
      checks.done();

      const olderThanMs = olderThan ? durationMs(olderThan) : retentionMs;
      const purged = await purger.purgeDeleted(call, olderThanMs, dryRun);
      return { purgedSessions: purged.sessions, purgedMessages: purged.messages, purgedUsers: purged.users };
    },

    async *listErasures(request: api.ListErasuresRequest, call: Call): AsyncGenerator<api.ListErasuresResponse> {
      const checks = createChecks();
      checks.count("limit", request.limit);
      checks.count("chunk_size", request.chunkSize);
      checks.done();

      const identity = ["erasures", call.project];
      const from = decodeCursor(identity, request.cursor, isTimePosition);
      const pages = {
        read: (after: [number, string] | undefined, limit: number) => erasures.page(call, after, limit),
        positionOf: (erasure: ErasureRecord): [number, string] => [erasure.endTime.getTime(), erasure._id],
        sizeOf: () => RECEIPT_BYTES,
      };
      for await (const { items, next } of inChunks(pages, from, request)) {
        yield { receipts: items.map(toErasureReceipt), nextCursor: next ? encodeCursor(identity, next) : "" };
      }
    },
  };
}

/** A receipt on the wire: at most about 400 bytes, all of its texts being bounded. */
const RECEIPT_BYTES = 400;
