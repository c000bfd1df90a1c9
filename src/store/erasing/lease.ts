import type { Database } from "../database.js";
import { isDuplicateKey, translated } from "../driver-errors.js";

export interface LeaseRecord {
  readonly _id: string;
  readonly holder: string;
  readonly until: Date;
}

/**
 * Takes or renews a lease, by the database's clock. A lease only spares work: whoever holds none, or two who believe they hold
 * one, can do no harm.
 */
export function takeLease(database: Database, name: string, holder: string, forMs: number): Promise<boolean> {
  const isFree = { $or: [{ $eq: ["$holder", holder] }, { $lt: [{ $ifNull: ["$until", new Date(0)] }, "$$NOW"] }] };
  return translated(async () => {
    try {
      const lease = await database.leases.findOneAndUpdate(
        { _id: name },
        [
          {
            $set: {
              holder: { $cond: [isFree, holder, "$holder"] },
              until: { $cond: [isFree, { $add: ["$$NOW", forMs] }, "$until"] },
            },
          },
        ],
        { upsert: true, returnDocument: "after" },
      );
      return lease?.holder === holder;
    } catch (error) {
      // Two made the first lease at once, and this is not the one that did.
      if (isDuplicateKey(error)) return false;
      throw error;
    }
  });
}
