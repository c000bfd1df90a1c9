import { gzipSync } from "node:zlib";
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import { Client, credentials } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as memory from "../../gen/sessions/v1/memory_service.js";
import { PurgeDeletedRequest, PurgeServiceService } from "../../gen/sessions/v1/purge_service.js";
import { GetSessionRequest, SessionServiceService } from "../../gen/sessions/v1/session_service.js";
import { UserServiceService } from "../../gen/sessions/v1/user_service.js";
import { MAX_CONTENT_BYTES, MAX_REQUEST_BYTES } from "../../src/domain/limits.js";
import { failure } from "../support/api.js";
import { frame, type RawAnswer, type RawClient, rawClient } from "../support/raw-grpc.js";
import { startService, type TestService } from "../support/service.js";

let service: TestService;
let raw: RawClient;
beforeAll(async () => {
  service = await startService();
  raw = rawClient(service.address);
});
afterAll(async () => {
  raw.close();
  await service.stop();
});

const ADD_MEMORY = memory.MemoryServiceService.addMemory.path;
const GET_SESSION = SessionServiceService.getSession.path;

const METHODS = [SessionServiceService, memory.MemoryServiceService, UserServiceService, PurgeServiceService].flatMap(
  (definition) => Object.values(definition).map(({ path }) => path as string),
);

/** Without watching, which has no end once it is accepted. */
const ENDING = METHODS.filter((path) => path !== SessionServiceService.watchSessions.path);

/** The server's own deadline turns an answer that never comes into a failure that the test can show. */
const send = (path: string, message: Uint8Array, compressed = false): Promise<RawAnswer> =>
  raw.call(path, { message, compressed, headers: { "grpc-timeout": "60S", "grpc-encoding": "gzip" } });

const REFUSED = {
  code: "INVALID_ARGUMENT",
  reason: "INVALID_FIELD",
  domain: "sessions.v1",
  fields: ["request"],
  violations: [{ field: "request", description: expect.stringMatching(/\w/) }],
};

/** A field that holds these bytes. */
const field = (number: number, bytes: Uint8Array): Uint8Array =>
  new BinaryWriter()
    .uint32((number << 3) | 2)
    .bytes(bytes)
    .finish();

const NOT_UTF8 = Uint8Array.of(0x61, 0xff, 0xfe);
const whole = memory.AddMemoryRequest.encode(
  memory.AddMemoryRequest.fromPartial({
    sessionId: "whole",
    messages: [{ content: "hello", metadata: { a: [1, "x", { b: null }] }, createTime: { seconds: 1, nanos: 5 } }],
    sessionMetadata: { k: "v" },
  }),
).finish();

/** A Struct of this many objects in one another, made from the innermost outwards. */
function nestedStruct(levels: number): Uint8Array {
  const parts: Uint8Array[] = [];
  let length = 0;
  const before = (part: Uint8Array): void => {
    parts.push(part);
    length += part.length;
  };
  const head = (number: number): Uint8Array =>
    new BinaryWriter()
      .uint32((number << 3) | 2)
      .uint32(length)
      .finish();
  const key = field(1, Buffer.from("k"));
  for (let level = 1; level < levels; level++) {
    before(head(5)); // Value.struct_value
    before(head(2)); // the value of the entry
    before(key);
    before(head(1)); // an entry of Struct.fields
  }
  return Buffer.concat(parts.reverse());
}

