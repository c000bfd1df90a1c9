import type { SessionRecord } from "../../src/domain/records.js";
import { addMemory, getMemory, PATHS } from "../data/requests.js";
import { seedSessions } from "../data/seed.js";
import type { Row } from "../harness/row.js";
import type { Langchain } from "../load/langchain.js";
import type { Bench } from "../setup/bench.js";
import type { Child } from "../setup/child.js";
import type { Stage } from "../setup/stage.js";
import { peerStage, startPeer } from "./peers.js";
import { expectItems, serviceSpeed, speedOf } from "./sides.js";

/** Enough sessions that the messages added make none of them much longer. */
const SESSIONS = 500;
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
    target: { atLeast: 0.7 },
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
];

async function seeded(bench: Bench, use: string): Promise<Seeded> {
  const stage = await peerStage(bench);
  const peer = await stage.once("langchain", async () => {
    const { peer: started, where } = await startPeer<Langchain>(bench, "langchain");
    await started.call("open", ...where);
    return started;
  });
  bench.say(`putting in ${SESSIONS} sessions of ${MESSAGES} messages`);
  await peer.call("seed", use, SESSIONS, MESSAGES);
  const sessions = await seedSessions(stage.database, {
    prefix: `langchain-${use}`,
    count: SESSIONS,
    messages: MESSAGES,
  });
  return { stage, peer, sessions };
}

interface Seeded {
  readonly stage: Stage;
  readonly peer: Child<Langchain>;
  readonly sessions: readonly SessionRecord[];
}
