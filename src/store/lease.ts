import type { Database } from "./database.js";
import { isDuplicateKey, translated } from "./driver-errors.js";

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
  return translated(async () => {
    try {
      const { matchedCount, upsertedCount } = await database.leases.updateOne(
        { _id: name, $or: [{ holder }, { $expr: { $lt: ["$until", "$$NOW"] } }] },
        [{ $set: { holder: { $literal: holder }, until: { $add: ["$$NOW", forMs] } } }],
        { upsert: true },
      );
      return matchedCount + upsertedCount > 0;
    } catch (error) {
      // Another holder's lease is there, so the insert of the upsert meets its id.
      if (isDuplicateKey(error)) return false;
      throw error;
    }
  });
}
