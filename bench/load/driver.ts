import { randomUUID } from "node:crypto";
import { type Collection, type Db, MongoClient } from "mongodb";
import type { MessageRecord, SessionRecord } from "../../src/domain/records.js";
import { messageRecord, type Said } from "../data/records.js";
import { type Loaded, type LoopOptions, loop } from "./loop.js";
import { serve } from "./serve.js";

/** What is possible with the driver alone, in a process of its own: the baselines. */

type Memory = Pick<SessionRecord, "_id" | "epoch">;
type Messages = Collection<MessageRecord>;

interface Collections {
  readonly sessions: Collection<SessionRecord>;
  readonly messages: Messages;
  /** For what is written and never read: like the service's, but with no index besides `_id`, which flatters the baselines. */
  readonly ownMessages: Messages;
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
  async prepareWrites(sessions: readonly Memory[], lastSequence: number): Promise<void> {
    const { ownMessages, counters } = opened();
    await ownMessages.insertOne(messageRecord({ _id: "first", epoch: randomUUID() }, 1));
    await counters.bulkWrite(
      sessions.map(({ _id }) => ({
        updateOne: { filter: { _id }, update: { $set: { lastSequence } }, upsert: true },
      })),
    );
  },

  findOne: (keys: readonly string[], options: LoopOptions) => {
    const { sessions } = opened();
    return inTurn(keys, options, (_id) => sessions.findOne({ _id }));
  },

  insert: (memories: readonly Memory[], said: readonly Said[], options: LoopOptions) => {
    const { ownMessages } = opened();
    return inTurn(memories, options, (memory) => insertAfter(ownMessages, memory, 0, said));
  },

  counterThenInsert: (memories: readonly Memory[], said: readonly Said[], options: LoopOptions) => {
    const { ownMessages } = opened();
    return inTurn(memories, options, (memory) => append(ownMessages, memory, said));
  },

  findNewest: (memories: readonly Memory[], limit: number, options: LoopOptions) => {
    const { messages } = opened();
    return inTurn(memories, options, (memory) => findNewest(messages, memory, limit));
  },

  /** In the service's collection, for what is written has to be found by the index that reads need. */
  turn: (memories: readonly Memory[], limit: number, said: readonly Said[], options: LoopOptions) => {
    const { messages } = opened();
    return inTurn(memories, options, async (memory) => {
      await findNewest(messages, memory, limit);
      await append(messages, memory, said);
    });
  },

  /** Reads all messages of some memories at a time, of these and then of the next ones. */
  readAll: (groups: readonly (readonly Memory[])[], options: LoopOptions) => {
    const { messages } = opened();
    return inTurn(groups, options, async (memories) => {
      const session = { $in: memories.map(({ _id }) => _id) };
      let bytes = 0;
      for await (const message of messages.find<Uint8Array>({ session }, { raw: true })) bytes += message.length;
      if (bytes === 0) throw new Error("no messages");
    });
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

async function findNewest(messages: Messages, { _id: session, epoch }: Memory, limit: number): Promise<void> {
  const newest = await messages.find({ session, epoch }, { sort: { sequence: -1 }, limit }).toArray();
  if (newest.length !== limit) throw new Error(`${newest.length} messages`);
}

/** How one would append without transactions: take numbers, then write under them. */
async function append(messages: Messages, memory: Memory, said: readonly Said[]): Promise<void> {
  const counter = await opened().counters.findOneAndUpdate(
    { _id: memory._id },
    { $inc: { lastSequence: said.length } },
    { returnDocument: "after" },
  );
  if (counter === null) throw new Error(`no counter for ${memory._id}`);
  await insertAfter(messages, memory, counter.lastSequence - said.length, said);
}

async function insertAfter(messages: Messages, memory: Memory, sequence: number, said: readonly Said[]): Promise<void> {
  const records = said.map((one, index) => messageRecord(memory, sequence + 1 + index, one));
  // The bulk write that many are costs more than one needs.
  await (records.length === 1 ? messages.insertOne(records[0] as MessageRecord) : messages.insertMany(records));
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
