import type { SessionRecord } from "../../src/domain/records.js";
import { addMemory, getMemory, PATHS } from "../data/requests.js";
import { seedSessions, settle } from "../data/seed.js";
import type { Row } from "../harness/row.js";
import type { Langchain } from "../load/langchain.js";
import type { Bench } from "../setup/bench.js";
import type { Child } from "../setup/child.js";
import type { Stage } from "../setup/stage.js";
import { peerStage, startPeer } from "./peers.js";
import { expectItems, serviceSpeed, speedOf } from "./sides.js";
import { TURNS, turnSpeed } from "./turns.js";

const MESSAGES = 200;

export const langchainRows: readonly Row[] = [
  {
    name: "langchain_add",
    unit: "messages/s",
    target: { atLeast: 1.5 },
    stage: "peers",
    async prepare(bench) {
      const { stage, peer, sessions } = await seeded(bench, "add");
      return {
        ours: await serviceSpeed(stage, { path: PATHS.addMemory, requests: sessions.map((one) => addMemory(one)) }),
        baselines: [speedOf((options) => peer.call("add", options))],
      };
    },
  },
  {
    name: "langchain_read",
    unit: "calls/s",
    target: { atLeast: 2 },
    stage: "peers",
    async prepare(bench) {
      // Sessions of its own, for those that were added to have more than 200 messages by now.
      const { stage, peer, sessions } = await seeded(bench, "read");
      const read = { path: PATHS.getMemory, requests: sessions.map((session) => getMemory(session, MESSAGES)) };
      await expectItems(stage, read, MESSAGES);
      return {
        ours: await serviceSpeed(stage, read),
        baselines: [speedOf((options) => peer.call("read", MESSAGES, options))],
      };
    },
  },
  {
    // We read the newest 200 of what becomes more; LangChain reads all, so its histories are cut to 200 before each round.
    name: "langchain_turn",
    unit: "turns/s",
    target: { atLeast: 3 },
    stage: "peers",
    async prepare(bench) {
      const { stage, peer, sessions } = await seeded(bench, "turn");
      const turns = speedOf((options) => peer.call("turn", MESSAGES, options), TURNS);
      return {
        ours: await turnSpeed(stage, sessions, MESSAGES),
        baselines: [
          async (ms) => {
            await peer.call("cut", MESSAGES);
            await settle(stage.database);
            return turns(ms);
          },
        ],
      };
    },
  },
];

async function seeded(bench: Bench, use: string): Promise<Seeded> {
  const stage = await peerStage(bench);
  const peer = await stage.once("langchain", async () => {
    const { peer: started, where } = await startPeer<Langchain>(bench, "langchain");
    await started.call("open", ...where);
    return started;
  });
  // Enough that the messages added make none of them much longer.
  const count = bench.scale.conversations / 2;
  bench.say(`putting in ${count} sessions of ${MESSAGES} messages`);
  await peer.call("seed", use, count, MESSAGES);
  const sessions = await seedSessions(stage.database, { prefix: `langchain-${use}`, count, messages: MESSAGES });
  return { stage, peer, sessions };
}

interface Seeded {
  readonly stage: Stage;
  readonly peer: Child<Langchain>;
  readonly sessions: readonly SessionRecord[];
}
