import { MongoNetworkError, MongoServerError } from "mongodb";
import { describe, expect, it } from "vitest";
import * as errors from "../../src/domain/errors.js";
import { translate } from "../../src/store/driver-errors.js";
import { failure } from "../support/api.js";
import { eventually } from "../support/eventually.js";
import { rawClient } from "../support/raw-grpc.js";
import { SECOND, startHandMade } from "./hand-made-service.js";

const { SessionsError } = errors;

describe("a domain error", () => {
  const cases: [error: errors.SessionsError, code: string, reason: string, metadata: Record<string, string>][] = [
    [errors.sessionNotFound("s"), "NOT_FOUND", "SESSION_NOT_FOUND", { session_id: "s" }],
    [errors.sessionAlreadyExists("s"), "ALREADY_EXISTS", "SESSION_ALREADY_EXISTS", { session_id: "s" }],
    [errors.sessionSoftDeleted("s"), "ALREADY_EXISTS", "SESSION_SOFT_DELETED", { session_id: "s" }],
    [errors.sessionNotDeleted("s"), "ALREADY_EXISTS", "SESSION_NOT_DELETED", { session_id: "s" }],
    [errors.userNotFound("u"), "NOT_FOUND", "USER_NOT_FOUND", { user_id: "u" }],
    [errors.userNotUsable("u"), "FAILED_PRECONDITION", "USER_NOT_FOUND", { user_id: "u" }],
    [errors.userAlreadyExists("u"), "ALREADY_EXISTS", "USER_ALREADY_EXISTS", { user_id: "u" }],
    [errors.userNotDeleted("u"), "ALREADY_EXISTS", "USER_NOT_DELETED", { user_id: "u" }],
    [errors.messageNotFound("s", "m"), "NOT_FOUND", "MESSAGE_NOT_FOUND", { session_id: "s", message_id: "m" }],
    [
      errors.messageNotFound("s", "m", "FAILED_PRECONDITION"),
      "FAILED_PRECONDITION",
      "MESSAGE_NOT_FOUND",
      { session_id: "s", message_id: "m" },
    ],
    [errors.messageIdConflict("s", "m"), "ALREADY_EXISTS", "MESSAGE_ID_CONFLICT", { session_id: "s", message_id: "m" }],
    [
      errors.sequenceMismatch("s", 3, 5),
      "ABORTED",
      "SEQUENCE_MISMATCH",
      { session_id: "s", expected_last_sequence: "3", last_sequence: "5" },
    ],
    [errors.memoryNotRestorable({ user_id: "u" }), "FAILED_PRECONDITION", "MEMORY_NOT_RESTORABLE", { user_id: "u" }],
    [errors.etagMismatch({ session_id: "s" }, "e"), "ABORTED", "ETAG_MISMATCH", { session_id: "s", etag: "e" }],
    [errors.deadlineExceeded(), "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", {}],
  ];

  it.each(cases)("%s: reaches the client as one status with its details", async (error, code, reason, metadata) => {
    const service = await startHandMade({
      ask: () => Promise.reject(error),
      // biome-ignore lint/correctness/useYield: it fails before its first chunk
      stream: async function* () {
        throw error;
      },
    });
    const expected = { code, reason, domain: "sessions.v1", metadata, message: error.message };
    expect(await failure(service.ask())).toMatchObject(expected);
    expect(await failure(service.stream())).toMatchObject(expected);
  });

  it("INVALID_ARGUMENT names all violations, in order, with the fields as the proto spells them", async () => {
    const violations = [
      { field: "messages[3].metadata", description: "Too deep." },
      { field: "session_id", description: "Blank: 漢字 \u{1f600}." },
    ];
    const { ask } = await startHandMade({ ask: () => Promise.reject(errors.invalidFields(violations)) });
    expect(await failure(ask())).toMatchObject({
      code: "INVALID_ARGUMENT",
      reason: "INVALID_FIELD",
      violations,
      metadata: { fields: "messages[3].metadata,session_id" },
    });
  });

  it.each([
    ["STORAGE_UNAVAILABLE", errors.storageUnavailable(new Error("connect ECONNREFUSED mongo-7.internal:27017"))],
    ["SHUTTING_DOWN", errors.shuttingDown()],
  ])("UNAVAILABLE (%s) says when to try again, and nothing of the cause", async (reason, error) => {
    const { ask, lines } = await startHandMade({ ask: () => Promise.reject(error) });
    const failed = await failure(ask());
    expect(failed).toMatchObject({ code: "UNAVAILABLE", reason, retryDelayMs: expect.any(Number) });
    expect(failed.retryDelayMs).toBeGreaterThan(0);
    expect(JSON.stringify(failed)).not.toContain("mongo-7");
    expect(lines).toMatchObject([{ code: "UNAVAILABLE" }]);
  });
});

