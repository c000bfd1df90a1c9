import type { SessionRecord } from "../../src/domain/records.js";
import { TURN } from "../data/records.js";
import { addMemory, getMemory, PATHS } from "../data/requests.js";
import type { Side } from "../harness/row.js";
import { expectItems, type Loading, stepsSpeed } from "./sides.js";

/** How turns are measured, on every side. */
export const TURNS = { inFlight: 32 } as const;

/** Turns of chats with our service: each reads the newest messages of its session and then adds two. */
export async function turnSpeed(loading: Loading, sessions: readonly SessionRecord[], lastN: number): Promise<Side> {
  const read = { path: PATHS.getMemory, requests: sessions.map((session) => getMemory(session, lastN)) };
  const add = { path: PATHS.addMemory, requests: sessions.map((session) => addMemory(session, TURN)) };
  await expectItems(loading, read, lastN);
  return stepsSpeed(loading, [read, add], TURNS);
}
