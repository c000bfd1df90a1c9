import { afterAll, beforeAll, expect, it } from "vitest";
import { call, connectFailure, TRANSPORTS } from "../../support/connect-clients.js";
import { eventually } from "../../support/eventually.js";
import { type LogLine, type ObservedService, startObservedService } from "../../support/observed-service.js";

const SESSIONS = "/sessions.v1.SessionService";

let service: ObservedService;
let url: string;
beforeAll(async () => {
  service = await startObservedService();
  url = `http://${service.server.httpAddress}`;
});
afterAll(() => service.stop());

/** The lines of the calls with this id, once there are so many. */
const linesOf = (requestId: string, count = 1): Promise<LogLine[]> =>
  eventually("the lines are there", () => {
    const lines = service.lines.filter(({ request_id }) => request_id === requestId);
    return lines.length >= count ? lines : undefined;
  });

const lineOf = (more: object) => ({
  level: 30,
  time: expect.any(Number),
  duration_ms: expect.any(Number),
  project: "default",
  msg: "call",
  ...more,
});

it.each(Object.entries(TRANSPORTS))(
  "each call has the line that it would have by gRPC: %s",
  async (name, transportTo) => {
    const transport = transportTo(url);
    const id = name.replace(/[, ]+/g, "-");
    const headers = { "x-request-id": id };
    await call(
      transport,
      `${SESSIONS}/CreateSession`,
      { sessionId: id, metadata: { secret: "of nobody's business" } },
      { headers },
    );
    await connectFailure(call(transport, `${SESSIONS}/CreateSession`, { sessionId: id }, { headers }));
    await connectFailure(call(transport, `${SESSIONS}/CreateSession`, { sessionId: " " }, { headers }));
    await call(transport, `${SESSIONS}/ListSessions`, {}, { headers });
    const method = "sessions.v1.SessionService/CreateSession";
    expect(await linesOf(id, 4)).toEqual([
      lineOf({ method, code: "OK", session: id, request_id: id }),
      lineOf({ method, code: "ALREADY_EXISTS", session: id, request_id: id }),
      lineOf({ method, code: "INVALID_ARGUMENT", session: " ", request_id: id }),
      lineOf({ method: "sessions.v1.SessionService/ListSessions", code: "OK", request_id: id }),
    ]);
  },
);

it.each([
  ["no JSON", { body: "{", "content-type": "application/json" }],
  ["an unknown field", { body: '{"secret of nobody": 1}', "content-type": "application/json" }],
  ["a form", { body: "a=b", "content-type": "application/x-www-form-urlencoded" }],
  ["no gzip", { body: "x", "content-type": "application/json", "content-encoding": "gzip" }],
])("a request that is none has a line, too: %s", async (what, { body, ...headers }) => {
  const id = what.replaceAll(" ", "-");
  await fetch(`${url}${SESSIONS}/GetSession`, { method: "POST", body, headers: { ...headers, "x-request-id": id } });
  expect(await linesOf(id)).toEqual([
    lineOf({ method: "sessions.v1.SessionService/GetSession", code: "INVALID_ARGUMENT", request_id: id }),
  ]);
});

it("no line holds what was sent", () => {
  expect(JSON.stringify(service.lines)).not.toContain("nobody");
});
