import { QUESTION } from "../data/records.js";
import { getMemory, PATHS } from "../data/requests.js";
import { seedSessions } from "../data/seed.js";
import type { Row } from "../harness/row.js";
import { growthMb } from "../setup/memory-use.js";
import { MANY } from "./sides.js";

const MAX_ROUNDS = 3;

const KIB = 1024;
const MIB = 1024 * KIB;
const MESSAGES = 32;
const MESSAGE_BYTES = 4 * KIB;

/** How often the cache is filled. */
const FILLS = 10;
/** How much of it is filled before, while the process grows to what so many calls take. */
const WARM_PART = 0.05;

/**
 * By how much more than its cache's size a process grows while its cache is filled many times over. Nothing to compare it with,
 * so the figure itself has the target. What as many calls take anyhow is not counted: they are made before, to a few sessions.
 *
 * Each round has a new process: memory that a process once had it may keep.
 */
export const cacheRow: Row = {
  name: "cache_mb",
  unit: "MB",
  target: { atMost: 40 },
  stage: "cache",
  async prepare(bench) {
    const stage = await bench.stage(this.stage);
    const { cacheMib } = bench.scale;
    const memoriesInCache = (cacheMib * MIB) / (MESSAGES * MESSAGE_BYTES);
    const count = FILLS * memoriesInCache;
    bench.say(`putting in ${count} sessions of ${(MESSAGES * MESSAGE_BYTES) / KIB} KiB`);
    const said = { ...QUESTION, content: "x".repeat(MESSAGE_BYTES) };
    const sessions = await seedSessions(stage.database, { prefix: "kept", count, messages: MESSAGES, said });

    const path = PATHS.getMemory;
    const requests = sessions.map((session) => getMemory(session, MESSAGES));
    const generator = await stage.startGenerator();
    const few = await generator.call("load", {
      path,
      requests: requests.slice(0, Math.ceil(WARM_PART * memoriesInCache)),
    });
    const all = await generator.call("load", { path, requests });
    const read = (load: number) =>
      generator.call("run", load, { inFlight: MANY, ms: Number.POSITIVE_INFINITY, maxCalls: count });
    return {
      maxRounds: MAX_ROUNDS,
      baselines: [],
      async ours() {
        const service = await stage.startAnother({ SESSIONS_CACHE_MIB: String(cacheMib), SESSIONS_WORKERS: "1" });
        try {
          await generator.call("connect", [service.address], 1);
          await read(few);
          return (await growthMb(service.pid, () => read(all))) - cacheMib;
        } finally {
          await service.stop();
        }
      },
    };
  },
};
