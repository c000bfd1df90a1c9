import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { startTemporaryMongo } from "../../src/local/temporary.js";
import { openDatabase } from "../../src/store/database.js";
import { startMirror } from "../support/mirror.js";
import { createTestPurger } from "../support/purger.js";
import { createTally } from "./support/attempts.js";
import { startFleet } from "./support/fleet.js";
import { createOwner } from "./support/owner.js";
import { createRandom, seedOf } from "./support/random.js";
import { remainsOf } from "./support/remains.js";
import { report } from "./support/report.js";
import { createSharedLoad } from "./support/shared-load.js";

const KILLS = 30;
const RETENTION_MS = 30 * 86_400_000;

/** A kill is worth something only when the services have come to work since the one before, on however slow a machine. */
const CHANGES_BETWEEN = 10;
const PATIENCE_MS = 4_000;

test("services killed at random moments of a mixed load lose nothing that was acknowledged and bring nothing back", async () => {
  const random = createRandom(seedOf(process.env.FAULTS_SEED));
  // A MongoDB of its own: it is told to drop what a killed service leaves open after 1 s rather than 10, so that the load
  // goes on between 30 kills in a minute.
  const mongo = await startTemporaryMongo({ env: process.env, log: () => {}, ttlSeconds: 1 });
  onTestFinished(mongo.stop);
  const name = `test-${randomUUID()}`;
  const database = openDatabase({ uri: mongo.uri, database: name });
  onTestFinished(database.close);
  await database.client.db("admin").command({ setParameter: 1, transactionLifetimeLimitSeconds: 1 });
  const fleet = await startFleet(2, random, {
    MONGODB_URI: mongo.uri,
    MONGODB_DATABASE: name,
    SESSIONS_PURGE_INTERVAL: "200ms",
    SESSIONS_RETENTION: "30d",
  });

  const mirrors = [await startMirror(fleet.any), await startMirror(fleet.any)];
  const tally = createTally();
  const load = { tally, random, anyService: fleet.any };
  const owners = Array.from({ length: 10 }, (_, index) =>
    createOwner({ ...load, name: `owner-${index}`, sessions: 6 }),
  );
  const shared = createSharedLoad({ ...load, prefix: "shared" });
  let isOver = false;
  const clients = [
    ...owners.map((owner) => owner.run(() => isOver)),
    ...[0, 0, 0, 1, 1, 1, 2, 2, 2].map((group) => shared.runClient(group, () => isOver)),
  ];
  let kills = 0;
  try {
    for (; kills < KILLS; kills++) {
      await underLoad(tally, random.below(400));
      await fleet.killOne();
    }
    await sleep(500);
  } finally {
    isOver = true;
    await Promise.all(clients);
  }

  const services = await fleet.all();
  const { operations, sessions, history } = await shared.finish("service-kills");
  for (const api of services) for (const owner of owners) await owner.check(api);

  // Whoever watched, and resumed whenever their service was killed, has been told of all that is there, and of nothing else.
  for (const mirror of mirrors) {
    const [api] = services;
    if (!api) continue;
    await mirror.settle(api);
    tally.violations.push(...(await mirror.differences(api, "")));
    await mirror.stop();
  }

  // The time in which everything could be restored passes.
  await createTestPurger(database, RETENTION_MS + 60_000).pass();
  await services[0]?.purge.purgeDeleted({ olderThan: { seconds: 0, nanos: 0 } });
  tally.violations.push(...(await remainsOf(database)));
  for (const api of services) for (const owner of owners) await owner.check(api);
  const own = { $regex: "^default/owner-" };
  const stored = await database.messages.countDocuments({ session: own });
  const expected = owners.reduce((sum, owner) => sum + owner.messageCount(), 0);
  if (stored !== expected) tally.violations.push(`${stored} messages are stored, not ${expected}`);
  const listed = (await services[1]?.sessions.listSessions({}))?.flatMap((chunk) => chunk.sessions) ?? [];
  const listedIds = listed.map(({ sessionId }) => sessionId).filter((id) => id.startsWith("owner-"));
  expect(listedIds.sort()).toEqual(owners.flatMap((owner) => owner.liveSessions()).sort());

  tally.violations.push(...fleet.complaints());
  const { violations, ...counts } = tally;
  const resumes = mirrors.reduce((sum, mirror) => sum + mirror.resumes, 0);
  const others = { messages: stored, resumes, shared_operations: operations, shared_sessions: sessions, history };
  report("service kills", { ...counts, faults: kills, violations, ...others });
  expect(violations).toEqual([]);
});

/** Waits until the load has come on a little, and then a moment longer that is different each time. */
async function underLoad(tally: { readonly acknowledged: number }, momentMs: number): Promise<void> {
  const before = tally.acknowledged;
  const giveUpAt = Date.now() + PATIENCE_MS;
  while (tally.acknowledged < before + CHANGES_BETWEEN && Date.now() < giveUpAt) await sleep(10);
  await sleep(momentMs);
}