describe("bytes that are no request of the method", () => {
  const cases: [what: string, path: string, bytes: Uint8Array][] = [
    ["cut off within a field", ADD_MEMORY, whole.subarray(0, whole.length - 1)],
    ["cut off within a tag", GET_SESSION, Uint8Array.of(0x8a)],
    ["a length beyond the end", GET_SESSION, Uint8Array.of(0x0a, 0x7f, 0x61)],
    ["a length beyond any memory", GET_SESSION, Uint8Array.of(0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f)],
    ["a number that does not end", GET_SESSION, new Uint8Array(20).fill(0xff)],
    ["field number 0", GET_SESSION, Uint8Array.of(0x00, 0x01)],
    ["field number 0 of another type", GET_SESSION, Uint8Array.of(0x02, 0x00)],
    ["field number 0 in a message within", ADD_MEMORY, field(2, Uint8Array.of(0x00, 0x01))],
    ["field number 0 in metadata", ADD_MEMORY, field(4, Uint8Array.of(0x02, 0x00))],
    ["field number 0 in a group that is not known", GET_SESSION, Uint8Array.of(0x53, 0x00, 0x01, 0x54)],
    ["a tag of more than 32 bits", GET_SESSION, Uint8Array.of(0x8a, 0x80, 0x80, 0x80, 0x80, 0x01, 0x00)],
    ["a group that ends in a message within and never began", ADD_MEMORY, field(2, Uint8Array.of(0x0c))],
    ["a group that ends as another", GET_SESSION, Uint8Array.of(0x53, 0x08, 0x01, 0x5c)],
    ["wire types that there are not", GET_SESSION, Uint8Array.of(0x0e, 0x0f)],
    ["a group that ends and never began", GET_SESSION, Uint8Array.of(0x0c, 0x08, 0x01)],
    ["a group that never ends", GET_SESSION, Uint8Array.of(0x53, 0x08, 0x01)],
    ["a million groups in one another", GET_SESSION, new Uint8Array(1_000_000).fill(0x53)],
    [
      "bytes left over",
      GET_SESSION,
      Buffer.concat([GetSessionRequest.encode({ sessionId: "a", showDeleted: false }).finish(), Uint8Array.of(0, 1)]),
    ],
    ["an id that is not UTF-8", GET_SESSION, field(1, NOT_UTF8)],
    [
      "content that is not UTF-8",
      ADD_MEMORY,
      Buffer.concat([field(1, Buffer.from("s")), field(2, field(4, NOT_UTF8))]),
    ],
    ["a metadata key that is not UTF-8", ADD_MEMORY, field(4, field(1, field(1, NOT_UTF8)))],
    ["a metadata text that is not UTF-8", ADD_MEMORY, field(4, field(1, field(2, field(3, NOT_UTF8))))],
    ["half of a surrogate pair, as UTF-8 would write it", GET_SESSION, field(1, Uint8Array.of(0xed, 0xa0, 0x80))],
    ["metadata that reaches past its end", ADD_MEMORY, field(4, Uint8Array.of(0x0a, 0x05, 0x0a))],
  ];
  it.each(cases)("%s: INVALID_ARGUMENT", async (_what, path, bytes) => {
    expect((await send(path, bytes)).failure).toMatchObject(REFUSED);
  });

  it("are refused by every method alike", async () => {
    const answers = await Promise.all(METHODS.map((path) => send(path, Uint8Array.of(0x0a, 0x7f, 0x61))));
    expect(METHODS.length).toBeGreaterThan(20);
    for (const { failure: refused } of answers) expect(refused).toMatchObject(REFUSED);
  });

  it("never make it a fault of the service, whatever they are", async () => {
    // A generator of its own, so that each run sends the same.
    let state = 20_240_607;
    const random = (below: number): number => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    for (let round = 0; round < 40; round++) {
      const answers = await Promise.all(
        ENDING.map((path) => {
          const bytes = Buffer.from(whole);
          if (round % 2 === 0) for (let n = 0; n < 3; n++) bytes[random(bytes.length)] = random(256);
          else for (let n = 0; n < bytes.length; n++) bytes[n] = random(256);
          return send(path, bytes.subarray(0, random(bytes.length + 1)));
        }),
      );
      for (const [index, { code, failure: failed }] of answers.entries()) {
        if (code === 0) continue;
        expect(failed, ENDING[index]).toMatchObject({
          domain: "sessions.v1",
          reason: expect.stringMatching(/^[A-Z_]+$/),
        });
        expect(failed?.code, ENDING[index]).toMatch(
          /^(INVALID_ARGUMENT|NOT_FOUND|ALREADY_EXISTS|FAILED_PRECONDITION|ABORTED)$/,
        );
      }
    }
  });
});

describe("an integer that a double does not hold", () => {
  const wide = (number: number, value: string): Uint8Array =>
    new BinaryWriter()
      .uint32(number << 3)
      .int64(value)
      .finish();
  const beyond = "9007199254740992";
  const id = field(1, Buffer.from("wide"));

  it.each([
    ["expected_last_sequence", ADD_MEMORY, wide(5, beyond)],
    ["expected_last_sequence", ADD_MEMORY, wide(5, "-9007199254740992")],
    ["expected_last_sequence", ADD_MEMORY, wide(5, "-9223372036854775808")],
    ["messages[0].create_time.seconds", ADD_MEMORY, field(2, field(9, wide(1, "9223372036854775807")))],
    [
      "messages[2].create_time.seconds",
      ADD_MEMORY,
      Buffer.concat([
        field(2, new Uint8Array()),
        field(2, field(9, wide(1, "0"))),
        field(2, field(9, wide(1, beyond))),
      ]),
    ],
    ["older_than.seconds", PurgeServiceService.purgeDeleted.path, field(1, wide(1, beyond))],
  ])("is refused by its field: %s", async (name, path, bytes) => {
    expect((await send(path, path === ADD_MEMORY ? Buffer.concat([id, bytes]) : bytes)).failure).toMatchObject({
      code: "INVALID_ARGUMENT",
      reason: "INVALID_FIELD",
      violations: [{ field: name, description: expect.stringContaining("9007199254740991") }],
    });
  });

  it("is taken up to there", async () => {
    const bytes = Buffer.concat([id, wide(5, "9007199254740991")]);
    expect((await send(ADD_MEMORY, bytes)).failure).toMatchObject({
      reason: "SEQUENCE_MISMATCH",
      metadata: { expected_last_sequence: "9007199254740991" },
    });
  });
});

