import { QUESTION } from "../data/records.js";
import { addMemory, PATHS } from "../data/requests.js";
import { seedSessions } from "../data/seed.js";
import type { Row } from "../harness/row.js";
import type { Watchers } from "../load/watchers.js";
import { startChild } from "../setup/child.js";
import { residentMb } from "../setup/memory-use.js";
import { MANY } from "./sides.js";

const WATCHERS = 1_000;
const LOADED_SESSIONS = 1_000;

/** How often something happens to one of the watched sessions. */
const EVERY_MS = 10;

const MAX_ROUNDS = 3;

/**
 * How long after the acknowledgement of a message those are told of it who watch its session, all but one in a hundred, while a
 * thousand watch one session each and as much is added to others as goes. Nobody need be told later than by asking.
 */
const watchDelayRow: Row = {
  name: "watch_delay_ms",
  group: "watch",
  unit: "ms",
  target: { atMost: 50 },
  stage: "calls",
  async prepare(bench) {
    const stage = await bench.stage(this.stage);
    const { generator, service } = stage;
    const sessions = await seedSessions(stage.database, { prefix: "beside", count: LOADED_SESSIONS });
    const requests = sessions.map((session) => addMemory(session, [QUESTION]));
    const load = await generator.call("load", { path: PATHS.addMemory, requests });
    const watchers = startChild<Watchers>("watchers");
    stage.onStop(watchers.stop);
    await watchers.call("open", service.address, WATCHERS);
    return {
      baselines: [],
      async ours(ms) {
        const [{ medianMs, p99Ms, count }, { calls, seconds }] = await Promise.all([
          watchers.call("delays", ms, EVERY_MS),
          generator.call("run", load, { inFlight: MANY, ms }),
        ]);
        const besides = `${Math.round(calls / seconds)} messages/s added beside`;
        bench.say(`told after ${medianMs.toFixed(1)} ms, p99 ${p99Ms.toFixed(1)} ms of ${count}, ${besides}`);
        return p99Ms;
      },
    };
  },
};

/** How much a service grows with a thousand who watch one session each, of which nothing happens. */
const watchersIdleRow: Row = {
  name: "watchers_idle_mb",
  group: "watch",
  unit: "MB",
  target: { atMost: 60 },
  stage: "calls",
  async prepare(bench) {
    const stage = await bench.stage(this.stage);
    return {
      maxRounds: MAX_ROUNDS,
      baselines: [],
      async ours() {
        const service = await stage.startAnother();
        const watchers = startChild<Watchers>("watchers");
        try {
          // What the first call takes is not what the thousandth takes.
          await watchers.call("open", service.address, 1);
          const before = await residentMb(service.pid);
          await watchers.call("open", service.address, WATCHERS);
          return (await residentMb(service.pid)) - before;
        } finally {
          await watchers.stop();
          await service.stop();
        }
      },
    };
  },
};

export const watchRows: readonly Row[] = [watchDelayRow, watchersIdleRow];
