import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import type { MongoClient } from "mongodb";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { DataFolderInUseError, type LocalMongo, startLocalMongo } from "../../src/local/index.js";
import { startTemporaryMongo } from "../../src/local/temporary.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { compileForOtherProcesses, eventually, ownerProcess, processesNaming, withClient } from "./support.js";

/** The first start on a machine may have to fetch a mongod. */
const FIRST_START_MS = 10 * 60_000;

const log = () => {};
const env = process.env;

beforeAll(async () => {
  await (await startTemporaryMongo({ env, log })).stop();
}, FIRST_START_MS);

async function start(dataDir: string, ttlSeconds?: number): Promise<LocalMongo> {
  const mongo = await startLocalMongo({ dataDir, env, log, ttlSeconds });
  onTestFinished(() => mongo.stop());
  return mongo;
}

const insert = (uri: string, value: number) =>
  withClient(uri, (client) =>
    client
      .db("test")
      .collection("values")
      .insertOne({ value }, { writeConcern: { w: "majority", journal: true } }),
  );
const values = (uri: string) =>
  withClient(uri, async (client) => {
    const found = await client.db("test").collection("values").find().sort({ value: 1 }).toArray();
    return found.map(({ value }) => value);
  });

describe("a local MongoDB", () => {
  it("is a replica set: it has transactions and change streams", async () => {
    const mongo = await start(await temporaryFolder());
    await withClient(mongo.uri, async (client) => {
      const collection = client.db("test").collection<{ _id: number }>("values");
      await client.db("test").createCollection("values");
      const changes = collection.watch();
      await changes.tryNext();
      await client.withSession((session) =>
        session.withTransaction(async () => {
          await collection.insertOne({ _id: 1 }, { session });
          await collection.insertOne({ _id: 2 }, { session });
        }),
      );
      expect(await changes.next()).toMatchObject({ operationType: "insert", documentKey: { _id: 1 } });
      await changes.close();
    });
  });

  it("outlives clients that all create the same collections at once", async () => {
    const mongo = await start(await temporaryFolder());
    let hasEnded = false;
    void mongo.ended.then(() => {
      hasEnded = true;
    });
    const names = Array.from({ length: 40 }, (_, index) => `values-${index}`);
    const createAll = (client: MongoClient) =>
      Promise.all(names.map((name) => client.db("test").collection(name).createIndex({ value: 1 })));
    const clients = Array.from({ length: 4 }, () => withClient(mongo.uri, createAll));
    await Promise.race([Promise.all(clients), mongo.ended]);
    expect(hasEnded).toBe(false);
    expect(await withClient(mongo.uri, (client) => client.db("test").listCollections().toArray())).toHaveLength(40);
  });

  it("keeps its data between runs", async () => {
    const folder = await temporaryFolder();
    const first = await start(folder);
    await insert(first.uri, 1);
    await first.stop();

    const second = await start(folder);
    expect(await values(second.uri)).toEqual([1]);
  });

  it("comes back on another port when its former one is taken", async () => {
    const folder = await temporaryFolder();
    const first = await start(folder);
    await insert(first.uri, 1);
    await first.stop();
    const squatter = createServer((socket) => socket.destroy()).listen(Number(new URL(first.uri).port), "127.0.0.1");
    onTestFinished(() => void squatter.close());
    await once(squatter, "listening");

    const second = await start(folder);
    expect(second.uri).not.toBe(first.uri);
    await insert(second.uri, 2);
    expect(await values(second.uri)).toEqual([1, 2]);
  });

  it("erases expired documents as often as it is told to", async () => {
    const mongo = await start(await temporaryFolder(), 1);
    await withClient(mongo.uri, async (client) => {
      const collection = client.db("test").collection("values");
      await collection.createIndex({ goes: 1 }, { expireAfterSeconds: 0 });
      await collection.insertOne({ goes: new Date(0) });
      await eventually("the document is gone", async () => (await collection.countDocuments()) === 0);
    });
  });

  it("leaves no process and no temporary data behind when it is stopped, also twice", async () => {
    const folder = await temporaryFolder();
    const mongo = await start(folder);
    expect(await processesNaming(folder)).not.toEqual([]);
    await Promise.all([mongo.stop(), mongo.stop()]);
    await mongo.stop();
    expect(await processesNaming(folder)).toEqual([]);
  });

  it("tells when its database ends by itself, and can be started again", async () => {
    const folder = await temporaryFolder();
    const first = await start(folder);
    await insert(first.uri, 1);
    process.kill(first.pid, "SIGKILL");
    await first.ended;
    await first.stop();

    const second = await start(folder);
    expect(await values(second.uri)).toEqual([1]);
  });

  it("can run several times, each on its own folder, started together", async () => {
    const mongos = await Promise.all([1, 2, 3].map(async () => start(await temporaryFolder())));
    await Promise.all(mongos.map(({ uri }, index) => insert(uri, index)));
    expect(await Promise.all(mongos.map(({ uri }) => values(uri)))).toEqual([[0], [1], [2]]);
  });

  it("names the log and the last complaint when the database cannot start", async () => {
    const folder = await temporaryFolder();
    const mongo = await start(folder);
    await mongo.stop();
    await writeFile(join(folder, "mongodb/db/WiredTiger.turtle"), "no longer what it was");
    const failure = await start(folder).catch((error: Error) => error);
    expect(failure).toMatchObject({ name: "LocalMongoError" });
    expect((failure as Error).message).toMatch(/mongod\.log.*Set MONGODB_URI/);
    expect((failure as Error).message).not.toContain("\n");
    expect(await processesNaming(folder)).toEqual([]);
  });
});

