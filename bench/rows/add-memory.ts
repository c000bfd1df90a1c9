import { addMemory, PATHS } from "../data/requests.js";
import { seedSessions } from "../data/seed.js";
import type { Row, Sides, Target } from "../harness/row.js";
import type { Driver } from "../load/driver.js";
import type { Loaded, LoopOptions } from "../load/loop.js";
import type { Bench } from "../setup/bench.js";
import type { Stage } from "../setup/stage.js";
import { MANY, serviceSpeed, speedOf } from "./sides.js";

const SESSIONS = 1_000;
const HOT_SESSIONS = 20;

type Memories = Parameters<Driver["insertOne"]>[0];

interface Adding {
  readonly name: string;
  readonly target: Target;
  readonly sessions: number;
  readonly messages: number;
  readonly inFlight: number;
  /** What the driver does in place of one of our calls. */
  readonly baseline: (stage: Stage, memories: Memories, options: LoopOptions) => Promise<Loaded>;
}

const insertOne: Adding["baseline"] = ({ driver }, memories, options) => driver.call("insertOne", memories, options);

const ADDING: readonly Adding[] = [
  {
    name: "add_memory_1",
    target: { atLeast: 1.5 },
    sessions: SESSIONS,
    messages: 1,
    inFlight: MANY,
    baseline: insertOne,
  },
  {
    name: "add_memory_hot",
    target: { atLeast: 2 },
    sessions: HOT_SESSIONS,
    messages: 1,
    inFlight: MANY,
    baseline: insertOne,
  },
  {
    name: "add_memory_10",
    target: { atLeast: 0.8 },
    sessions: SESSIONS,
    messages: 10,
    inFlight: MANY,
    baseline: ({ driver }, memories, options) => driver.call("insertMany", memories, 10, options),
  },
  {
    name: "add_memory_serial",
    target: { atLeast: 0.8 },
    // With more of them a round would be over before each had its second add, and the first costs the service a read.
    sessions: HOT_SESSIONS,
    messages: 1,
    inFlight: 1,
    baseline: ({ driver }, memories, options) => driver.call("counterThenInsert", memories, options),
  },
];

export const addMemoryRows: readonly Row[] = ADDING.map((adding) => ({
  name: adding.name,
  unit: "messages/s",
  target: adding.target,
  stage: "calls",
  prepare: (bench) => prepare(bench, adding),
}));

async function prepare(bench: Bench, adding: Adding): Promise<Sides> {
  const stage = await bench.stage("calls");
  const { name, sessions: count, inFlight, messages } = adding;
  const sessions = await seedSessions(stage.database, { prefix: name, count });
  const memories = sessions.map(({ _id, epoch }) => ({ _id, epoch }));
  await stage.driver.call("prepareWrites", memories);
  const measured = { inFlight, itemsACall: messages };
  return {
    ours: await serviceSpeed(stage, {
      path: PATHS.addMemory,
      requests: sessions.map((session) => addMemory(session, messages)),
      ...measured,
    }),
    baselines: [speedOf((options) => adding.baseline(stage, memories, options), measured)],
  };
}
