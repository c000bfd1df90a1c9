import { randomUUID } from "node:crypto";
import { type Collection, type Db, MongoClient } from "mongodb";
import type { MessageRecord, SessionRecord } from "../../src/domain/records.js";
import { messageRecord } from "../data/records.js";
import { type Loaded, type LoopOptions, loop } from "./loop.js";
import { serve } from "./serve.js";

/** What is possible with the driver alone, in a process of its own: the baselines. */

type Memory = Pick<SessionRecord, "_id" | "epoch">;

/** What the baselines write to: like the service's collections, but with no index besides `_id`, which flatters them. */
interface Collections {
  readonly sessions: Collection<SessionRecord>;
  readonly messages: Collection<MessageRecord>;
  readonly ownMessages: Collection<MessageRecord>;
  readonly counters: Collection<{ _id: string; lastSequence: number }>;
}

let client: MongoClient | undefined;
let collections: Collections | undefined;
let position = 0;

const handlers = {
  async open(uri: string, database: string): Promise<void> {
    await client?.close();
    client = new MongoClient(uri, {
      // As the service has it.
      maxPoolSize: 20,
      ignoreUndefined: true,
      readPreference: "primary",
      readConcern: { level: "majority" },
      writeConcern: { w: "majority", journal: true },
    });
    const db: Db = (await client.connect()).db(database);
    collections = {
      sessions: db.collection("sessions"),
      messages: db.collection("messages"),
      ownMessages: db.collection("bench_messages"),
      counters: db.collection("bench_counters"),
    };
  },

  /** Makes the collections, for by the first writes many would be made at once, which the Windows build does not survive. */
  async prepareWrites(sessions: readonly Memory[]): Promise<void> {
    const { ownMessages, counters } = opened();
    await ownMessages.insertOne(messageRecord({ _id: "first", epoch: randomUUID() }, 1));
    await counters.bulkWrite(
      sessions.map(({ _id }) => ({
        updateOne: { filter: { _id }, update: { $inc: { lastSequence: 0 } }, upsert: true },
      })),
    );
  },

  findOne: (keys: readonly string[], options: LoopOptions) => {
    const { sessions } = opened();
    return inTurn(keys, options, (_id) => sessions.findOne({ _id }));
  },

  insertOne: (memories: readonly Memory[], options: LoopOptions) => {
    const { ownMessages } = opened();
    return inTurn(memories, options, (memory) => ownMessages.insertOne(messageRecord(memory, 1)));
  },

  insertMany: (memories: readonly Memory[], count: number, options: LoopOptions) => {
    const { ownMessages } = opened();
    return inTurn(memories, options, (memory) =>
      ownMessages.insertMany(Array.from({ length: count }, (_, index) => messageRecord(memory, index + 1))),
    );
  },

  /** How one would append without transactions: take a number, then write under it. */
  counterThenInsert: (memories: readonly Memory[], options: LoopOptions) => {
    const { counters, ownMessages } = opened();
    return inTurn(memories, options, async (memory) => {
      const counter = await counters.findOneAndUpdate(
        { _id: memory._id },
        { $inc: { lastSequence: 1 } },
        { returnDocument: "after" },
      );
      await ownMessages.insertOne(messageRecord(memory, counter?.lastSequence ?? 0));
    });
  },

  findNewest: (memories: readonly Memory[], limit: number, options: LoopOptions) => {
    const { messages } = opened();
    return inTurn(memories, options, ({ _id: session, epoch }) =>
      messages.find({ session, epoch }, { sort: { sequence: -1 }, limit }).toArray(),
    );
  },

  /** Reads all sessions in no order. */
  async cursor(batchSize: number): Promise<{ items: number; seconds: number }> {
    const begin = performance.now();
    let items = 0;
    for await (const { _id } of opened().sessions.find({}, { batchSize })) items += _id === "" ? 0 : 1;
    return { items, seconds: (performance.now() - begin) / 1_000 };
  },
};

function opened(): Collections {
  if (collections === undefined) throw new Error("not opened");
  return collections;
}

function inTurn<T>(
  items: readonly T[],
  options: LoopOptions,
  operation: (item: T) => Promise<unknown>,
): Promise<Loaded> {
  return loop(() => operation(items[position++ % items.length] as T), options);
}

export type Driver = typeof handlers;

serve(handlers);