describe("a message that comes in pieces is what they are together", () => {
  const entry = (key: string, ...values: Uint8Array[]): Uint8Array =>
    field(1, Buffer.concat([field(1, Buffer.from(key)), ...values.map((value) => field(2, value))]));
  const text = (value: string): Uint8Array => field(3, Buffer.from(value));
  const isWhole = async (sessionId: string, ...parts: Uint8Array[]) => {
    expect(await send(ADD_MEMORY, Buffer.concat([field(1, Buffer.from(sessionId)), ...parts]))).toMatchObject({
      code: 0,
    });
    return service.memory.getMemory({ sessionId });
  };

  it("metadata", async () => {
    const { session } = await isWhole(
      "pieces",
      field(4, entry("a", text("1"))),
      field(4, Buffer.concat([entry("b", text("2")), entry("a", text("3"))])),
    );
    expect(session?.metadata).toEqual({ a: "3", b: "2" });
  });

  it("metadata within metadata", async () => {
    const list = (value: string): Uint8Array => field(6, field(1, text(value)));
    const { session } = await isWhole(
      "inner-pieces",
      field(
        4,
        Buffer.concat([
          entry("object", field(5, entry("a", text("1"))), field(5, entry("b", text("2")))),
          entry("list", list("x"), list("y")),
          entry("replaced", field(5, entry("a", text("1"))), text("then a text")),
        ]),
      ),
    );
    expect(session?.metadata).toEqual({ object: { a: "1", b: "2" }, list: ["x", "y"], replaced: "then a text" });
  });

  it("a time, in a list of messages", async () => {
    const seconds = new BinaryWriter().uint32(8).int64("1700000000").finish();
    const nanos = new BinaryWriter().uint32(16).int32(5_000_000).finish();
    const message = (content: string, ...times: Uint8Array[]): Uint8Array =>
      field(2, Buffer.concat([...times.map((time) => field(9, time)), field(4, Buffer.from(content))]));
    const { messages } = await isWhole(
      "times",
      message("whole", seconds),
      message("pieces", seconds, nanos),
      message("none"),
    );
    expect(messages.map(({ content }) => content)).toEqual(["whole", "pieces", "none"]);
    expect(messages.slice(0, 2).map(({ createTime }) => createTime)).toEqual([
      { seconds: 1_700_000_000, nanos: 0 },
      { seconds: 1_700_000_000, nanos: 5_000_000 },
    ]);
  });

  it("with what stands between and behind them, hundreds of them too", async () => {
    const piece = (n: number): Uint8Array =>
      Buffer.concat([field(4, entry(`${n}`, text("1"))), field(2, field(4, Buffer.from(`${n}`)))]);
    const { session, messages } = await isWhole("many-pieces", ...Array.from({ length: 900 }, (_, n) => piece(n)));
    expect(Object.keys(session?.metadata ?? {})).toHaveLength(900);
    expect(messages.at(-1)?.content).toBe("899");
    expect((await service.memory.getMemory({ sessionId: "many-pieces", lastN: 1_000 })).messages).toHaveLength(900);
  });

  it.each([
    ["session_metadata", 4],
    ["messages", 2],
  ])("millions of them are refused at once: %s", async (name, number) => {
    const bytes = Buffer.concat([
      field(1, Buffer.from("millions")),
      Buffer.alloc(MAX_REQUEST_BYTES - 100, field(number, Buffer.of())),
    ]);
    expect((await send(ADD_MEMORY, bytes)).failure).toMatchObject({ code: "INVALID_ARGUMENT", fields: [name] });
  });
});