describe("to gRPC's own retries, which do not look into details, the service says", () => {
  it.each([
    ["when to come again, as its RetryInfo does", errors.storageUnavailable(new Error("x")), "1000"],
    ["the same after what it has refused", errors.overloaded("calls", 5), "1000"],
    ["when a rate is kept again", errors.rateLimited("p", 3, 250.5), "251"],
    ["not to come again where that is of no use", new SessionsError("RESOURCE_EXHAUSTED", "INTERNAL", "x"), "-1"],
    ["nothing where none of them comes again", errors.sessionNotFound("s"), undefined],
  ])("%s", async (_what, error, pushback) => {
    const service = await startHandMade({
      ask: () => Promise.reject(error),
      // biome-ignore lint/correctness/useYield: it fails before its first chunk
      stream: async function* () {
        throw error;
      },
    });
    for (const failed of [await failure(service.ask()), await failure(service.stream())]) {
      expect(failed.pushback).toBe(pushback);
      if (Number(pushback) > 0) expect(failed.retryDelayMs).toBeCloseTo(Number(pushback), -1);
      else expect(failed.retryDelayMs).toBeUndefined();
    }
  });
});

describe("what nobody foresaw", () => {
  const SECRET = "mongodb://sessions:pa55word@mongo-7.internal E11000 dup key";
  const faults: [what: string, thrown: unknown][] = [
    ["an error", new Error(SECRET)],
    ["a type error with a cause", new TypeError("x", { cause: new Error(SECRET) })],
    ["a server error of the driver", new MongoServerError({ message: SECRET, errmsg: SECRET, code: 8000 })],
    // Their codes are status codes too, when nobody looks: OK, NOT_FOUND, and one that there is not.
    ["an error with code 0", Object.assign(new Error(SECRET), { code: 0, details: SECRET })],
    ["an error with code 5", Object.assign(new Error(SECRET), { code: 5, details: SECRET })],
    [
      "a duplicate key",
      new MongoServerError({ message: SECRET, errmsg: SECRET, code: 11000, keyValue: { a: SECRET } }),
    ],
    ["an object", { code: 3, details: SECRET, message: SECRET }],
    ["a string", SECRET],
    ["nothing at all", undefined],
    ["null", null],
  ];

  it.each(faults)("%s: INTERNAL with the request's id, logged, and none of its text leaks", async (_what, thrown) => {
    const service = await startHandMade({
      ask: () => Promise.reject(translate(thrown)),
      // biome-ignore lint/correctness/useYield: it fails before its first chunk
      stream: async function* () {
        throw translate(thrown);
      },
    });
    for (const failed of [await failure(service.ask()), await failure(service.stream())]) {
      expect(failed).toMatchObject({ code: "INTERNAL", reason: "INTERNAL", domain: "sessions.v1" });
      expect(JSON.stringify(failed)).not.toMatch(/pa55word|E11000|mongo-7/);
      const line = service.lines.find(({ request_id }) => request_id === failed.metadata.request_id);
      expect(line).toMatchObject({ level: 50, code: "INTERNAL", msg: "call failed" });
    }
  });

  it("a method that throws at once, no promise given, is caught as well", async () => {
    const service = await startHandMade({
      ask: () => {
        throw new SessionsError("NOT_FOUND", "USER_NOT_FOUND", "gone");
      },
    });
    expect(await failure(service.ask())).toMatchObject({ code: "NOT_FOUND", reason: "USER_NOT_FOUND" });
  });

  it("a network failure of the driver is UNAVAILABLE, without its text", async () => {
    const { ask } = await startHandMade({ ask: () => Promise.reject(translate(new MongoNetworkError(SECRET))) });
    const failed = await failure(ask());
    expect(failed).toMatchObject({ code: "UNAVAILABLE", reason: "STORAGE_UNAVAILABLE" });
    expect(JSON.stringify(failed)).not.toMatch(/pa55word/);
  });

  it("an answer that cannot be encoded is the service's fault, not the caller's", async () => {
    const service = await startHandMade({
      ask: () => Promise.resolve({ seconds: "no number", nanos: 0 }),
      stream: async function* () {
        yield { seconds: "no number", nanos: 0 };
      },
    });
    expect(await failure(service.ask())).toMatchObject({ code: "INTERNAL", reason: "INTERNAL" });
    expect(await failure(service.stream())).toMatchObject({ code: "INTERNAL", reason: "INTERNAL" });
  });
});

