import { ListSessionsResponse } from "../../gen/sessions/v1/session_service.js";
import { listSessions, PATHS } from "../data/requests.js";
import type { Row } from "../harness/row.js";
import { GROUP, manySessions } from "./many-sessions.js";
import { expectItems, serviceLatency } from "./sides.js";

const DRIVER_BATCH = 1_000;

/** All of them, through one stream. A round is one listing, however long it takes. */
export const listSessionsRow: Row = {
  name: "list_sessions",
  unit: "sessions/s",
  target: { atLeast: 0.6 },
  stage: "listings",
  async prepare(bench) {
    const { generator, driver } = await manySessions(bench);
    const all = listSessions({});
    const speed = ({ items, seconds }: { items: number; seconds: number }): number => {
      if (items !== bench.scale.sessions) throw new Error(`a listing had ${items} sessions`);
      return items / seconds;
    };
    return {
      ours: async () => speed(await generator.call("list", PATHS.listSessions, all)),
      baselines: [async () => speed(await driver.call("cursor", DRIVER_BATCH))],
    };
  },
};

const PAGE = 100;

/** The time of a page deep in the listing, against that of the first. */
export const listPageDepthRow: Row = {
  name: "list_page_depth",
  unit: "ms",
  target: { atMost: 1.2 },
  stage: "listings",
  async prepare(bench) {
    const stage = await manySessions(bench);
    const until = listSessions({ limit: bench.scale.deepPosition });
    const { last } = await stage.generator.call("list", PATHS.listSessions, until);
    const { nextCursor: cursor } = ListSessionsResponse.decode(last ?? new Uint8Array());
    return {
      ours: await serviceLatency(stage, PATHS.listSessions, [listSessions({ limit: PAGE, cursor })]),
      baselines: [await serviceLatency(stage, PATHS.listSessions, [listSessions({ limit: PAGE })])],
    };
  },
};

/** The time to find the few sessions of a metadata value, against that of the same number by their user. */
export const filterMetadataRow: Row = {
  name: "filter_metadata",
  unit: "ms",
  target: { atMost: 2 },
  stage: "listings",
  async prepare(bench) {
    const stage = await manySessions(bench);
    const groups = Array.from({ length: bench.scale.sessions / GROUP }, (_, index) => index);
    const byMetadata = groups.map((group) => listSessions({ metadata: { trip: `trip-${group}` } }));
    const byUser = groups.map((group) => listSessions({ userId: `user-${group}` }));
    for (const requests of [byMetadata, byUser]) {
      await expectItems(stage, { path: PATHS.listSessions, requests: requests.slice(0, 3) }, GROUP);
    }
    return {
      ours: await serviceLatency(stage, PATHS.listSessions, byMetadata),
      baselines: [await serviceLatency(stage, PATHS.listSessions, byUser)],
    };
  },
};
