import { idOf } from "../../src/domain/keys.js";
import { getSession, PATHS } from "../data/requests.js";
import { seedSessions } from "../data/seed.js";
import type { Row } from "../harness/row.js";
import { postOf } from "../load/http1.js";
import type { Rest } from "../load/rest.js";
import { startChild } from "../setup/child.js";
import { postingSpeed, serviceSpeed } from "./sides.js";

const SESSIONS = 1_000;

/** JSON over connections that are kept, against a route that one would write by hand; and against the same call by gRPC. */
export const httpGetSessionRow: Row = {
  name: "http_get_session",
  unit: "calls/s",
  target: { atLeast: 0.7 },
  stage: "calls",
  async prepare(bench) {
    const stage = await bench.stage(this.stage);
    const sessions = await seedSessions(stage.database, { prefix: "http", count: SESSIONS });
    const bodies = sessions.map(({ _id }) => ({ sessionId: idOf(_id) }));

    const rest = startChild<Rest>("rest");
    stage.onStop(rest.stop);
    const restAddress = await rest.call("listen", bench.mongo.uri, stage.database.db.databaseName);
    return {
      ours: await postingSpeed(
        stage,
        stage.service.http,
        bodies.map((body) => postOf(PATHS.getSession, body)),
      ),
      baselines: [
        await postingSpeed(
          stage,
          restAddress,
          bodies.map((body) => postOf("/session", body)),
        ),
      ],
      bound: {
        name: "gRPC",
        side: await serviceSpeed(stage, { path: PATHS.getSession, requests: sessions.map(getSession) }),
      },
    };
  },
};
