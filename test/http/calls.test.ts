import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { pino } from "pino";
import { expect, it, onTestFinished } from "vitest";
import { createAdmission } from "../../src/calls/admission/index.js";
import { createPresence } from "../../src/calls/admission/presence.js";
import { createTurns } from "../../src/calls/admission/turns.js";
import { createAuthentication } from "../../src/calls/authentication.js";
import { createExecution } from "../../src/calls/execution.js";
import { ANYBODY, type Principal } from "../../src/domain/principal.js";
import { createHttpCalls } from "../../src/http/calls.js";
import { openHttpDoor } from "../../src/http/server.js";
import { eventually } from "../support/eventually.js";
import { hold } from "../support/hold.js";
import { startHttpService } from "../support/http-service.js";
import { scrapeOf } from "../support/prometheus.js";
import { LIMITS } from "../support/service.js";

async function connected(url: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => {}).resume();
  onTestFinished(() => void socket.destroy());
  await once(socket, "connect");
  return socket;
}

it("gives back what requests took that waited behind another when their connection closed", async () => {
  const maxCalls = 3;
  const { url, sessions, database } = await startHttpService({ limits: { ...LIMITS, maxCalls } });
  const figure = async (name: string) =>
    scrapeOf(await (await fetch(`${url}/metrics`)).text()).value(
      name,
      name.endsWith("calls_in_flight") ? { kind: "calls" } : {},
    );
  const body = '{"messages":[{"role":"user","content":"x"}]}';
  const addTo = (id: string) =>
    `POST /api/v1/sessions/${id}/memory HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`;

  // Each round takes all places, and so there is a second one only if all have been given back.
  for (const session of ["first", "second"]) {
    await sessions.createSession({ sessionId: session });
    const release = await hold(database, session);
    try {
      const socket = await connected(url);
      socket.write(addTo(session).repeat(maxCalls));
      await eventually(
        `all wait for the ${session} session`,
        async () => (await figure("sessions_calls_in_flight")) === maxCalls,
      );
      socket.destroy();
    } finally {
      await release();
    }
    await eventually("nothing is held", async () => (await figure("sessions_request_in_flight_bytes")) === 0);
  }
  expect((await fetch(`${url}/api/v1/sessions/first`)).status).toBe(200);
});

it("takes no place for who has left while their credential was looked up", async () => {
  const log = pino({ level: "silent" });
  const limits = { maxCalls: 2, maxStreams: 1, maxWatchers: 1, maxRequestBytes: 1024 * 1024 };
  const lookups: ((principal: Principal) => void)[] = [];
  const neverAborted = new AbortController().signal;
  const turns = createTurns({ atATime: 8 });
  const calls = createHttpCalls({
    authentication: createAuthentication({
      authenticate: () => new Promise<Principal>((resolve) => lookups.push(resolve)),
      roleFor: () => "reader",
      maxWaiting: 10,
      log,
    }),
    admission: createAdmission({
      limits,
      projectRate: undefined,
      isShared: false,
      presence: createPresence(1_000),
      log,
    }),
    execution: createExecution({
      log,
      stopStreams: neverAborted,
      stopAll: neverAborted,
      chunkTurns: turns,
      callTurns: turns,
    }),
  });
  const target = { path: "/test/Call", streams: false };
  const door = await openHttpDoor(
    { host: "127.0.0.1", port: 0 },
    {
      tls: undefined,
      rooms: [
        (app) => {
          app.get("/call", { onRequest: (request, reply) => calls.arrive(request, reply, target) }, (request) =>
            calls.unary(
              request,
              { session: undefined, limitMs: 1_000, protocol: "connect", bytes: 0 },
              async () => "done",
            ),
          );
        },
      ],
    },
  );
  onTestFinished(async () => {
    door.close();
    await door.drain();
  });
  const url = `http://${door.address}`;
  for (let n = 0; n < limits.maxCalls; n++) {
    const socket = await connected(url);
    socket.write("GET /call HTTP/1.1\r\nhost: x\r\n\r\n");
    await eventually("their credential is looked up", () => lookups.length === 1);
    socket.resetAndDestroy();
    // What comes by another connection comes later than the end of that one.
    expect((await fetch(`${url}/nowhere`)).status).toBe(404);
    lookups.pop()?.(ANYBODY);
  }
  const answer = fetch(`${url}/call`);
  await eventually("one who stays is looked up", () => lookups.length === 1);
  lookups.pop()?.(ANYBODY);
  expect(await (await answer).text()).toBe("done");
});