describe("metadata that is nested without end", () => {
  it.each([33, 65, 10_000, 100_000])("%i levels: INVALID_ARGUMENT that names the field", async (levels) => {
    const bytes = Buffer.concat([field(1, Buffer.from("deep")), field(4, nestedStruct(levels))]);
    expect((await send(ADD_MEMORY, bytes)).failure).toMatchObject({
      code: "INVALID_ARGUMENT",
      reason: "INVALID_FIELD",
      fields: ["session_metadata"],
    });
  });

  it("is taken up to the limit of 32 levels", async () => {
    const bytes = Buffer.concat([field(1, Buffer.from("deep-enough")), field(4, nestedStruct(32))]);
    expect(await send(ADD_MEMORY, bytes)).toMatchObject({ code: 0 });
  });
});

describe("fields that the service does not know", () => {
  it("are passed over: a newer client can talk to an older service", async () => {
    const known = GetSessionRequest.encode({ sessionId: "nobody", showDeleted: false }).finish();
    const unknown = Buffer.concat([
      field(1000, Buffer.from("from the future")),
      new BinaryWriter()
        .uint32((1001 << 3) | 0)
        .int64("9223372036854775807")
        .finish(),
      // A group with a number in it.
      Uint8Array.of(0x53, 0x08, 0x01, 0x54),
      // A known field in another type.
      Uint8Array.of(0x08, 0x05),
    ]);
    for (const bytes of [Buffer.concat([known, unknown]), Buffer.concat([unknown, known])]) {
      expect((await send(GET_SESSION, bytes)).failure).toMatchObject({
        code: "NOT_FOUND",
        metadata: { session_id: "nobody" },
      });
    }
  });

  it("and what is not sent has its default", async () => {
    expect((await send(GET_SESSION, new Uint8Array())).failure).toMatchObject({ fields: ["session_id"] });
    expect(
      await send(
        PurgeServiceService.purgeDeleted.path,
        PurgeDeletedRequest.encode({ olderThan: undefined, dryRun: true }).finish(),
      ),
    ).toMatchObject({ code: 0 });
  });
});

describe("a request's size", () => {
  /** A request of exactly this many bytes, all of them within the limits of their fields. */
  function requestOf(bytes: number, sessionId: string): memory.AddMemoryRequest {
    const request = memory.AddMemoryRequest.fromPartial({
      sessionId,
      messages: Array.from({ length: 8 }, () => ({ content: "a".repeat(MAX_CONTENT_BYTES - 100) })),
    });
    const filler = memory.NewMessage.fromPartial({});
    request.messages.push(filler);
    for (;;) {
      const missing = bytes - memory.AddMemoryRequest.encode(request).finish().length;
      if (missing === 0) return request;
      filler.content = "b".repeat(filler.content.length + missing);
    }
  }

  it("may be 8 MiB", async () => {
    const request = requestOf(MAX_REQUEST_BYTES, "full");
    const { messages } = await service.memory.addMemory(request);
    expect(messages).toHaveLength(9);
  });

  it("may not be a byte more, and the answer says so with details, to a client that sends on as well", async () => {
    const request = memory.AddMemoryRequest.encode(requestOf(MAX_REQUEST_BYTES + 1, "too-full")).finish();
    const client = new Client(service.address, credentials.createInsecure(), { "grpc.max_send_message_length": -1 });
    for (const size of [request.length, 3 * request.length]) {
      const bytes = Buffer.concat([request, Buffer.alloc(size - request.length)]);
      const outcome = new Promise((resolve, reject) => {
        client.makeUnaryRequest(
          ADD_MEMORY,
          () => bytes,
          (answer) => answer,
          {},
          (error, answer) => (error ? reject(error) : resolve(answer)),
        );
      });
      expect(await failure(outcome)).toMatchObject({
        ...REFUSED,
        violations: [{ field: "request", description: expect.stringContaining("8388608") }],
      });
    }
    client.close();
    await expect(service.sessions.getSession({ sessionId: "too-full" })).rejects.toMatchObject({ code: 5 });
  });

  it("counts as what it is when it is unpacked: a small parcel with gigabytes in it is refused", async () => {
    const bomb = gzipSync(Buffer.alloc(100 * 1024 * 1024));
    expect(bomb.length).toBeLessThan(MAX_REQUEST_BYTES / 10);
    expect((await send(ADD_MEMORY, bomb, true)).failure).toMatchObject({
      ...REFUSED,
      violations: [{ field: "request", description: expect.stringContaining("8388608") }],
    });
  });
});

