import { getMemory, PATHS } from "../data/requests.js";
import { memoriesOf, seedSessions } from "../data/seed.js";
import type { Row, Sides, Target } from "../harness/row.js";
import type { Bench } from "../setup/bench.js";
import { NO_CACHE, serviceWith } from "./other-services.js";
import { expectItems, serviceSpeed, speedOf } from "./sides.js";

const MESSAGES = 250;

interface Reading {
  readonly name: string;
  readonly target: Target;
  readonly lastN: number;
  readonly isCold?: true;
}

const READING: readonly Reading[] = [
  { name: "get_memory_50", target: { atLeast: 4 }, lastN: 50 },
  { name: "get_memory_50_cold", target: { atLeast: 1.3 }, lastN: 50, isCold: true },
  { name: "get_memory_200", target: { atLeast: 6 }, lastN: 200 },
];

/**
 * Sessions that have been read before, by a service that keeps what it has read, and by one that keeps nothing. Against a find
 * that needs to know the memory's epoch, which we read first.
 */
export const getMemoryRows: readonly Row[] = READING.map((reading) => ({
  name: reading.name,
  unit: "calls/s",
  target: reading.target,
  stage: "calls",
  prepare: (bench) => prepare(bench, reading),
}));

async function prepare(bench: Bench, { lastN, isCold }: Reading): Promise<Sides> {
  const stage = await bench.stage("calls");
  const sessions = await stage.once("read", () =>
    seedSessions(stage.database, { prefix: "read", count: bench.scale.conversations / 5, messages: MESSAGES }),
  );
  const memories = memoriesOf(sessions);
  const read = { path: PATHS.getMemory, requests: sessions.map((session) => getMemory(session, lastN)) };
  const loading = isCold ? await serviceWith(stage, NO_CACHE) : stage;
  await expectItems(loading, read, lastN);
  return {
    ours: await serviceSpeed(loading, read),
    baselines: [speedOf((options) => stage.driver.call("findNewest", memories, lastN, options))],
  };
}
