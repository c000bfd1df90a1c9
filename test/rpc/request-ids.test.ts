import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { AddMemoryRequest, GetMemoryRequest, MemoryServiceService } from "../../gen/sessions/v1/memory_service.js";
import { SessionServiceService } from "../../gen/sessions/v1/session_service.js";
import { type ObservedService, startObservedService } from "../support/observed-service.js";
import { type RawAnswer, type RawClient, rawClient } from "../support/raw-grpc.js";
import { startService } from "../support/service.js";

let service: ObservedService;
let raw: RawClient;
beforeAll(async () => {
  service = await startObservedService();
  raw = rawClient(service.address);
});
afterAll(async () => {
  raw.close();
  await service.stop();
});

const GET_MEMORY = MemoryServiceService.getMemory.path;
const GET_SESSION = SessionServiceService.getSession.path;
const LIST_SESSIONS = SessionServiceService.listSessions.path;

const call = (client: RawClient, path: string, message: Uint8Array, id?: string): Promise<RawAnswer> =>
  client.call(path, { message, headers: { "grpc-timeout": "60S", ...(id !== undefined && { "x-request-id": id }) } });

const nobody = GetMemoryRequest.encode(GetMemoryRequest.fromPartial({ sessionId: "nobody" })).finish();

const UUID = /^[0-9a-f-]{36}$/;

test("an answer brings the caller's own id back, one call after the other", async () => {
  for (const id of ["first", "second"]) {
    const { headers, trailers } = await call(raw, GET_MEMORY, nobody, id);
    expect(headers?.["x-request-id"]).toBe(id);
    expect(trailers["x-request-id"]).toBeUndefined();
  }
});

test("without one, or with one that a log line cannot take, a failure has that of the log", async () => {
  for (const id of [undefined, "two words", "x".repeat(129)]) {
    const { trailers } = await call(raw, GET_SESSION, nobody, id);
    const requestId = trailers["x-request-id"] as string;
    expect(requestId).toMatch(UUID);
    expect(service.lines.some(({ request_id }) => request_id === requestId)).toBe(true);
  }
});

test("a stream has it with its first chunk, and one without chunks with its end", async () => {
  const empty = await call(raw, LIST_SESSIONS, new Uint8Array(), "empty");
  expect(empty).toMatchObject({ code: 0, headers: undefined, trailers: { "x-request-id": "empty" } });
  const add = AddMemoryRequest.encode(AddMemoryRequest.fromPartial({ sessionId: "s" })).finish();
  await call(raw, MemoryServiceService.addMemory.path, add);
  const listed = await call(raw, LIST_SESSIONS, new Uint8Array(), "listed");
  expect(listed).toMatchObject({ code: 0, headers: { "x-request-id": "listed" } });
});

test("a failure is nothing but a status, which brings it, so that gRPC's own retries still try again", async () => {
  const failed = await call(raw, GET_SESSION, nobody, "failed");
  expect(failed).toMatchObject({ code: 5, headers: undefined, trailers: { "x-request-id": "failed" } });
});

test("who is refused at the door is told it, too", async () => {
  const keyed = await startService({
    auth: { keys: { adminKey: "the first admin's own secret, long enough" }, tokens: undefined },
  });
  const busy = await startService({
    limits: { maxCalls: 0, maxStreams: 0, maxWatchers: 0, maxRequestBytes: 16 * 1024 * 1024 },
  });
  onTestFinished(async () => {
    await Promise.all([keyed.stop(), busy.stop()]);
  });
  for (const [{ address }, code] of [
    [keyed, 16],
    [busy, 8],
  ] as const) {
    const client = rawClient(address);
    const refused = await call(client, GET_MEMORY, nobody, "refused");
    client.close();
    expect(refused).toMatchObject({ code, trailers: { "x-request-id": "refused" } });
  }
});