describe("a stream", () => {
  it("that fails in its midst gives what it had before, and then the one status", async () => {
    const service = await startHandMade({
      stream: async function* () {
        yield SECOND;
        yield SECOND;
        throw errors.storageUnavailable(new Error("x"));
      },
    });
    const read: unknown[] = [];
    expect(await failure(service.stream(read as never))).toMatchObject({
      code: "UNAVAILABLE",
      reason: "STORAGE_UNAVAILABLE",
    });
    expect(read).toEqual([SECOND, SECOND]);
    await eventually("the call is logged", () => service.lines.length > 0);
    expect(service.lines).toMatchObject([{ method: "test.Service/Stream", code: "UNAVAILABLE" }]);
  });
});

describe("a status that is large", () => {
  // Clients of the C core family (Python, C++, Ruby, PHP) refuse more than 16 KiB, and at random more than 8 KiB.
  const WHAT_EVERY_CLIENT_TAKES = 8 * 1024;

  /** What arrives when a method fails so; undefined when nothing does. */
  async function arrival(error: errors.SessionsError) {
    const service = await startHandMade({ ask: () => Promise.reject(error) });
    const raw = rawClient(service.address);
    const answer = await raw.call("/test.Service/Ask", { headers: { "grpc-timeout": "60S" } });
    raw.close();
    return answer;
  }

  const longest = "\u{1f600}".repeat(255);
  // Of two ids whose lengths are odd and even, one has its text cut in the midst of a character, if it is cut by its length.
  it.each([longest, `a${longest}`])("arrives when ids are as long as can be, whatever they are made of", async (id) => {
    const { failure: failed, statusBytes } = await arrival(errors.messageNotFound(id, longest));
    expect(failed).toMatchObject({
      code: "NOT_FOUND",
      reason: "MESSAGE_NOT_FOUND",
      metadata: { session_id: id, message_id: longest },
    });
    expect(statusBytes).toBeLessThan(WHAT_EVERY_CLIENT_TAKES);
  });

  it.each([100, 5_000])("with %i violations is INVALID_ARGUMENT and tells the first of them", async (count) => {
    const violations = Array.from({ length: count }, (_, index) => ({
      field: `messages[${index}].token_count`,
      description: "-1 is negative: send 0 or more.",
    }));
    const { failure: failed, statusBytes } = await arrival(errors.invalidFields(violations));
    expect(failed).toMatchObject({ code: "INVALID_ARGUMENT", reason: "INVALID_FIELD" });
    expect(failed?.violations.slice(0, 10)).toEqual(violations.slice(0, 10));
    expect(statusBytes).toBeLessThan(WHAT_EVERY_CLIENT_TAKES);
  });
});
