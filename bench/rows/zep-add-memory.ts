import { idOf } from "../../src/domain/keys.js";
import { QUESTION } from "../data/records.js";
import { addMemory, PATHS } from "../data/requests.js";
import { seedSessions } from "../data/seed.js";
import type { Row } from "../harness/row.js";
import { postOf } from "../load/http1.js";
import { postingSpeed, serviceSpeed } from "./sides.js";

const SESSIONS = 1_000;

/** One message a call by the legacy API, against the same call by gRPC. */
export const zepAddMemoryRow: Row = {
  name: "zep_add_memory",
  unit: "messages/s",
  target: undefined,
  stage: "calls",
  async prepare(bench) {
    const stage = await bench.stage(this.stage);
    const sessions = await seedSessions(stage.database, { prefix: "zep", count: SESSIONS });
    const messages = [{ role: QUESTION.role, content: QUESTION.content }];
    return {
      ours: await postingSpeed(
        stage,
        stage.service.http,
        sessions.map(({ _id }) => postOf(`/api/v1/sessions/${encodeURIComponent(idOf(_id))}/memory`, { messages })),
      ),
      baselines: [
        await serviceSpeed(stage, {
          path: PATHS.addMemory,
          requests: sessions.map((session) => addMemory(session, [QUESTION])),
        }),
      ],
    };
  },
};
