import { QUESTION } from "../data/records.js";
import { getMemory, PATHS } from "../data/requests.js";
import { seedSessions } from "../data/seed.js";
import type { Row } from "../harness/row.js";
import { mostResidentMb } from "../setup/memory-use.js";

const MAX_ROUNDS = 3;

const KIB = 1024;
const MIB = 1024 * KIB;
const MESSAGES = 32;
const MESSAGE_BYTES = 4 * KIB;

/** How often the cache is filled. */
const FILLS = 10;
/** How much of it is filled before. */
const WARM_PART = 0.05;
/** Few, as it is not the answers on their way that are to be weighed. */
const IN_FLIGHT = 8;

/**
 * By how much more than its cache's size a process grows while its cache is filled many times over. Nothing to compare it with,
 * so the figure itself has the target. The most that the process has meanwhile is taken against the most that it had before, in
 * as many calls to a few sessions, for how much a collector leaves lying about goes up and down. Without a cache the figure is
 * about the cache's size below zero.
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
      generator.call("run", load, { inFlight: IN_FLIGHT, ms: Number.POSITIVE_INFINITY, maxCalls: count });
    return {
      maxRounds: MAX_ROUNDS,
      baselines: [],
      async ours() {
        const service = await stage.startAnother({ SESSIONS_CACHE_MIB: String(cacheMib), SESSIONS_WORKERS: "1" });
        try {
          await generator.call("connect", [service.address], 1);
          const before = await mostResidentMb(service.pid, () => read(few));
          const most = await mostResidentMb(service.pid, () => read(all));
          return most - before - cacheMib;
        } finally {
          await service.stop();
        }
      },
    };
  },
};
