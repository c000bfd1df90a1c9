import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { connect, failure } from "../support/api.js";
import { invalid, messageNotFound, newId, refusal, sessionNotFound } from "../support/contract.js";
import { startService, type TestService } from "../support/service.js";
import { sendBytes } from "../support/wire.js";

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.stop());

const CREATE = "/sessions.v1.SessionService/CreateSession";
const ADD = "/sessions.v1.MemoryService/AddMemory";
const PURGE = "/sessions.v1.PurgeService/PurgeDeleted";

const bytes = (write: (writer: BinaryWriter) => BinaryWriter) => write(new BinaryWriter()).finish();

test("every violation says which field and what is wrong with it", async () => {
  const { violations, message } = await failure(service.memory.getMemory({ sessionId: " ", lastN: -3 }));
  expect(violations.map(({ field }) => field)).toEqual(["session_id", "last_n"]);
  for (const { description } of violations) {
    expect(description).not.toBe("");
    expect(message).toContain(description);
  }
});

test("bytes that are no protobuf are INVALID_ARGUMENT", async () => {
  for (const garbage of [[0xff], [0x0a], [0x0a, 0x05, 0x61], [0x08], [0x0f, 1, 2, 3], [0x00, 0x00]]) {
    expect(await refusal(sendBytes(service.client, CREATE, Buffer.from(garbage))), String(garbage)).toEqual(
      invalid("request"),
    );
  }
});

test("text that is not UTF-8 is INVALID_ARGUMENT, wherever it is, and stores nothing", async () => {
  const notUtf8 = [0x61, 0xff, 0x62];
  const surrogate = [0xed, 0xa0, 0x80];
  const overlong = [0xc0, 0x80];
  for (const text of [notUtf8, surrogate, overlong].map(Buffer.from)) {
    const sessionId = newId();
    const requests = [
      bytes((writer) => writer.uint32(10).bytes(text)),
      bytes((writer) =>
        writer.uint32(10).string(sessionId).uint32(26).fork().uint32(10).fork().uint32(10).bytes(text).join().join(),
      ),
    ];
    for (const request of requests) {
      expect(await refusal(sendBytes(service.client, CREATE, request))).toEqual(invalid("request"));
    }
    expect(await refusal(service.sessions.getSession({ sessionId }))).toEqual(sessionNotFound(sessionId));
  }
});

test("an int64 beyond what can be kept exactly is INVALID_ARGUMENT", async () => {
  const sessionId = newId();
  for (const value of [2n ** 53n, 2n ** 63n - 1n, -(2n ** 63n)]) {
    const add = bytes((writer) => writer.uint32(10).string(sessionId).uint32(40).int64(value));
    expect(await refusal(sendBytes(service.client, ADD, add))).toMatchObject({
      code: "INVALID_ARGUMENT",
      reason: "INVALID_FIELD",
    });
    const purge = bytes((writer) => writer.uint32(10).fork().uint32(8).int64(value).join().uint32(16).bool(true));
    expect(await refusal(sendBytes(service.client, PURGE, purge))).toMatchObject({
      code: "INVALID_ARGUMENT",
      reason: "INVALID_FIELD",
    });
  }
  expect(await refusal(service.sessions.getSession({ sessionId }))).toEqual(sessionNotFound(sessionId));
});

test("the largest exact int64 is an ordinary expectation that fails", async () => {
  const sessionId = newId();
  const call = service.memory.addMemory({ sessionId, expectedLastSequence: Number.MAX_SAFE_INTEGER });
  expect(await refusal(call)).toMatchObject({ code: "ABORTED", reason: "SEQUENCE_MISMATCH" });
});

test("fields that the service does not know are passed over", async () => {
  const sessionId = newId();
  const request = bytes((writer) => writer.uint32(10).string(sessionId).uint32(8002).string("from the future"));
  await sendBytes(service.client, CREATE, request);
  expect((await service.sessions.getSession({ sessionId })).session?.sessionId).toBe(sessionId);
});

