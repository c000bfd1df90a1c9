import type { SessionRecord } from "../../src/domain/records.js";
import { TURN } from "../data/records.js";
import { memoriesOf, seedSessions } from "../data/seed.js";
import type { Row, Side } from "../harness/row.js";
import type { Bench } from "../setup/bench.js";
import type { Stage } from "../setup/stage.js";
import { besideAnother } from "./other-services.js";
import { speedOf } from "./sides.js";
import { TURNS, turnSpeed } from "./turns.js";

/** More than are read; and what a turn adds changes nothing for the next one, as both sides read the newest by an index. */
const MESSAGES = 60;
const LAST_N = 50;

/** A turn of a chat against what does the same with the driver alone: a find, a counter and an insert. */
export const chatTurnRows: readonly Row[] = [
  {
    name: "chat_turn",
    unit: "turns/s",
    target: { atLeast: 2 },
    stage: "calls",
    async prepare(bench) {
      const { stage, sessions, baseline } = await seeded(bench);
      return { ours: await turnSpeed(stage, sessions, LAST_N), baselines: [baseline] };
    },
  },
  {
    // Each call goes to the other one of two processes than the call before, so that both write and read each session.
    name: "chat_turn_two",
    unit: "turns/s",
    target: undefined,
    stage: "calls",
    async prepare(bench) {
      const { stage, sessions, baseline } = await seeded(bench);
      return { ours: await turnSpeed(await besideAnother(stage), sessions, LAST_N), baselines: [baseline] };
    },
  },
];

async function seeded(bench: Bench): Promise<Seeded> {
  const stage = await bench.stage("calls");
  return stage.once("chats", async () => {
    const { conversations: count } = bench.scale;
    bench.say(`putting in ${count} sessions of ${MESSAGES} messages, twice`);
    const sessions = await seedSessions(stage.database, { prefix: "chat", count, messages: MESSAGES });
    const theirs = memoriesOf(await seedSessions(stage.database, { prefix: "driver", count, messages: MESSAGES }));
    await stage.driver.call("prepareWrites", theirs, MESSAGES);
    const baseline = speedOf((options) => stage.driver.call("turn", theirs, LAST_N, TURN, options), TURNS);
    return { stage, sessions, baseline };
  });
}

interface Seeded {
  readonly stage: Stage;
  readonly sessions: readonly SessionRecord[];
  readonly baseline: Side;
}
