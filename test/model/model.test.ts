import { randomUUID } from "node:crypto";
import fc from "fast-check";
import { afterAll, beforeAll, test } from "vitest";
import { createTestPurger } from "../support/purger.js";
import { startService, type TestService } from "../support/service.js";
import { run } from "./run.js";
import { anySteps, print } from "./steps.js";

/** Repeats what failed: the seed that a failure prints, and how many sequences to try. */
const SEED = Number(process.env.MODEL_SEED ?? Math.floor(Math.random() * 2 ** 31));
const SEQUENCES = Number(process.env.MODEL_SEQUENCES ?? 250);

const RETENTION_MS = 30 * 86_400_000;
const MEMORY_WINDOW = 3;

/**
 * Sequences run side by side, each lane on a database of its own, so that "all sessions" are its own: some at one service, some at
 * two, each call at the other one; and with what a process keeps of memories so small that next to none has room, or some of it.
 */
const LANES = [
  { services: 1 },
  { services: 1 },
  { services: 2 },
  { services: 2 },
  { services: 1, cacheBytes: 20 * 1024 },
  { services: 2, cacheBytes: 48 * 1024 },
  { services: 1, cacheBytes: 0 },
];
const lanes: TestService[][] = [];

beforeAll(async () => {
  // Its own passes would erase some of what a call of the sequence is to erase, and count.
  const ownPasses = { purgeIntervalMs: 2 ** 30 };
  const start = ({ services, ...cache }: (typeof LANES)[number]) => {
    const databaseName = `test-${randomUUID()}`;
    const options = { databaseName, retentionMs: RETENTION_MS, memoryWindow: MEMORY_WINDOW, ...ownPasses, ...cache };
    return Promise.all(Array.from({ length: services }, () => startService(options)));
  };
  lanes.push(...(await Promise.all(LANES.map(start))));
});
afterAll(() => Promise.all(lanes.flat().map((service) => service.stop())));

test.concurrent.each(LANES.map((options, lane) => ({ lane, ...options })))(
  "the service answers any sequence of calls as the rules say ($lane: $services at a time, cache $cacheBytes)",
  { timeout: 600_000 },
  async ({ lane }) => {
    const apis = lanes[lane] as TestService[];
    const { database } = apis[0] as TestService;
    const subject = {
      apis,
      purger: createTestPurger(database),
      latePurger: createTestPurger(database, RETENTION_MS + 60_000),
      retentionMs: RETENTION_MS,
      memoryWindow: MEMORY_WINDOW,
    };
    const property = fc.asyncProperty(anySteps, async (steps) => {
      const collections = [database.sessions, database.messages, database.users, database.erasures];
      try {
        await run(steps, { ...subject, prefix: `${randomUUID().slice(0, 8)}-` });
      } finally {
        await Promise.all(collections.map((all) => all.deleteMany({})));
      }
    });
    const seed = SEED + lane;
    const outcome = await fc.check(property, {
      seed,
      numRuns: Math.ceil(SEQUENCES / LANES.length),
      endOnFailure: false,
    });
    if (!outcome.failed) return;
    const [steps] = outcome.counterexample ?? [[]];
    const reason =
      outcome.errorInstance instanceof Error ? outcome.errorInstance.message : String(outcome.errorInstance);
    throw new Error(
      `The service and the rules disagree.\n${reason}\n\nThe calls:\n${print(steps)}\n\nAgain: MODEL_SEED=${SEED}, lane ${lane}`,
    );
  },
);
