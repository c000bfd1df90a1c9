import { Metadata, status } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "vitest";
import { SessionsClientError } from "../../src/client/index.js";
import { shuttingDown } from "../../src/domain/errors.js";
import { toStatus } from "../../src/rpc/status.js";
import { startService, type TestService } from "../support/service.js";
import { clientTo, collect, failure } from "./support.js";

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.stop());

test("an error tells its code, its reason and the variable parts of its message", async () => {
  const error = await failure(clientTo(service.address).getSession({ sessionId: "s 1" }));
  expect(error).toMatchObject({ code: "NOT_FOUND", reason: "SESSION_NOT_FOUND", metadata: { session_id: "s 1" } });
  expect(error.message).toBe('There is no live session "s 1".');
  expect(error.violations).toEqual([]);
  expect((error.cause as { code: number }).code).toBe(status.NOT_FOUND);
});

test("an invalid request names all its violations", async () => {
  const client = clientTo(service.address);
  const error = await failure(client.createUser({ userId: " ", email: "e".repeat(300) }));
  expect(error).toMatchObject({ code: "INVALID_ARGUMENT", reason: "INVALID_FIELD" });
  expect(error.violations.map(({ field }) => field)).toEqual(["user_id", "email"]);
});

test("a listing fails when it is iterated", async () => {
  const listing = clientTo(service.address).listSessions({ cursor: "nonsense" });
  expect(await failure(collect(listing))).toMatchObject({ code: "INVALID_ARGUMENT", reason: "INVALID_CURSOR" });
});

test("what cannot be sent is an invalid argument, not an internal error", async () => {
  const client = clientTo(service.address);
  // As plain JavaScript calls it.
  const untyped = client as unknown as Record<string, (request: unknown, options?: unknown) => Promise<unknown>>;
  const call = (name: string, request: unknown, options?: unknown) =>
    failure(untyped[name]?.(request, options) ?? Promise.reject(new Error(name)));
  expect(await call("createSession", { sessionId: "s", metadata: { big: 1n } })).toMatchObject({
    code: "INVALID_ARGUMENT",
  });
  expect(await call("addMemory", { sessionId: "s", messages: [{ roleType: "USER" }] })).toMatchObject({
    violations: [{ field: "messages[0].role_type" }],
  });
  expect(await call("addMemory", { sessionId: "s", messages: [{ createTime: new Date("?") }] })).toMatchObject({
    violations: [{ field: "messages[0].create_time" }],
  });
  expect(await call("getSession", { sessionId: "s" }, { deadlineMs: Number.NaN })).toMatchObject({
    violations: [{ field: "deadlineMs" }],
  });
});

test("any status and anything else that is thrown becomes the one error", () => {
  const { code, details, metadata } = toStatus(shuttingDown(), "");
  const unavailable = SessionsClientError.from(Object.assign(new Error(), { code, details, metadata }));
  expect(unavailable).toMatchObject({ code: "UNAVAILABLE", reason: "SHUTTING_DOWN", retryDelayMs: 1000 });
  expect(SessionsClientError.from(unavailable)).toBe(unavailable);

  const garbled = new Metadata();
  garbled.set("grpc-status-details-bin", Buffer.from([1, 2, 3]));
  const plain = Object.assign(new Error(), { code: status.NOT_FOUND, details: "no", metadata: garbled });
  expect(SessionsClientError.from(plain)).toMatchObject({ code: "NOT_FOUND", reason: undefined, message: "no" });

  const cause = new RangeError("odd");
  expect(SessionsClientError.from(cause)).toMatchObject({ code: "UNKNOWN", message: "odd", cause });
  expect(SessionsClientError.from("text")).toMatchObject({ code: "UNKNOWN", message: "text", cause: "text" });
});
