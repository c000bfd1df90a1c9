import { type Db, MongoClient } from "mongodb";

/** What is in a service's database, looked at from beside it. */
export interface Stored {
  readonly db: Db;
  close(): Promise<void>;
}

export async function openStored(uri: string, databaseName: string): Promise<Stored> {
  const client = new MongoClient(uri, { readConcern: { level: "majority" }, writeConcern: { w: "majority" } });
  await client.connect();
  return {
    db: client.db(databaseName),
    async close() {
      await client
        .db(databaseName)
        .dropDatabase()
        .catch(() => {});
      await client.close();
    },
  };
}

interface Session {
  readonly _id: string;
  readonly user?: string;
  readonly userEpoch?: string;
  readonly epoch: string;
  readonly messageCount: number;
  readonly lastSequence: number;
  readonly deleted: boolean;
}

interface Message {
  readonly _id: string;
  readonly session: string;
  readonly epoch: string;
  readonly sequence: number;
  readonly deleted?: true;
}

interface User {
  readonly _id: string;
  readonly epoch: string;
  readonly sessionCount: number;
  readonly deleted: boolean;
}

/** Where the counts that are kept differ from what is there, and sequences that come twice or lie beyond the last one. */
export async function miscounts(db: Db): Promise<string[]> {
  const sessions = await db
    .collection<Session>("sessions")
    .find({ purging: { $exists: false } })
    .toArray();
  const messages = await db
    .collection<Message>("messages")
    .find({}, { projection: { content: 0, payload: 0 } })
    .toArray();
  const users = await db.collection<User>("users").find().toArray();
  const found: string[] = [];
  const byMemory = new Map<string, Message[]>();
  const sequences = new Set<string>();
  for (const message of messages) {
    const memory = `${message.session} ${message.epoch}`;
    byMemory.set(memory, [...(byMemory.get(memory) ?? []), message]);
    const place = `${message.session} ${message.sequence}`;
    if (sequences.has(place)) found.push(`sequence ${place} comes twice`);
    sequences.add(place);
  }
  for (const { _id, epoch, messageCount, lastSequence } of sessions) {
    const memory = byMemory.get(`${_id} ${epoch}`) ?? [];
    const live = memory.filter(({ deleted }) => !deleted).length;
    if (live !== messageCount) found.push(`session ${_id} counts ${messageCount} messages and has ${live}`);
    if (memory.some(({ sequence }) => sequence > lastSequence))
      found.push(`session ${_id} has messages beyond its last`);
  }
  for (const { _id, epoch, sessionCount, deleted } of users) {
    if (deleted) continue;
    const live = sessions.filter(({ user, userEpoch, deleted: gone }) => user === _id && userEpoch === epoch && !gone);
    if (live.length !== sessionCount) found.push(`user ${_id} counts ${sessionCount} sessions and has ${live.length}`);
  }
  return found;
}
