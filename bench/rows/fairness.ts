import { setTimeout as sleep } from "node:timers/promises";
import { DEFAULT_PROJECT } from "../../src/domain/keys.js";
import { insertKey } from "../data/keys.js";
import { addMemory, getSession, PATHS } from "../data/requests.js";
import { seedSessions } from "../data/seed.js";
import type { Row } from "../harness/row.js";
import type { Generator } from "../load/generator.js";
import { startChild } from "../setup/child.js";

const SESSIONS = 1_000;

/** As many as one connection may have under way. */
const GREEDY_IN_FLIGHT = 1_000;

/** How long the greedy one is at it before it is measured, so that it has all that it can get. */
const AHEAD_MS = 500;

/**
 * What one project, which makes a call at a time, notices of another one, which makes as many as it can: what all but one in a
 * hundred of its calls take at most, beside the other and alone.
 */
export const fairnessRow: Row = {
  name: "fairness_p99",
  unit: "ms",
  target: { atMost: 3 },
  stage: "calls",
  async prepare(bench) {
    const stage = await bench.stage(this.stage);
    const sessions = await seedSessions(stage.database, { prefix: "fair", count: SESSIONS });
    const service = await stage.startAnother({ SESSIONS_AUTH: "keys" });
    stage.onStop(service.stop);
    const connect = async (project: string, path: string, requests: readonly Uint8Array[]) => {
      const generator = startChild<Generator>("generator");
      stage.onStop(generator.stop);
      await generator.call("connect", [service.address], 1, await insertKey(stage.database, project));
      return { generator, load: await generator.call("load", { path, requests }) };
    };
    const modest = await connect(DEFAULT_PROJECT, PATHS.getSession, sessions.map(getSession));
    const greedy = await connect(
      "greedy",
      PATHS.addMemory,
      sessions.map((session) => addMemory(session)),
    );

    const measured = async (ms: number) => {
      const { p99Ms, medianMs, calls } = await modest.generator.call("run", modest.load, { inFlight: 1, ms });
      bench.say(`median ${medianMs.toFixed(1)} ms, p99 ${p99Ms.toFixed(1)} ms of ${calls} calls`);
      return p99Ms;
    };
    return {
      async ours(ms) {
        await greedy.generator.call("hog", greedy.load, GREEDY_IN_FLIGHT);
        await sleep(AHEAD_MS);
        const figure = await measured(ms);
        const { served, refused } = await greedy.generator.call("stopHogging");
        bench.say(`the greedy one: ${served} calls served, ${refused} refused`);
        // What it has under way is not to fall into what is measured next.
        await sleep(AHEAD_MS);
        return figure;
      },
      baselines: [measured],
    };
  },
};
