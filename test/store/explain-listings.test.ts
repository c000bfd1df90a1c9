import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { SessionOrder } from "../../gen/sessions/v1/session_service.js";
import type { Api } from "../support/api.js";
import { type Explainer, LONG, startExplainer } from "./explainer.js";

let explainer: Explainer;
let api: Api;

beforeAll(async () => {
  explainer = await startExplainer();
  api = explainer.api;
});
afterAll(() => explainer.stop());

const LISTINGS: Record<string, Parameters<Api["sessions"]["listSessions"]>[0]> = {
  "all sessions": {},
  "all sessions, deleted ones too": { showDeleted: true },
  "a user's sessions": { userId: "user-1" },
  "a user's sessions, deleted ones too": { userId: "user-2", showDeleted: true },
  "sessions by metadata": { metadata: { nested: { tags: ["all"] } } },
  "a user's sessions by metadata": { userId: "user-1", metadata: { nested: { tags: ["all"] } } },
  "sessions created in a time": {
    createdAfter: { seconds: 1, nanos: 0 },
    createdBefore: { seconds: 4_000_000_000, nanos: 0 },
  },
};

const ORDERS = {
  "create time": SessionOrder.SESSION_ORDER_CREATE_TIME,
  "update time": SessionOrder.SESSION_ORDER_UPDATE_TIME,
  "last message time": SessionOrder.SESSION_ORDER_LAST_MESSAGE_TIME,
};

const listings = Object.entries(LISTINGS).flatMap(([name, request]) =>
  Object.entries(ORDERS).flatMap(([by, order]) =>
    [false, true].map((descending) => ({
      name: `${name} by ${by}${descending ? ", newest first" : ""}`,
      request: { ...request, order, descending },
      // The one index for metadata is in create-time order: what it finds has to be sorted for the other orders.
      sorts: "metadata" in request && order !== SessionOrder.SESSION_ORDER_CREATE_TIME,
    })),
  ),
);

/** Up to 128 sessions are made at the same moment, and a page may have to pass over those; deep in the listing lie 800. */
const SOME_AND_TIES = 200;

describe("a page of ten sessions costs about as much at the beginning as deep in the listing", () => {
  test.each(listings)("$name", async ({ request, sorts }) => {
    const first = await explainer.plansOf(() => api.sessions.listSessions({ ...request, limit: 10 }));
    const chunks = await api.sessions.listSessions({ ...request, chunkSize: 10 });
    const cursor = chunks.at(Math.floor((chunks.length - 1) * 0.8))?.nextCursor ?? "";
    expect(cursor).not.toBe("");
    const deep = await explainer.plansOf(() => api.sessions.listSessions({ ...request, limit: 10, cursor }));
    for (const plan of [...first, ...deep]) {
      expect(plan.stages).not.toContain("COLLSCAN");
      if (sorts) continue;
      expect(plan.stages, plan.shape).not.toContain("SORT");
      expect(plan.keysExamined, plan.shape).toBeLessThan(SOME_AND_TIES);
      expect(plan.docsExamined, plan.shape).toBeLessThan(SOME_AND_TIES);
    }
  });
});

describe("a page of ten messages costs about as much at the beginning as deep in the listing", () => {
  test.each([false, true])("descending: %s", async (descending) => {
    const request = { sessionId: LONG, descending };
    const chunks = await api.memory.listMessages({ ...request, chunkSize: 10 });
    const cursor = chunks.at(70)?.nextCursor ?? "";
    expect(cursor).not.toBe("");
    const plans = [
      ...(await explainer.plansOf(() => api.memory.listMessages({ ...request, limit: 10 }))),
      ...(await explainer.plansOf(() => api.memory.listMessages({ ...request, limit: 10, cursor }))),
      ...(await explainer.plansOf(() => api.memory.getMemory({ sessionId: LONG, lastN: 10 }))),
    ];
    for (const { shape, stages, keysExamined } of plans) {
      expect(stages, shape).not.toContain("SORT");
      expect(keysExamined, shape).toBeLessThan(30);
    }
  });
});

test("a page of users costs about as much at the beginning as deep in the listing", async () => {
  const cursor = (await api.users.listUsers({ chunkSize: 3 })).at(3)?.nextCursor ?? "";
  const plans = [
    ...(await explainer.plansOf(() => api.users.listUsers({ limit: 3 }))),
    ...(await explainer.plansOf(() => api.users.listUsers({ limit: 3, cursor }))),
  ];
  for (const { stages, keysExamined } of plans) {
    expect(stages).not.toContain("SORT");
    expect(keysExamined).toBeLessThan(10);
  }
});
