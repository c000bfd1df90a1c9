import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, inject, it } from "vitest";
import { createKeyCache, type KeyCache } from "../../src/auth/key-cache.js";
import { hashOf, newSecret } from "../../src/auth/keys.js";
import { type Database, openDatabase } from "../../src/store/database.js";
import { createKeyStore } from "../../src/store/keys.js";

/** What of the keys that callers show reaches the database. */

let database: Database;
let cache: KeyCache;
let queries = 0;

beforeAll(async () => {
  database = openDatabase({ uri: inject("mongodbUri"), database: `test-${randomUUID()}`, monitorCommands: true });
  await database.ping();
  await database.prepare();
  cache = createKeyCache(createKeyStore(database));
  database.client.on("commandStarted", ({ commandName, command }) => {
    if (commandName === "find" && command.find === "keys") queries += 1;
  });
});
afterAll(async () => {
  await database.db.dropDatabase();
  await database.close();
});

const newHash = () => hashOf(newSecret());

async function insertKey(hash: string): Promise<void> {
  await database.keys.insertOne({
    _id: `default/${randomUUID()}`,
    project: "default",
    name: "test",
    role: "reader",
    hash,
    createTime: new Date(),
  });
}

it("an unknown key is looked up once, however often it is shown", async () => {
  const hash = newHash();
  queries = 0;
  for (let n = 0; n < 50; n++) await Promise.all(Array.from({ length: 100 }, () => cache.get(hash)));
  expect(await cache.get(hash)).toBeUndefined();
  expect(queries).toBe(1);
});

it("many unknown keys share look-ups, and those that are too many at a time are refused", async () => {
  queries = 0;
  const shown = Array.from({ length: 3_000 }, newHash).map(async (hash) => cache.get(hash));
  const outcomes = await Promise.allSettled(shown);
  const refused = outcomes.filter(({ status }) => status === "rejected");
  for (const outcome of refused) expect(outcome).toMatchObject({ reason: { reason: "OVERLOADED" } });
  expect(refused).toHaveLength(2_000);
  expect(queries).toBeLessThan(50);
});

it("a good key is found at once while the database is asked for thousands of unknown ones", async () => {
  const hash = newHash();
  await insertKey(hash);
  expect((await cache.get(hash))?.hash).toBe(hash);
  const flood = Promise.allSettled(Array.from({ length: 1_000 }, async () => cache.get(newHash())));
  expect(cache.get(hash)).not.toBeInstanceOf(Promise);
  await flood;
});

it("a key that is revoked is worthless soon, and so it stays", async () => {
  const hash = newHash();
  await insertKey(hash);
  expect((await cache.get(hash))?.revokeTime).toBeUndefined();
  await database.keys.updateOne({ hash }, { $set: { revokeTime: new Date() } });
  const acknowledged = performance.now();
  while ((await cache.get(hash))?.revokeTime === undefined) {
    expect(performance.now() - acknowledged).toBeLessThan(10_000);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  // Past the time after which a good one would be looked up anew.
  queries = 0;
  const until = performance.now() + 8_000;
  while (performance.now() < until) {
    expect((await cache.get(hash))?.revokeTime).toBeInstanceOf(Date);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  expect(queries).toBe(0);
});
