import { setTimeout as sleep } from "node:timers/promises";
import { DeleteSessionRequest } from "../../gen/sessions/v1/session_service.js";
import { idOf } from "../../src/domain/keys.js";
import type { SessionRecord } from "../../src/domain/records.js";
import { addMemory, PATHS } from "../data/requests.js";
import { seedSessions } from "../data/seed.js";
import type { Row, Side } from "../harness/row.js";
import { median } from "../harness/statistics.js";
import { frame } from "../load/frames.js";
import type { Bench } from "../setup/bench.js";
import type { Stage } from "../setup/stage.js";
import { serviceLatency } from "./sides.js";

async function largeSession(bench: Bench): Promise<{ stage: Stage; session: SessionRecord }> {
  const stage = await bench.stage("depth");
  const session = await stage.once("large", async () => {
    const { messages } = bench.scale;
    bench.say(`putting in a session of ${messages} messages`);
    const [large] = await seedSessions(stage.database, { prefix: "large", count: 1, messages });
    return large as SessionRecord;
  });
  return { stage, session };
}

/** So many that each add of a round meets one that is still empty, or has a handful of messages. */
const EMPTY_SESSIONS = 5_000;

/** The time of one add to a session with very many messages, against one to an empty session. */
export const addMemoryDepthRow: Row = {
  name: "add_memory_depth",
  unit: "ms",
  target: { atMost: 1.2 },
  stage: "depth",
  async prepare(bench) {
    const { stage, session } = await largeSession(bench);
    const empty = await seedSessions(stage.database, { prefix: "empty", count: EMPTY_SESSIONS });
    const add = (to: SessionRecord): Buffer => addMemory(to);
    return {
      ours: await serviceLatency(stage, PATHS.addMemory, [add(session)]),
      baselines: [await serviceLatency(stage, PATHS.addMemory, empty.map(add))],
    };
  },
};

/** The time to delete a session with very many messages, against an empty one. */
export const deleteDepthRow: Row = {
  name: "delete_depth",
  unit: "ms",
  target: { atMost: 1.5 },
  stage: "depth",
  async prepare(bench) {
    const { stage, session } = await largeSession(bench);
    const [empty] = await seedSessions(stage.database, { prefix: "deleted", count: 1 });
    return {
      ours: await deletion(stage, session),
      baselines: [await deletion(stage, empty as SessionRecord)],
    };
  },
};

/** How long the purger takes to find out that there is nothing to do any more; the next deletion is not to meet it. */
const PURGER_MS = 200;

/**
 * Deletes again and again. In between, the session's document is put back as it was, past the service, which undoes the whole
 * deletion, as that is no more than a change of the document; what the purger began to do to the messages it gives up then.
 */
async function deletion({ generator, database }: Stage, { _id }: SessionRecord): Promise<Side> {
  const request = DeleteSessionRequest.fromPartial({ sessionId: idOf(_id) });
  const framed = frame(DeleteSessionRequest.encode(request).finish());
  const load = await generator.call("load", { path: PATHS.deleteSession, requests: [framed] });
  return async (ms) => {
    const live = await database.sessions.findOne({ _id });
    if (live === null) throw new Error(`no session ${_id}`);
    const times: number[] = [];
    for (const until = Date.now() + ms; Date.now() < until; ) {
      times.push((await generator.call("run", load, { inFlight: 1, ms, maxCalls: 1 })).medianMs);
      await database.sessions.replaceOne({ _id }, live);
      await sleep(PURGER_MS);
    }
    return median(times);
  };
}
