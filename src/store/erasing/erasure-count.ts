import type { AnyBulkWriteOperation } from "mongodb";
import { type Call, ownCall } from "../../domain/call.js";
import type { RetiredEpoch, SessionRecord } from "../../domain/records.js";
import { transaction } from "../changes/transaction.js";
import type { Database } from "../database.js";
import { OPERATION_TIMEOUT_MS } from "../driver-errors.js";
import { createGroups } from "../groups.js";
import type { MemoryKey } from "../messages.js";
import type { StoreObserver } from "../observer.js";
import { withWorkList } from "./work-list.js";

/**
 * Erases what a receipt will tell of: in each step what is erased is counted in the same transaction, so the counts are exact whoever does
 * the steps and wherever they are broken off. Messages are counted on their session, where no other session is in the way, and
 * with the session itself on the user.
 */
export interface ErasureCount {
  /** Erases the messages of a condemned epoch. The answer is how many. */
  messagesOf(memory: MemoryKey): Promise<number>;
  /** Takes epochs whose messages are erased off the session's work list, and the session with them if it is condemned and no other is left. */
  session(key: string, epochs: ReadonlySet<string>): Promise<void>;
}

const BATCH = 1000;

/** Sessions that are done with together write their user's document once. */
const SESSIONS_AT_ONCE = 64;

interface Done {
  readonly call: Call;
  readonly session: string;
  readonly epochs: ReadonlySet<string>;
}

export function createErasureCount(database: Database, observer: StoreObserver): ErasureCount {
  const { sessions, messages, users } = database;

  const eraseBatch = ({ session, epoch }: MemoryKey): Promise<number> =>
    transaction(database, Date.now() + OPERATION_TIMEOUT_MS, async (tx) => {
      const batch = await messages
        .find({ session, epoch }, { limit: BATCH, projection: { _id: 1 }, session: tx })
        .toArray();
      if (batch.length === 0) return 0;
      const { deletedCount } = await messages.deleteMany(
        { _id: { $in: batch.map(({ _id }) => _id) }, session },
        { session: tx },
      );
      await sessions.updateOne(
        { _id: session },
        { $inc: { "retired.$[entry].counted.messages": deletedCount } },
        { arrayFilters: [{ "entry.epoch": epoch, "entry.counted": { $exists: true } }], session: tx },
      );
      return deletedCount;
    });

  const finish = (group: readonly Done[]): Promise<number> =>
    transaction(database, Date.now() + OPERATION_TIMEOUT_MS, async (tx) => {
      const epochs = new Map(group.map((done) => [done.session, done.epochs]));
      const found = await sessions
        .find(
          { _id: { $in: [...epochs.keys()] } },
          { projection: { deleted: 1, purging: 1, purgeTime: 1, retired: 1 }, session: tx },
        )
        .toArray();
      const writes: AnyBulkWriteOperation<SessionRecord>[] = [];
      const tally = createTally();
      let erased = 0;
      for (const session of found) {
        const isDone = ({ task, epoch }: RetiredEpoch) => task === "erase" && epochs.get(session._id)?.has(epoch);
        const done = session.retired?.filter(isDone) ?? [];
        // Another process may have been quicker.
        if (done.length === 0) continue;
        const rest = session.retired?.filter((entry) => !isDone(entry)) ?? [];
        const isGone = session.purging === true && rest.length === 0;
        const filter = { _id: session._id };
        writes.push(
          isGone ? { deleteOne: { filter } } : { updateOne: { filter, update: withWorkList(session, rest) } },
        );
        if (isGone) erased += 1;
        tally.add(done);
      }
      if (writes.length > 0) await sessions.bulkWrite(writes, { session: tx });
      for (const { user, receipt, sessions: count, messages: messageCount } of tally.all()) {
        await users.updateOne(
          { _id: user, "task.erasure.receipt": receipt },
          { $inc: { "task.erasure.sessions": count, "task.erasure.messages": messageCount } },
          { session: tx },
        );
      }
      return erased;
    });

  const finishing = createGroups<Done>({
    name: "count erased sessions",
    // Two at a time would only be in each other's way at the user's document.
    maxInFlight: 1,
    choose: (waiting) => ({
      group: waiting.slice(0, SESSIONS_AT_ONCE),
      isFull: waiting.length >= SESSIONS_AT_ONCE,
    }),
    async run(group) {
      observer.erased("sessions", await finish(group));
      return group.map(() => ({ result: undefined }));
    },
    onEnd() {},
  });

  return {
    async messagesOf(memory) {
      for (let erased = 0; ; ) {
        const count = await eraseBatch(memory);
        erased += count;
        observer.erased("messages", count);
        if (count < BATCH) return erased;
      }
    },
    async session(session, epochs) {
      await finishing.submit({ call: NOBODYS_CALL, session, epochs });
    },
  };
}

/** What is begun is finished, whoever waits for it. */
const NOBODYS_CALL = ownCall("erasure", new AbortController().signal);

interface Sum {
  readonly user: string;
  readonly receipt: string;
  readonly sessions: number;
  readonly messages: number;
}

/** What is done, by the receipts that it is counted for: of each session one, however many epochs it had. */
function createTally() {
  const sums = new Map<string, Sum>();
  return {
    add(entries: readonly RetiredEpoch[]): void {
      const seen = new Set<string>();
      for (const { counted } of entries) {
        if (!counted) continue;
        const { user, receipt, messages } = counted;
        const sum = sums.get(receipt) ?? { user, receipt, sessions: 0, messages: 0 };
        sums.set(receipt, {
          ...sum,
          sessions: sum.sessions + (seen.has(receipt) ? 0 : 1),
          messages: sum.messages + messages,
        });
        seen.add(receipt);
      }
    },
    all: () => sums.values(),
  };
}
