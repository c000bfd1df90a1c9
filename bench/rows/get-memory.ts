import { getMemory, PATHS } from "../data/requests.js";
import { seedSessions } from "../data/seed.js";
import type { Row } from "../harness/row.js";
import { expectItems, serviceSpeed, speedOf } from "./sides.js";

const SESSIONS = 200;
const MESSAGES = 100;
const LAST_N = 50;

/** Against a find that needs to know the memory's epoch, which we read first. */
export const getMemoryRow: Row = {
  name: "get_memory_50",
  unit: "calls/s",
  target: { atLeast: 0.6 },
  stage: "calls",
  async prepare(bench) {
    const stage = await bench.stage(this.stage);
    const sessions = await seedSessions(stage.database, { prefix: "read", count: SESSIONS, messages: MESSAGES });
    const memories = sessions.map(({ _id, epoch }) => ({ _id, epoch }));
    const read = { path: PATHS.getMemory, requests: sessions.map((session) => getMemory(session, LAST_N)) };
    await expectItems(stage, read, LAST_N);
    return {
      ours: await serviceSpeed(stage, read),
      baselines: [speedOf((options) => stage.driver.call("findNewest", memories, LAST_N, options))],
    };
  },
};
