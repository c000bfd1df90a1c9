import type { SessionRecord } from "../../src/domain/records.js";
import { addMemory, getMemory, listSessions, PATHS } from "../data/requests.js";
import { seedSessions, seedUsers } from "../data/seed.js";
import type { Row } from "../harness/row.js";
import type { Mastra } from "../load/mastra.js";
import type { Bench } from "../setup/bench.js";
import type { Child } from "../setup/child.js";
import type { Stage } from "../setup/stage.js";
import { peerStage, startPeer } from "./peers.js";
import { expectItems, serviceSpeed, speedOf } from "./sides.js";

/** The same for both: threads or sessions of a few users, some of them with messages. */
const SIZE = { threads: 1_000, resources: 10, threadsWithMessages: 200, messages: 100 } as const;
const THREADS_A_USER = SIZE.threads / SIZE.resources;
const LAST_N = 50;

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
    target: { atLeast: 1.5 },
    stage: "peers",
    async prepare(bench) {
      const { stage, peer, sessions } = await seeded(bench);
      const requests = sessions.slice(0, SIZE.threadsWithMessages).map((session) => getMemory(session, LAST_N));
      const read = { path: PATHS.getMemory, requests };
      await expectItems(stage, read, LAST_N);
      return {
        ours: await serviceSpeed(stage, read),
        baselines: [speedOf((options) => peer.call("read", LAST_N, options))],
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
      const requests = Array.from({ length: SIZE.resources }, (_, user) =>
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
    bench.say(`putting in ${SIZE.threads} threads`);
    await peer.call("seed", SIZE);
    const users = await seedUsers(stage.database, SIZE.resources, THREADS_A_USER);
    const owned = (index: number) => ({ user: users[index % SIZE.resources] });
    const { threads, threadsWithMessages, messages } = SIZE;
    const sessions = [
      ...(await seedSessions(stage.database, { prefix: "thread", count: threadsWithMessages, messages, owned })),
      ...(await seedSessions(stage.database, { prefix: "bare", count: threads - threadsWithMessages, owned })),
    ];
    return { stage, peer, sessions };
  });
}

interface Seeded {
  readonly stage: Stage;
  readonly peer: Child<Mastra>;
  readonly sessions: readonly SessionRecord[];
}
