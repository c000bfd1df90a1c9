import type { Filter } from "mongodb";
import type { MessageRecord } from "../../domain/records.js";
import type { Database } from "../database.js";
import { translated } from "../driver-errors.js";
import type { StoreObserver } from "../observer.js";

const BATCH = 1000;

/**
 * Erases messages in bounded batches; the answer is how many. The filter is applied again to each batch as it is deleted: what has been
 * restored since it was found stays.
 */
export async function eraseMessages(
  { messages }: Database,
  filter: Filter<MessageRecord>,
  observer: StoreObserver,
): Promise<number> {
  for (let erased = 0; ; ) {
    const found = await translated(() => messages.find(filter, { limit: BATCH, projection: { _id: 1 } }).toArray());
    const batch = { _id: { $in: found.map(({ _id }) => _id) } };
    if (found.length === 0) return erased;
    const { deletedCount } = await translated(() => messages.deleteMany({ ...batch, ...filter }));
    erased += deletedCount;
    observer.erased("messages", deletedCount);
    if (found.length < BATCH) return erased;
  }
}
