import type { Call } from "../../domain/call.js";
import type { ErasureRecord } from "../../domain/records.js";
import type { Database } from "../database.js";
import { afterTime, readPage } from "../paging.js";

/** The receipts of users who are no more. They are written with the last step of an erasure, see retirement.ts, and only read ever after. */
export interface ErasureReader {
  /** The next receipts of a project after a position, by their end time. */
  page(call: Call, after: readonly [number, string] | undefined, limit: number): Promise<ErasureRecord[]>;
}

export function createErasureReader({ erasures }: Database): ErasureReader {
  return {
    page: (call, after, limit) =>
      readPage(erasures, call, {
        filter: { project: call.project, ...(after && afterTime("endTime", after, false)) },
        sort: { endTime: 1, _id: 1 },
        limit,
      }),
  };
}