describe("one data folder and two processes", () => {
  let build: Awaited<ReturnType<typeof compileForOtherProcesses>>;
  beforeAll(async () => {
    build = await compileForOtherProcesses();
  });
  afterAll(() => build.remove());

  it("refuses the second one in one line, and leaves the first unharmed", async () => {
    const folder = await temporaryFolder();
    const first = await ownerProcess(build.folder, folder);
    await insert(first.answer.uri, 1);

    const second = await ownerProcess(build.folder, folder);
    expect(second.answer.refused).toMatch(/^DataFolderInUseError: .* in use by another process \(\d+\): .*[^\n]$/);
    await expect(startLocalMongo({ dataDir: folder, env, log })).rejects.toBeInstanceOf(DataFolderInUseError);

    await insert(first.answer.uri, 2);
    expect(await values(first.answer.uri)).toEqual([1, 2]);
  });

  it("lets exactly one of several that start at once have it", async () => {
    const folder = await temporaryFolder();
    const owners = await Promise.all([1, 2, 3, 4].map(() => ownerProcess(build.folder, folder)));
    expect(owners.filter(({ answer }) => answer.refused === undefined)).toHaveLength(1);
  });

  it("ends the database of a process that was killed, and the next start has all that was acknowledged", async () => {
    const folder = await temporaryFolder();
    const owner = await ownerProcess(build.folder, folder);
    for (const value of [1, 2, 3]) await insert(owner.answer.uri, value);
    await owner.kill();
    await eventually("no process is left", async () => (await processesNaming(folder)).length === 0);

    const next = await start(folder);
    expect(await values(next.uri)).toEqual([1, 2, 3]);
  });

  it("starts at once after such a death, while the former database still goes down", async () => {
    const folder = await temporaryFolder();
    for (const round of [1, 2, 3]) {
      const owner = await ownerProcess(build.folder, folder);
      await insert(owner.answer.uri, round);
      await owner.kill();
    }
    const next = await start(folder);
    expect(await values(next.uri)).toEqual([1, 2, 3]);
  });

  it("takes over from a process that was killed together with its helpers", async () => {
    const folder = await temporaryFolder();
    const owner = await ownerProcess(build.folder, folder);
    await insert(owner.answer.uri, 1);
    // Paused, it cannot clean up when its helpers go.
    owner.pause();
    for (const { pid, command } of await processesNaming(folder)) {
      if (command.startsWith("/bin/sh")) process.kill(pid, "SIGKILL");
    }
    await owner.kill();
    const left = async () => (await processesNaming(folder)).map(({ pid }) => pid);
    await eventually("only the database is left", async () => (await left()).join() === `${owner.answer.pid}`);

    const next = await start(folder);
    expect(await values(next.uri)).toEqual([1]);
    expect(await left()).not.toContain(owner.answer.pid);
  });
});
