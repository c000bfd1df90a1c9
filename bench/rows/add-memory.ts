import { QUESTION, type Said } from "../data/records.js";
import { addMemory, PATHS } from "../data/requests.js";
import { memoriesOf, seedSessions } from "../data/seed.js";
import type { Row, Sides, Target } from "../harness/row.js";
import type { Bench } from "../setup/bench.js";
import { MANY, serviceSpeed, speedOf } from "./sides.js";

const SESSIONS = 1_000;
const HOT_SESSIONS = 20;

interface Adding {
  readonly name: string;
  readonly target: Target;
  readonly sessions: number;
  readonly messages: number;
  readonly inFlight: number;
  /** What the driver's insert is called that writes as much, and gives the messages no place. */
  readonly bound?: string;
}

const ADDING: readonly Adding[] = [
  {
    name: "add_memory_1",
    target: { atLeast: 2 },
    sessions: SESSIONS,
    messages: 1,
    inFlight: MANY,
    bound: "insertOne",
  },
  {
    name: "add_memory_hot",
    target: { atLeast: 2.5 },
    sessions: HOT_SESSIONS,
    messages: 1,
    inFlight: MANY,
    bound: "insertOne",
  },
  {
    name: "add_memory_10",
    target: { atLeast: 1.5 },
    sessions: SESSIONS,
    messages: 10,
    inFlight: MANY,
    bound: "insertMany",
  },
  {
    name: "add_memory_serial",
    target: { atLeast: 0.8 },
    // With more of them a round would be over before each had its second add, and the first costs the service a read.
    sessions: HOT_SESSIONS,
    messages: 1,
    inFlight: 1,
  },
];

/** Against what does the same with the driver alone: it takes numbers for the messages, then writes them. */
export const addMemoryRows: readonly Row[] = ADDING.map((adding) => ({
  name: adding.name,
  unit: "messages/s",
  target: adding.target,
  stage: "calls",
  prepare: (bench) => prepare(bench, adding),
}));

async function prepare(bench: Bench, adding: Adding): Promise<Sides> {
  const stage = await bench.stage("calls");
  const { name, sessions: count, inFlight, messages, bound } = adding;
  const { driver } = stage;
  const sessions = await seedSessions(stage.database, { prefix: name, count });
  const memories = memoriesOf(sessions);
  await driver.call("prepareWrites", memories, 0);
  const said = Array<Said>(messages).fill(QUESTION);
  const measured = { inFlight, itemsACall: messages };
  return {
    ours: await serviceSpeed(stage, {
      path: PATHS.addMemory,
      requests: sessions.map((session) => addMemory(session, said)),
      ...measured,
    }),
    baselines: [speedOf((options) => driver.call("counterThenInsert", memories, said, options), measured)],
    ...(bound && {
      bounds: [{ name: bound, side: speedOf((options) => driver.call("insert", memories, said, options), measured) }],
    }),
  };
}
