import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, it } from "vitest";
import { failure } from "../support/api.js";
import { LIMITS } from "../support/service.js";
import { type Keyed, type KeyedService, Role, startKeyed } from "./support.js";

const MAX_CALLS = 16;

let keyed: KeyedService;
beforeAll(async () => {
  keyed = await startKeyed({ limits: { ...LIMITS, maxCalls: MAX_CALLS } });
});
afterAll(() => keyed.stop());

const newProject = async (): Promise<Keyed & { project: string }> => {
  const project = `p-${randomUUID()}`;
  return { ...(await keyed.caller({ role: Role.ROLE_WRITER, project })), project };
};

/** Holds a session's document, so that whatever changes the session has to wait. */
async function hold(project: string, sessionId: string): Promise<() => Promise<void>> {
  const { database } = keyed.service;
  const session = database.client.startSession();
  session.startTransaction();
  await database.sessions.updateOne({ _id: `${project}/${sessionId}` }, { $set: { version: 99 } }, { session });
  return async () => {
    await session.abortTransaction();
    await session.endSession();
  };
}

it("a project that calls as often as it can gets half of the places while others are there, who are served", async () => {
  const [greedy, modest] = [await newProject(), await newProject()];
  for (const { sessions } of [greedy, modest]) await sessions.createSession({ sessionId: "s" });
  const release = await hold(greedy.project, "s");
  let isReleased = false;
  const outcomes = Array.from({ length: MAX_CALLS }, () =>
    greedy.memory.addMemory({ sessionId: "s", messages: [{}] }).then(
      () => "served",
      async (error) => (await failure(Promise.reject(error))).reason,
    ),
  );
  const refused: string[] = [];
  for (const outcome of outcomes) void outcome.then((reason) => isReleased || refused.push(reason));
  // More of them than its half would leave of the whole, if the other had it.
  for (let n = 0; n < 5; n++) {
    const calls = Array.from({ length: 4 }, () => modest.sessions.getSession({ sessionId: "s" }));
    expect(await Promise.all(calls)).toHaveLength(4);
  }
  while (refused.length < MAX_CALLS / 2) {
    await modest.sessions.getSession({ sessionId: "s" });
  }
  isReleased = true;
  await release();
  const all = await Promise.all(outcomes);
  expect(refused).toEqual(Array(MAX_CALLS / 2).fill("OVERLOADED"));
  expect(all.filter((outcome) => outcome === "served")).toHaveLength(MAX_CALLS / 2);
  // All of its places are free again.
  const again = Array.from({ length: MAX_CALLS / 2 }, () => greedy.sessions.getSession({ sessionId: "s" }));
  expect(await Promise.all(again)).toHaveLength(MAX_CALLS / 2);
});

it("a project that calls more often than it may is told when to come again, and others are not concerned", async () => {
  const limited = await startKeyed({ projectRate: 5 });
  const [busy, quiet] = [
    await limited.caller({ role: Role.ROLE_READER, project: "busy" }),
    await limited.caller({ role: Role.ROLE_READER, project: "quiet" }),
  ];
  const outcomes = Array.from({ length: 40 }, () =>
    busy.users.listUsers({}).then(
      () => undefined,
      (error) => failure(Promise.reject(error)),
    ),
  );
  for (let n = 0; n < 4; n++) await quiet.users.listUsers({});
  const refused = (await Promise.all(outcomes)).flatMap((one) => one ?? []);
  expect(refused.length).toBeGreaterThan(0);
  expect(refused.length).toBeLessThanOrEqual(35);
  for (const one of refused) {
    expect(one).toMatchObject({
      code: "RESOURCE_EXHAUSTED",
      reason: "RATE_LIMITED",
      metadata: { project: "busy", max: "5" },
    });
    expect(one.retryDelayMs).toBeGreaterThan(0);
    expect(one.retryDelayMs).toBeLessThanOrEqual(1_000);
  }
  await limited.stop();
});
