import { setTimeout as sleep } from "node:timers/promises";
import { listSessions, PATHS } from "../data/requests.js";
import type { Row } from "../harness/row.js";
import { mostResidentMb, residentMb } from "../setup/memory-use.js";
import { manySessions } from "./many-sessions.js";

const MAX_ROUNDS = 3;

/**
 * How much the service grows while the reader of a listing has stopped in its midst: a server that does not mind would put
 * the other half into its memory. Nothing to compare it with, so the figure itself has the target.
 *
 * Each round has a new process: memory that a process once had it may keep, and then it would not grow a second time.
 */
export const slowReaderRow: Row = {
  name: "list_sessions_slow_reader_mb",
  unit: "MB",
  target: { atMost: 20 },
  stage: "listings",
  async prepare(bench) {
    const stage = await manySessions(bench);
    const { sessions, stopMs } = bench.scale;
    const all = listSessions({});
    const generator = await stage.startGenerator();

    const growth = async (pid: number): Promise<number> => {
      await generator.call("listUntil", PATHS.listSessions, all, sessions / 2);
      const before = await residentMb(pid);
      const most = await mostResidentMb(pid, () => sleep(stopMs));
      const items = await generator.call("finishListing");
      if (items !== sessions) throw new Error(`the listing had ${items} sessions`);
      return most - before;
    };
    return {
      maxRounds: MAX_ROUNDS,
      baselines: [],
      async ours() {
        const service = await stage.startAnother();
        try {
          await generator.call("connect", [service.address], 1);
          return await growth(service.pid);
        } finally {
          await service.stop();
        }
      },
    };
  },
};
