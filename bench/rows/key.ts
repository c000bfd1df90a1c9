import { DEFAULT_PROJECT } from "../../src/domain/keys.js";
import { insertKey } from "../data/keys.js";
import { addMemory, getSession, PATHS } from "../data/requests.js";
import { seedSessions } from "../data/seed.js";
import type { Row } from "../harness/row.js";
import type { Generator } from "../load/generator.js";
import { startChild } from "../setup/child.js";
import { MANY, serviceSpeed, speedOf } from "./sides.js";

const SESSIONS = 1_000;

/** What it costs that callers show a key: the same calls to a process that asks for one, against one that does not. */
export const keyRows: readonly Row[] = [
  { name: "get_session_key", path: PATHS.getSession, request: getSession },
  { name: "add_memory_1_key", path: PATHS.addMemory, request: addMemory },
].map(({ name, path, request }) => ({
  name,
  unit: "calls/s",
  target: { atLeast: 0.95 },
  stage: "calls",
  async prepare(bench) {
    const stage = await bench.stage("calls");
    const sessions = await seedSessions(stage.database, { prefix: name, count: SESSIONS });
    const requests = sessions.map((session) => request(session));
    const keyed = await stage.startAnother({ SESSIONS_AUTH: "keys" });
    stage.onStop(keyed.stop);
    const generator = startChild<Generator>("generator");
    stage.onStop(generator.stop);
    await generator.call("connect", [keyed.address], 1, await insertKey(stage.database, DEFAULT_PROJECT));
    const load = await generator.call("load", { path, requests });
    return {
      ours: speedOf((options) => generator.call("run", load, options)),
      baselines: [await serviceSpeed(stage, { path, requests, inFlight: MANY })],
    };
  },
}));
