import { randomUUID } from "node:crypto";
import { expect, onTestFinished, test } from "vitest";
import { openDatabase } from "../../src/store/database.js";
import type { Api } from "../support/api.js";
import { eventually } from "../support/eventually.js";
import { startMirror } from "../support/mirror.js";
import { createTestPurger } from "../support/purger.js";
import { createTally } from "./support/attempts.js";
import { startFleet } from "./support/fleet.js";
import { createLedger } from "./support/ledger.js";
import { createOwner } from "./support/owner.js";
import { createRandom, seedOf } from "./support/random.js";
import { remainsOf } from "./support/remains.js";
import { startReplicaSet } from "./support/replica-set.js";
import { report } from "./support/report.js";
import { createSharedLoad } from "./support/shared-load.js";
import { listMessagesSlowly, listSessionsSlowly } from "./support/slow-listing.js";

const KILLS = 5;
const RETENTION_MS = 30 * 86_400_000;
/** After a fault, writes have to go on within this time. */
const RECOVERY_MS = 15_000;
/** So many, and so large, that neither what lies between a service and its reader nor an election holds them all. */
const LISTED = 2_500;
const LISTED_SESSIONS = 500;
const FILLING = "x".repeat(2_000);

test("primaries that die or step down take nothing back, and writes go on within 15 s", async () => {
  const random = createRandom(seedOf(process.env.FAULTS_SEED));
  const mongo = await startReplicaSet();
  onTestFinished(mongo.stop);
  const name = `test-${randomUUID()}`;
  const database = openDatabase({ uri: mongo.uri, database: name });
  onTestFinished(database.close);
  const fleet = await startFleet(2, random, {
    MONGODB_URI: mongo.uri,
    MONGODB_DATABASE: name,
    SESSIONS_PURGE_INTERVAL: "200ms",
    SESSIONS_RETENTION: "30d",
  });
  const services = await fleet.all();
  await storeListed(services[0] as Api);

  const mirror = await startMirror(fleet.any);
  const tally = createTally();
  const load = { tally, random, anyService: fleet.any };
  const owners = Array.from({ length: 5 }, (_, index) => createOwner({ ...load, name: `owner-${index}`, sessions: 6 }));
  const shared = createSharedLoad({ ...load, prefix: "shared" });
  const ledgers = [0, 1].map((index) => createLedger(`ledger-${index}`, tally, fleet.any));
  let isOver = false;
  const end = () => isOver;
  const clients = [
    ...owners.map((owner) => owner.run(end)),
    ...[0, 0, 0, 1, 1, 1].map((group) => shared.runClient(group, end)),
    ...ledgers.flatMap((ledger) => [ledger.write(end), ledger.read(end), ledger.read(end)]),
  ];

  const recoveries: number[] = [];
  let breaks = 0;
  let faults = 0;
  try {
    for (; faults <= KILLS; faults++) {
      const listings = [listMessagesSlowly(tally, fleet.any, "long"), listSessionsSlowly(tally, fleet.any)] as const;
      await Promise.all(listings.map(({ underWay }) => underWay));
      const moment = performance.now();
      const restart = faults < KILLS ? await mongo.killPrimary() : await mongo.stepDown().then(() => async () => {});
      for (const ledger of ledgers) {
        const writesAgain = () => ledger.firstWriteAfter(moment);
        recoveries.push(await eventually("writes go on", writesAgain, 2 * RECOVERY_MS));
      }
      await restart();
      const [messages, sessions] = await Promise.all(listings.map(({ done }) => done));
      breaks += (messages?.breaks ?? 0) + (sessions?.breaks ?? 0);
      const listed = sessions?.ids.filter((id) => id.startsWith("listed-")).sort();
      if (`${messages?.ids}` !== `${ids("", LISTED)}`)
        tally.violations.push("ListMessages was not complete and in order");
      if (`${listed}` !== `${ids("listed-", LISTED_SESSIONS)}`) tally.violations.push("ListSessions was not complete");
    }
  } finally {
    isOver = true;
    await Promise.all(clients);
  }

  const { operations, sessions, history } = await shared.finish("primary-kills");
  for (const api of services) for (const owner of owners) await owner.check(api);
  const [first] = services;
  if (first) {
    await mirror.settle(first);
    for (const prefix of ["owner-", "shared", "ledger-"]) {
      tally.violations.push(...(await mirror.differences(first, prefix)));
    }
  }
  await mirror.stop();
  await createTestPurger(database, RETENTION_MS + 60_000).pass();
  await services[0]?.purge.purgeDeleted({ olderThan: { seconds: 0, nanos: 0 } });
  tally.violations.push(...(await remainsOf(database)));
  for (const api of services) for (const owner of owners) await owner.check(api);

  const slowest = Math.round(Math.max(...recoveries));
  if (slowest > RECOVERY_MS) tally.violations.push(`writes went on only after ${slowest} ms`);
  tally.violations.push(...fleet.complaints());
  const { violations, ...counts } = tally;
  const others = {
    recoveryMs: slowest,
    resumes: mirror.resumes,
    breaks,
    shared_operations: operations,
    shared_sessions: sessions,
    history,
  };
  report("primary kills", { ...counts, faults, violations, ...others });
  expect(violations).toEqual([]);
});

/** What the slow listings list: a long session, and sessions that live throughout. */
async function storeListed(api: Api): Promise<void> {
  const numbers = ids("", LISTED);
  for (let from = 0; from < LISTED; from += 500) {
    const messages = numbers.slice(from, from + 500).map((messageId) => ({ messageId, content: FILLING }));
    await api.memory.addMemory({ sessionId: "long", messages });
  }
  const sessionIds = ids("listed-", LISTED_SESSIONS);
  await Promise.all(sessionIds.map((sessionId) => api.sessions.createSession({ sessionId, metadata: { FILLING } })));
}

/** So many ids, in the order in which they are sorted. */
function ids(prefix: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}${String(index).padStart(5, "0")}`);
}
