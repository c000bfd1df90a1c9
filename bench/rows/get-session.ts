import { GetSessionResponse } from "../../gen/sessions/v1/session_service.js";
import { idOf } from "../../src/domain/keys.js";
import type { SessionRecord } from "../../src/domain/records.js";
import { getSession, PATHS } from "../data/requests.js";
import { seedSessions } from "../data/seed.js";
import type { Row } from "../harness/row.js";
import type { Echo } from "../load/echo.js";
import { frame } from "../load/frames.js";
import { startChild } from "../setup/child.js";
import { serviceSpeed, speedOf } from "./sides.js";

const SESSIONS = 1_000;

/** Against what bounds it: gRPC alone, and the database alone. */
export const getSessionRow: Row = {
  name: "get_session",
  unit: "calls/s",
  target: { atLeast: 0.8 },
  stage: "calls",
  async prepare(bench) {
    const stage = await bench.stage(this.stage);
    const sessions = await seedSessions(stage.database, { prefix: "get", count: SESSIONS });

    const echo = startChild<Echo>("echo");
    stage.onStop(echo.stop);
    const { address, path } = await echo.call("listen");
    // The same kind of load, from a process like the one that loads ours.
    const generator = await stage.startGenerator(address);

    const keys = sessions.map(({ _id }) => _id);
    return {
      ours: await serviceSpeed(stage, { path: PATHS.getSession, requests: sessions.map(getSession) }),
      baselines: [
        await serviceSpeed({ generator }, { path, requests: [frame(echoed(sessions[0] as SessionRecord))] }),
        speedOf((options) => stage.driver.call("findOne", keys, options)),
      ],
    };
  },
};

/** As many bytes as ours answers with, but none in metadata: those we only pass on, and an echo would convert them. */
function echoed({ _id, uid, metadata }: SessionRecord): Uint8Array {
  const time = { seconds: 1_767_225_600, nanos: 10_000_000 };
  const session = GetSessionResponse.fromPartial({
    session: {
      sessionId: idOf(_id),
      uid,
      userId: "x".repeat(metadata?.length ?? 0),
      createTime: time,
      updateTime: time,
      etag: `${uid}-1`,
    },
  });
  return GetSessionResponse.encode(session).finish();
}
