import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { ServiceError } from "@grpc/grpc-js";
import type { Document } from "mongodb";
import { pino } from "pino";
import { afterAll, expect, inject, test } from "vitest";
import { messageKeyOf } from "../../src/domain/keys.js";
import type { MessageRecord, SessionRecord } from "../../src/domain/records.js";
import { startServer } from "../../src/server.js";
import { type Database, databaseTime, openDatabase } from "../../src/store/database.js";
import { type Api, connect, decodeFailure } from "../support/api.js";
import { eventually, timed } from "../support/eventually.js";
import { killProcesses, type RunningService, startProcess } from "./support/processes.js";
import { report } from "./support/report.js";
import { faultsOf } from "./support/settled.js";

afterAll(killProcesses);

/**
 * What is deleted is gone from the database this soon after its time, purger and TTL monitor being at their fastest. It takes seconds,
 * and many of them on a slow machine.
 */
const SOON_MS = 60_000;
const HOUR_MS = 3_600_000;

/** Two services on one database whose clocks are an hour apart, and neither is right. */
interface Pair {
  readonly services: readonly [RunningService, RunningService];
  readonly database: Database;
  /** One of the two, by turns. */
  at(index: number): Api;
  stop(): Promise<void>;
}

async function startPair(retention: string): Promise<Pair> {
  const databaseName = `purging-${randomUUID()}`;
  const start = (aheadMs: number): Promise<RunningService> =>
    startProcess({
      MONGODB_URI: inject("mongodbUri"),
      MONGODB_DATABASE: databaseName,
      SESSIONS_RETENTION: retention,
      SESSIONS_PURGE_INTERVAL: "100ms",
      NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(shiftedClock(aheadMs))}`,
    });
  // One after the other: collections that come into being together are more than MongoDB survives under Wine.
  const one = await start(HOUR_MS / 2);
  const other = await start(-HOUR_MS / 2);
  const database = openDatabase({ uri: inject("mongodbUri"), database: databaseName });
  return {
    services: [one, other],
    database,
    at: (index) => (index % 2 === 0 ? one : other),
    async stop() {
      for (const service of [one, other]) {
        service.kill();
        await service.exited;
      }
      await database.db.dropDatabase();
      await database.close();
    },
  };
}

const shiftedClock = (aheadMs: number): string => `
  const Real = Date;
  globalThis.Date = class Date extends Real {
    constructor(...args) {
      if (args.length === 0) super(Real.now() + ${aheadMs});
      else super(...args);
    }
    static now() {
      return Real.now() + ${aheadMs};
    }
  };
`;

const messages = (count: number, prefix: string) =>
  Array.from({ length: count }, (_, index) => ({ messageId: `${prefix}${index}`, content: `${prefix}${index}` }));

/** The answer of a call; nothing when it is refused for a reason that a race may have. Anything else is a violation. */
async function outcome<T>(call: Promise<T>, ...reasons: string[]): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    const { code, reason, message } = decodeFailure(error as ServiceError);
    if (!reasons.includes(reason)) throw new Error(`${code} ${reason}: ${message}`, { cause: error });
    return undefined;
  }
}

async function contents(api: Api, sessionId: string): Promise<string> {
  const { session, messages: found } = await api.memory.getMemory({ sessionId, lastN: 1000 });
  return session ? `${session.messageCount}: ${found.map(({ content }) => content).join()}` : "none";
}

const whole = (count: number, prefix: string): string =>
  `${count}: ${messages(count, prefix)
    .map(({ content }) => content)
    .join()}`;

/** Rounds of a race, a few at a time. What a round throws is a violation. */
async function rounds(count: number, width: number, race: (round: number) => Promise<void>): Promise<string[]> {
  const violations: string[] = [];
  let next = 0;
  await Promise.all(
    Array.from({ length: width }, async () => {
      for (let round = next++; round < count; round = next++) {
        await race(round).catch((error: unknown) => violations.push(`round ${round}: ${error}`));
      }
    }),
  );
  return violations;
}

const soon = () => sleep(Math.random() * 12);

async function left({ sessions, messages, users }: Database): Promise<string> {
  const counts = [sessions, messages, users].map((collection) => collection.countDocuments({}));
  return (await Promise.all(counts)).join();
}

test("with no retention, what an undelete or an add has brought back in time stays whole, and all else is soon erased", async () => {
  const pair = await startPair("0s");
  const { database } = pair;
  try {
    const alive = new Map<string, string>();
    const tally = { undeleted: 0, added: 0, erased: 0 };
    const purge = (round: number, sessionId: string): Promise<unknown> => {
      // By the purger and the TTL index, which are always there, by a call for all of it, or by a call for this one.
      if (round % 3 === 0) return Promise.resolve();
      if (round % 3 === 1) return pair.at(round).purge.purgeDeleted({});
      return outcome(pair.at(round).sessions.purgeSession({ sessionId }), "SESSION_NOT_FOUND");
    };

    const undeleting = await rounds(150, 6, async (round) => {
      const sessionId = `undelete-${round}`;
      await pair.at(round).memory.addMemory({ sessionId, messages: messages(4, "m") });
      await pair.at(round + 1).sessions.deleteSession({ sessionId });
      const restoreMemory = round % 4 !== 0;
      const [undeleted, purged] = await Promise.all([
        soon().then(() =>
          outcome(
            pair.at(round + 1).sessions.undeleteSession({ sessionId, restoreMemory }),
            "SESSION_NOT_FOUND",
            "MEMORY_NOT_RESTORABLE",
          ),
        ),
        soon().then(() => purge(round, sessionId)),
      ]);
      // An explicit purge takes the live one too.
      if (undeleted && !(round % 3 === 2 && purged)) {
        alive.set(sessionId, restoreMemory ? whole(4, "m") : "0: ");
        tally.undeleted += 1;
      } else tally.erased += 1;
    });

    const adding = await rounds(150, 6, async (round) => {
      const sessionId = `add-${round}`;
      await pair.at(round).memory.addMemory({ sessionId, messages: messages(3, "old") });
      await pair.at(round + 1).sessions.deleteSession({ sessionId });
      const [, purged] = await Promise.all([
        soon().then(() => pair.at(round + 1).memory.addMemory({ sessionId, messages: messages(2, "new") })),
        soon().then(() => purge(round, sessionId)),
      ]);
      const expected = whole(2, "new");
      const seen = await contents(pair.at(round), sessionId);
      if (round % 3 === 2 && purged && seen === "none") tally.erased += 1;
      else {
        alive.set(sessionId, expected);
        tally.added += 1;
      }
    });

    // Purger and TTL monitor have come round more than once since.
    await sleep(2_500);
    const violations = [...undeleting, ...adding];
    for (const [sessionId, expected] of alive) {
      const seen = await contents(pair.at(alive.size), sessionId);
      if (seen !== expected) violations.push(`${sessionId}: ${seen} instead of ${expected}`);
    }
    const expectedMessages = [...alive.values()].reduce((sum, text) => sum + Number.parseInt(text, 10), 0);
    const expectedLeft = `${alive.size},${expectedMessages},0`;
    const isGone = () =>
      eventually("what is deleted is gone", async () => (await left(database)) === expectedLeft, SOON_MS);
    await isGone().catch(async () => violations.push(`${await left(database)} left instead of ${expectedLeft}`));
    violations.push(...(await faultsOf(database)), ...pair.services.flatMap(({ errors }) => errors));
    report("undelete and add against purge, no retention, clocks an hour apart", {
      tried: 300,
      acknowledged: tally.undeleted + tally.added,
      faults: tally.erased,
      ...tally,
      violations,
    });
    expect(violations).toEqual([]);
    expect(tally.undeleted).toBeGreaterThan(0);
    expect(tally.added).toBeGreaterThan(0);
  } finally {
    await pair.stop();
  }
});

test("a user who is deleted and erased takes all their sessions along, and none of the next user of the same id", async () => {
  const pair = await startPair("0s");
  const { database } = pair;
  try {
    const alive = new Map<string, string>();
    let created = 0;
    let refused = 0;
    const violations = await rounds(60, 4, async (round) => {
      const userId = `user-${round}`;
      const ids = Array.from({ length: 8 }, (_, index) => `${userId}-${index}`);
      await pair.at(round).users.createUser({ userId });
      const creations = ids.map((sessionId, index) =>
        soon().then(() => {
          const { sessions, memory } = pair.at(index);
          const call: Promise<unknown> =
            index % 2 === 0
              ? memory.addMemory({ sessionId, userId, messages: messages(2, "old") })
              : sessions.createSession({ sessionId, userId });
          return outcome(call, "USER_NOT_FOUND");
        }),
      );
      await sleep(Math.random() * 60);
      const { users } = pair.at(round + 1);
      if (round % 2 === 0) await users.deleteUser({ userId });
      // Two purge calls and the purgers of both services may be at it at the same time.
      else
        await Promise.all([0, 1].map((index) => outcome(pair.at(index).users.purgeUser({ userId }), "USER_NOT_FOUND")));
      for (const creation of await Promise.all(creations)) {
        if (creation) created += 1;
        else refused += 1;
      }

      // The id is free as soon as the erasure is over, and whoever still works at it must not touch what is new.
      await eventually(
        `${userId} is free again`,
        () => outcome(pair.at(round).users.createUser({ userId }), "USER_ALREADY_EXISTS"),
        SOON_MS,
      );
      for (const [index, sessionId] of ids.slice(0, 3).entries()) {
        await pair.at(index).memory.addMemory({ sessionId, userId, messages: messages(2, "new") });
        alive.set(sessionId, whole(2, "new"));
      }
    });

    await sleep(2_500);
    for (const [sessionId, expected] of alive) {
      const seen = await contents(pair.at(alive.size), sessionId);
      if (seen !== expected) violations.push(`${sessionId}: ${seen} instead of ${expected}`);
    }
    const expectedLeft = `${alive.size},${alive.size * 2},60`;
    const isGone = () =>
      eventually("what is deleted is gone", async () => (await left(database)) === expectedLeft, SOON_MS);
    await isGone().catch(async () => violations.push(`${await left(database)} left instead of ${expectedLeft}`));
    violations.push(...(await faultsOf(database)), ...pair.services.flatMap(({ errors }) => errors));
    report("delete and purge of a user against create, clocks an hour apart", {
      tried: 60 * 8,
      acknowledged: created,
      faults: 60,
      refused,
      violations,
    });
    expect(violations).toEqual([]);
    expect(created).toBeGreaterThan(0);
  } finally {
    await pair.stop();
  }
});

test("nothing is erased before its time by a clock that is ahead, nor kept by one that is behind", async () => {
  const RETENTION_MS = 4_000;
  const pair = await startPair(`${RETENTION_MS}ms`);
  const { database } = pair;
  try {
    const violations: string[] = [];
    const times = new Map<string, number>();
    const COUNT = 40;
    await rounds(COUNT, 8, async (round) => {
      const sessionId = `s-${round}`;
      await pair.at(round).memory.addMemory({ sessionId, messages: messages(5, "m") });
      const { session } = await pair.at(Math.floor(round / 2)).sessions.deleteSession({ sessionId });
      const { seconds, nanos } = session?.purgeTime ?? { seconds: 0, nanos: 0 };
      times.set(`default/${sessionId}`, seconds * 1000 + nanos / 1e6);
    }).then((failed) => violations.push(...failed));
    const nowish = (await databaseTime(database)).getTime();
    for (const [key, time] of times) {
      if (time < nowish - 60_000 || time > nowish + RETENTION_MS)
        violations.push(`${key}: a purge time of ${time} at ${nowish}`);
    }

    let looks = 0;
    const erasedBy = new Map<string, number>();
    while (erasedBy.size < times.size && looks < 10_000) {
      const there = new Map<string, number>();
      for await (const { _id, count } of database.messages.aggregate<{ _id: string; count: number }>([
        { $group: { _id: "$session", count: { $sum: 1 } } },
      ])) {
        there.set(_id, count);
      }
      const sessions = new Set(
        (await database.sessions.find({}, { projection: { _id: 1 } }).toArray()).map(({ _id }) => _id),
      );
      // Read after what was looked at: what was missing by then had been erased by then.
      const now = (await databaseTime(database)).getTime();
      looks += 1;
      for (const [key, time] of times) {
        const isWhole = sessions.has(key) && there.get(key) === 5;
        if (!isWhole && now < time) violations.push(`${key}: erased ${time - now} ms before its time`);
        if (!sessions.has(key) && !there.has(key) && !erasedBy.has(key)) erasedBy.set(key, now - time);
      }
      if (Math.max(...times.values()) + SOON_MS < now) break;
      await sleep(20);
    }
    for (const key of times.keys()) if (!erasedBy.has(key)) violations.push(`${key}: still there`);
    report("retention of 4 s, clocks an hour apart", {
      tried: COUNT,
      acknowledged: times.size,
      faults: erasedBy.size,
      looks,
      "gone after its time, ms": `${Math.min(...erasedBy.values())} to ${Math.max(...erasedBy.values())}`,
      violations,
    });
    expect(violations).toEqual([]);
    expect(times.size).toBe(COUNT);
  } finally {
    await pair.stop();
  }
});

test("a session of 200,000 messages is deleted as fast as an empty one, and purged in batches that others hardly notice", {
  timeout: 600_000,
}, async () => {
  const COUNT = 200_000;
  const BATCH = 1_000;
  const databaseName = `purging-${randomUUID()}`;
  const open = (monitorCommands = false) =>
    openDatabase({ uri: inject("mongodbUri"), database: databaseName, monitorCommands });
  const served = open(true);
  const database = open();
  const batches = watchBatches(served);
  const server = await startServer(
    {
      database: served,
      log: pino({ level: "error" }),
      retentionMs: 30 * 24 * HOUR_MS,
      // Its own passes would share in the erasure, and what they erase is not what the call answers.
      purgeIntervalMs: HOUR_MS,
      memoryWindow: 50,
      cacheBytes: 64 * 1024 * 1024,
      searchCacheBytes: 128 * 1024 * 1024,
      shutdownGraceMs: 2_000,
      limits: { maxCalls: 1_000, maxStreams: 1_000, maxWatchers: 2_000, maxRequestBytes: 64 * 1024 * 1024 },
    },
    { host: "127.0.0.1", port: 0 },
  );
  await server.firstContact;
  const api = connect(server.address);
  try {
    await api.memory.addMemory({ sessionId: "large", messages: [{ content: "one" }] });
    await load(database, "default/large", COUNT);
    await api.sessions.createSession({ sessionId: "small" });
    await api.memory.addMemory({ sessionId: "probed", messages: messages(20, "m") });
    const large = (await database.sessions.findOne({ _id: "default/large" })) as SessionRecord;
    const small = (await database.sessions.findOne({ _id: "default/small" })) as SessionRecord;
    expect(large.messageCount).toBe(COUNT);

    // Each is put back as it was, so that it can be deleted again. What its housekeeping has begun by then ends by itself.
    const times: Record<"large" | "small", number[]> = { large: [], small: [] };
    for (let round = 0; round < 9; round++) {
      for (const [name, before] of [
        ["small", small],
        ["large", large],
      ] as const) {
        const started = performance.now();
        await api.sessions.deleteSession({ sessionId: name });
        times[name].push(performance.now() - started);
        await database.sessions.replaceOne({ _id: before._id }, before);
        await batches.atRest();
      }
    }

    const quiet = await probe(api, sleep(3_000));
    batches.forget();
    await api.sessions.deleteSession({ sessionId: "large" });
    // The housekeeping is under way for longer than this; the purge takes its place.
    const marking = await probe(api, sleep(4_000));
    const purged = api.sessions.purgeSession({ sessionId: "large" });
    const [purging, { result, ms: purgeMs }] = await Promise.all([probe(api, purged), timed(purged)]);
    const { purgedMessages } = result;

    const violations: string[] = [];
    const medians = { large: quantile(times.large, 0.5), small: quantile(times.small, 0.5) };
    if (medians.large > 3 * medians.small + 10)
      violations.push(`deleted in ${medians.large} ms, an empty one in ${medians.small}`);
    if (purgedMessages !== COUNT) violations.push(`${purgedMessages} purged`);
    if (batches.largest() > BATCH) violations.push(`a batch of ${batches.largest()}`);
    const stored = await database.messages.countDocuments({ session: "default/large" });
    if (stored > 0) violations.push(`${stored} left`);
    const most = Math.max(500, 5 * p99(quiet));
    // Of both together: in the few seconds of the marking alone, two slow writes of a disk would make a p99.
    const busy = p99([...marking, ...purging]);
    if (busy > most) violations.push(`p99 of others ${busy} ms while it is marked and purged, ${p99(quiet)} before`);
    report("a session of 200,000 messages", {
      tried: COUNT,
      acknowledged: purgedMessages,
      faults: 0,
      "delete ms, median": `${medians.large.toFixed(1)} (empty: ${medians.small.toFixed(1)})`,
      "largest batch": batches.largest(),
      "p99 of others, ms": `${p99(quiet)} before, ${p99(marking)} while marking, ${p99(purging)} while purging`,
      "longest, ms": [quiet, marking, purging].map((times) => Math.round(Math.max(...times))).join("/"),
      "seconds to purge": (purgeMs / 1000).toFixed(1),
      violations,
    });
    expect(violations).toEqual([]);
  } finally {
    api.close();
    await server.stop();
    await database.db.dropDatabase();
    await database.close();
  }
});

/** Stores messages behind the one that a session has, as AddMemory would have, in a fraction of the time. */
async function load({ sessions, messages }: Database, key: string, count: number): Promise<void> {
  const session = (await sessions.findOne({ _id: key })) as SessionRecord;
  const first = (await messages.findOne({ session: key })) as MessageRecord;
  const BULK = 10_000;
  for (let from = 1; from < count; from += BULK) {
    const bulk = Array.from({ length: Math.min(BULK, count - from) }, (_, index) => ({
      ...first,
      _id: messageKeyOf(session.epoch, `loaded-${from + index}`),
      sequence: from + index + 1,
    }));
    await messages.insertMany(bulk, { ordered: false, writeConcern: { w: 1 } });
  }
  await sessions.updateOne({ _id: key }, { $set: { messageCount: count, lastSequence: count } });
}

/** How long the calls of a client take who has nothing to do with it, in milliseconds, until something else is over. */
async function probe(api: Api, until: Promise<unknown>): Promise<number[]> {
  let over = false;
  void until.then(
    () => {
      over = true;
    },
    () => {
      over = true;
    },
  );
  const times: number[] = [];
  while (!over) {
    const begun = performance.now();
    if (times.length % 2 === 0) await api.memory.getMemory({ sessionId: "probed" });
    else await api.memory.addMemory({ sessionId: "probed", messages: [{ content: "more" }] });
    times.push(performance.now() - begun);
    await sleep(5);
  }
  await until;
  return times;
}

const p99 = (times: readonly number[]): number => Math.round(quantile(times, 0.99));

function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? 0;
}

/** How many messages the database's commands have written or erased at once. */
function watchBatches({ client }: Database) {
  let largest = 0;
  const underWay = new Set<number>();
  const writes = new Map<number, string>();
  client.on("commandStarted", ({ requestId, commandName, command }) => {
    if (["hello", "ping", "endSessions"].includes(commandName)) return;
    underWay.add(requestId);
    if (["update", "delete"].includes(commandName) && command[commandName] === "messages")
      writes.set(requestId, commandName);
  });
  client.on("commandSucceeded", ({ requestId, reply }) => {
    underWay.delete(requestId);
    if (writes.delete(requestId)) largest = Math.max(largest, (reply as Document).n);
  });
  client.on("commandFailed", ({ requestId }) => {
    underWay.delete(requestId);
    writes.delete(requestId);
  });
  return {
    largest: () => largest,
    forget() {
      largest = 0;
    },
    async atRest() {
      for (let quiet = 0; quiet < 3; quiet = underWay.size === 0 ? quiet + 1 : 0) await sleep(10);
    },
  };
}
