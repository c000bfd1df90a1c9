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

/** Sequences run side by side, each on a service and a database of its own, so that "all sessions" are its own. */
const LANES = 4;
const services: TestService[] = [];

beforeAll(async () => {
  // Its own passes would erase some of what a call of the sequence is to erase, and count.
  const ownPasses = { purgeIntervalMs: 2 ** 30 };
  const start = () => startService({ retentionMs: RETENTION_MS, memoryWindow: MEMORY_WINDOW, ...ownPasses });
  services.push(...(await Promise.all(Array.from({ length: LANES }, start))));
});
afterAll(() => Promise.all(services.map((service) => service.stop())));

test.concurrent.each(Array.from({ length: LANES }, (_, lane) => lane))(
  "the service answers any sequence of calls as the rules say (%i)",
  { timeout: 600_000 },
  async (lane) => {
    const service = services[lane] as TestService;
    const { database } = service;
    const subject = {
      api: service,
      purger: createTestPurger(database),
      latePurger: createTestPurger(database, RETENTION_MS + 60_000),
      retentionMs: RETENTION_MS,
      memoryWindow: MEMORY_WINDOW,
    };
    const property = fc.asyncProperty(anySteps, async (steps) => {
      const collections = [database.sessions, database.messages, database.users];
      try {
        await run(steps, { ...subject, prefix: `${randomUUID().slice(0, 8)}-` });
      } finally {
        await Promise.all(collections.map((all) => all.deleteMany({})));
      }
    });
    const seed = SEED + lane;
    const outcome = await fc.check(property, { seed, numRuns: Math.ceil(SEQUENCES / LANES), endOnFailure: false });
    if (!outcome.failed) return;
    const [steps] = outcome.counterexample ?? [[]];
    const reason =
      outcome.errorInstance instanceof Error ? outcome.errorInstance.message : String(outcome.errorInstance);
    throw new Error(
      `The service and the rules disagree.\n${reason}\n\nThe calls:\n${print(steps)}\n\nAgain: MODEL_SEED=${SEED}, lane ${lane}`,
    );
  },
);