describe("compression", () => {
  it("of a request works with a stock client", async () => {
    const client = new Client(service.address, credentials.createInsecure(), {
      "grpc.default_compression_algorithm": 2,
    });
    const { path, requestSerialize, responseDeserialize } = memory.MemoryServiceService.addMemory;
    const request = memory.AddMemoryRequest.fromPartial({
      sessionId: "packed",
      messages: [{ content: "z".repeat(10_000) }],
    });
    await new Promise((resolve, reject) => {
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, (error, answer) =>
        error ? reject(error) : resolve(answer),
      );
    });
    client.close();
    const { messages } = await service.memory.getMemory({ sessionId: "packed" });
    expect(messages.map(({ content }) => content.length)).toEqual([10_000]);
  });

  it("that a message tells of, and its call does not, is INVALID_ARGUMENT", async () => {
    const message = memory.AddMemoryRequest.encode(
      memory.AddMemoryRequest.fromPartial({ sessionId: "flagged" }),
    ).finish();
    for (const flag of [1, 2, 255]) {
      const wire = frame(message);
      wire.writeUInt8(flag, 0);
      const encodings: Record<string, string>[] = [{}, { "grpc-encoding": flag === 1 ? "identity" : "gzip" }];
      for (const encoding of encodings) {
        const { failure: refused } = await raw.call(ADD_MEMORY, {
          wire,
          headers: { "grpc-timeout": "60S", ...encoding },
        });
        expect(refused).toMatchObject(REFUSED);
      }
    }
    await expect(service.sessions.getSession({ sessionId: "flagged" })).rejects.toMatchObject({ code: 5 });
  });

  it("that the service does not know is UNIMPLEMENTED, with those that it knows", async () => {
    const headers = { "grpc-timeout": "60S", "grpc-encoding": "snappy" };
    const { failure: refused, trailers } = await raw.call(ADD_MEMORY, { message: whole, compressed: true, headers });
    expect(refused).toMatchObject({
      code: "UNIMPLEMENTED",
      reason: "UNIMPLEMENTED",
      domain: "sessions.v1",
      metadata: { encoding: "snappy" },
    });
    expect(trailers["grpc-accept-encoding"]).toBe("identity,deflate,gzip");
    expect(await raw.call(GET_SESSION, { message: field(1, Buffer.from("nobody")), headers })).toMatchObject({
      code: 5,
    });
  });

  it("that is no compression is INVALID_ARGUMENT", async () => {
    for (const bytes of [Buffer.from("not gzip at all"), gzipSync(whole).subarray(0, 20)]) {
      expect((await send(ADD_MEMORY, bytes, true)).failure).toMatchObject(REFUSED);
    }
  });
});

describe("a call that is none", () => {
  it("with no message, or two, is refused and neither of them is done", async () => {
    const message = (sessionId: string) =>
      frame(memory.AddMemoryRequest.encode(memory.AddMemoryRequest.fromPartial({ sessionId })).finish());
    const headers = { "grpc-timeout": "60S" };
    for (const wire of [
      Buffer.alloc(0),
      Buffer.concat([message("first"), message("second")]),
      message("first").subarray(0, 8),
    ]) {
      const { failure: refused } = await raw.call(ADD_MEMORY, { wire, headers });
      expect(refused?.code).not.toMatch(/^(OK|INTERNAL|UNKNOWN|DEADLINE_EXCEEDED)$/);
      expect(refused).toMatchObject({ domain: "sessions.v1", reason: expect.stringMatching(/^[A-Z_]+$/) });
    }
    for (const sessionId of ["first", "second"]) {
      await expect(service.sessions.getSession({ sessionId })).rejects.toMatchObject({ code: 5 });
    }
  });

  it.each([
    "sessions.v1.MemoryService/Forget",
    "sessions.v2.MemoryService/GetMemory",
    "nothing",
    `sessions.v1.MemoryService/${"long".repeat(300)}`,
  ])("of a method that there is not is UNIMPLEMENTED, with its name: %s", async (method) => {
    const { failure: refused } = await send(`/${method}`, new Uint8Array());
    expect(refused).toMatchObject({
      code: "UNIMPLEMENTED",
      reason: "UNIMPLEMENTED",
      domain: "sessions.v1",
      metadata: { method: method.slice(0, 256) },
    });
  });
});

it("a request with a thousand mistakes is answered like one with a single mistake", async () => {
  const messages = Array.from({ length: 1000 }, () => ({ tokenCount: -1, role: "r".repeat(300) }));
  const refused = await failure(service.memory.addMemory({ sessionId: " ", messages }, { deadlineMs: 60_000 }));
  expect(refused).toMatchObject({ code: "INVALID_ARGUMENT", reason: "INVALID_FIELD" });
  expect(refused.fields.slice(0, 3)).toEqual(["session_id", "messages[0].role", "messages[0].token_count"]);
});
