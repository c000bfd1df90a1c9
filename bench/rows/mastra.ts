import type { SessionRecord } from "../../src/domain/records.js";
import { addMemory, getMemory, listSessions, PATHS } from "../data/requests.js";
import { seedSessions, seedUsers } from "../data/seed.js";
import type { Row } from "../harness/row.js";
import type { Mastra, MastraSeed } from "../load/mastra.js";
import type { Scale } from "../options.js";
import type { Bench } from "../setup/bench.js";
import type { Child } from "../setup/child.js";
import type { Stage } from "../setup/stage.js";
import { peerStage, startPeer } from "./peers.js";
import { expectItems, serviceSpeed, speedOf } from "./sides.js";
import { TURNS, turnSpeed } from "./turns.js";

const THREADS_A_USER = 100;
const LAST_N = 50;

/** The same for both: threads or sessions of a few users, some of them with messages. */
function sizeOf({ conversations: threads }: Scale): MastraSeed {
  return { threads, resources: threads / THREADS_A_USER, threadsWithMessages: threads / 5, messages: 100 };
}

export const mastraRows: readonly Row[] = [
  {
    name: "mastra_add",
    unit: "messages/s",
    target: { atLeast: 2 },
    stage: "peers",
    async prepare(bench) {
      const { stage, peer, sessions } = await seeded(bench);
      return {
        ours: await serviceSpeed(stage, { path: PATHS.addMemory, requests: sessions.map((one) => addMemory(one)) }),
        baselines: [speedOf((options) => peer.call("add", options))],
      };
    },
  },
  {
    name: "mastra_read_50",
    unit: "calls/s",
    target: { atLeast: 6 },
    stage: "peers",
    async prepare(bench) {
      const { stage, peer, withMessages } = await seeded(bench);
      const read = { path: PATHS.getMemory, requests: withMessages.map((session) => getMemory(session, LAST_N)) };
      await expectItems(stage, read, LAST_N);
      return {
        ours: await serviceSpeed(stage, read),
        baselines: [speedOf((options) => peer.call("read", LAST_N, options))],
      };
    },
  },
  {
    // A turn adds as much on both sides, and both read the newest by an index, but Mastra also counts all of a thread.
    name: "mastra_turn",
    unit: "turns/s",
    target: { atLeast: 4 },
    stage: "peers",
    async prepare(bench) {
      const { stage, peer, withMessages } = await seeded(bench);
      return {
        ours: await turnSpeed(stage, withMessages, LAST_N),
        baselines: [speedOf((options) => peer.call("turn", LAST_N, options), TURNS)],
      };
    },
  },
  {
    name: "mastra_list",
    unit: "calls/s",
    target: { atLeast: 1.5 },
    stage: "peers",
    async prepare(bench) {
      const { stage, peer } = await seeded(bench);
      const requests = Array.from({ length: sizeOf(bench.scale).resources }, (_, user) =>
        listSessions({ userId: `user-${user}`, limit: THREADS_A_USER }),
      );
      const list = { path: PATHS.listSessions, requests };
      await expectItems(stage, list, THREADS_A_USER);
      return {
        ours: await serviceSpeed(stage, list),
        baselines: [speedOf((options) => peer.call("list", THREADS_A_USER, options))],
      };
    },
  },
];

async function seeded(bench: Bench): Promise<Seeded> {
  const stage = await peerStage(bench);
  return stage.once("mastra", async () => {
    const { peer, where } = await startPeer<Mastra>(bench, "mastra");
    await peer.call("open", ...where);
    const size = sizeOf(bench.scale);
    const { threads, resources, threadsWithMessages, messages } = size;
    bench.say(`putting in ${threads} threads`);
    await peer.call("seed", size);
    const users = await seedUsers(stage.database, resources, THREADS_A_USER);
    const owned = (index: number) => ({ user: users[index % resources] });
    const seed = { prefix: "thread", count: threadsWithMessages, messages, owned };
    const withMessages = await seedSessions(stage.database, seed);
    const bare = await seedSessions(stage.database, { prefix: "bare", count: threads - threadsWithMessages, owned });
    return { stage, peer, withMessages, sessions: [...withMessages, ...bare] };
  });
}

interface Seeded {
  readonly stage: Stage;
  readonly peer: Child<Mastra>;
  readonly sessions: readonly SessionRecord[];
  readonly withMessages: readonly SessionRecord[];
}