test("metadata nested without end is INVALID_ARGUMENT, and costs nobody else a call", async () => {
  // Each level of {"n": {"n": …}} is a Struct in a Value in an entry of a Struct.
  let struct: Uint8Array = new Uint8Array();
  for (let level = 0; level < 2000; level++) {
    const inner = struct;
    struct = bytes((writer) =>
      writer.uint32(10).fork().uint32(10).string("n").uint32(18).fork().uint32(42).bytes(inner).join().join(),
    );
  }
  const request = bytes((writer) => writer.uint32(10).string(newId()).uint32(26).bytes(struct));
  expect(await refusal(sendBytes(service.client, CREATE, request))).toEqual(invalid("metadata"));
  await service.sessions.createSession({ sessionId: newId() });
});

test("a request with thousands of faults is answered, and its connection goes on", async () => {
  const own = connect(service.address);
  onTestFinished(() => own.close());
  const messages = Array.from({ length: 1000 }, () => ({ messageId: " ", tokenCount: -1 }));
  const outcome = await failure(own.memory.addMemory({ sessionId: newId(), messages }, { deadlineMs: 60_000 }));
  expect(outcome).toMatchObject({ code: "INVALID_ARGUMENT", reason: "INVALID_FIELD", domain: "sessions.v1" });
  expect(outcome.fields.slice(0, 2)).toEqual(["messages[0].message_id", "messages[0].token_count"]);
  await own.sessions.createSession({ sessionId: newId() }, { deadlineMs: 60_000 });
});

test("many faults are all named at once", async () => {
  const sessionIds = Array.from({ length: 30 }, () => " ");
  expect(await refusal(service.sessions.batchGetSessions({ sessionIds }))).toEqual(
    invalid(...sessionIds.map((_, index) => `session_ids[${index}]`)),
  );
});

test("an error about the longest ids is answered whole", async () => {
  // One of the two meets the middle of a character, wherever a long text is cut.
  for (const start of ["", "x"]) {
    const sessionId = start + "𝒳".repeat(256 - start.length);
    const messageId = "𝒴".repeat(256);
    await service.sessions.createSession({ sessionId });
    const call = service.memory.getMessage({ sessionId, messageId }, { deadlineMs: 60_000 });
    expect(await refusal(call)).toEqual(messageNotFound(sessionId, messageId));
  }
});

test("errors about ids of any characters are answered", async () => {
  for (const sessionId of ["%", "ünï", "a\u2028b", "\uffff", '"', "\\", "a\u00a0b"]) {
    const { message, ...rest } = await failure(service.sessions.getSession({ sessionId }));
    expect(rest).toMatchObject(sessionNotFound(sessionId));
    expect(message).toContain(JSON.stringify(sessionId));
  }
});

test("no error tells of the database or the code", async () => {
  const sessionId = newId();
  await service.memory.addMemory({ sessionId, messages: [{ messageId: "m", content: "a" }] });
  const failures = await Promise.all(
    [
      service.sessions.createSession({ sessionId }),
      service.sessions.getSession({ sessionId: "" }),
      service.sessions.listSessions({ cursor: "x" }),
      service.memory.addMemory({ sessionId, messages: [{ messageId: "m", content: "b" }] }),
      service.memory.addMemory({ sessionId, expectedLastSequence: 99 }),
      service.users.getUser({ userId: newId("user") }),
      sendBytes(service.client, CREATE, Buffer.from([0x0a, 0x05])),
    ].map(failure),
  );
  for (const { message, violations } of failures) {
    const text = JSON.stringify([message, violations]);
    expect(text).not.toMatch(/mongo|E11000|dup key|collection|\.ts|\.js|node_modules|\n\s+at /i);
  }
});

test("an unknown method is UNIMPLEMENTED", async () => {
  const call = sendBytes(service.client, "/sessions.v1.SessionService/NoSuchMethod", new Uint8Array());
  expect((await failure(call)).code).toBe("UNIMPLEMENTED");
});
