import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ErrorInfo } from "../../../gen/google/rpc/error_details.js";
import { MAX_REQUEST_BYTES } from "../../../src/domain/limits.js";
import { newId } from "../../support/contract.js";
import { startService, type TestService } from "../../support/service.js";

let service: TestService;
let url: string;
beforeAll(async () => {
  service = await startService({ httpListen: { host: "127.0.0.1", port: 0 } });
  url = `http://${service.server.httpAddress}`;
});
afterAll(() => service.stop());

const JSON_TYPE = { "content-type": "application/json" };

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: whatever JSON has come
  readonly json: any;
}

async function post(
  path: string,
  body: RequestInit["body"],
  headers: Record<string, string> = JSON_TYPE,
  more: RequestInit = {},
): Promise<Answer> {
  const response = await fetch(`${url}${path}`, { method: "POST", body, headers, ...more });
  const text = await response.text();
  return { status: response.status, headers: response.headers, json: text === "" ? undefined : JSON.parse(text) };
}

const GET = "/sessions.v1.SessionService/GetSession";
const CREATE = "/sessions.v1.SessionService/CreateSession";
const ADD = "/sessions.v1.MemoryService/AddMemory";
const LIST = "/sessions.v1.SessionService/ListSessions";

/** What every refusal has: HTTP's status, Connect's code, and the details, for programs in protobuf and for people in JSON. */
function expectRefusal({ status, json }: Answer, expected: { status: number; code: string; reason: string }): void {
  const [detail] = json.details;
  expect({ status, code: json.code, reason: detail.debug.reason }).toEqual(expected);
  expect(detail.type).toBe("google.rpc.ErrorInfo");
  expect(ErrorInfo.decode(Buffer.from(detail.value, "base64")).reason).toBe(expected.reason);
  expect(json.message).toMatch(/\w/);
}

const INVALID = { status: 400, code: "invalid_argument", reason: "INVALID_FIELD" };

describe("JSON", () => {
  it("is taken as one types it into curl", async () => {
    const sessionId = newId();
    const curl = async (path: string, body: string): Promise<unknown> => {
      const args = ["-s", `${url}${path}`, "-H", "Content-Type: application/json", "-d", body];
      return JSON.parse((await promisify(execFile)("curl", args)).stdout);
    };
    await curl(CREATE, `{"sessionId": "${sessionId}", "metadata": {"topic": "tea"}}`);
    const added = `{"session_id": "${sessionId}", "messages": [{"role": "user", "roleType": "ROLE_TYPE_USER", "content": "Hi", "payload": "aGk="},
      {"role_type": 2, "token_count": 3, "createTime": "2024-05-06T07:08:09.010Z"}], "expectedLastSequence": "0"}`;
    expect(await curl(ADD, added)).toMatchObject({ messages: [{ sequence: "1" }, { sequence: "2" }] });
    expect(
      await curl("/sessions.v1.MemoryService/GetMemory", `{"sessionId": "${sessionId}", "lastN": "2"}`),
    ).toMatchObject({
      messages: [
        { sequence: "1", role: "user", roleType: "ROLE_TYPE_USER", content: "Hi", payload: "aGk=" },
        { sequence: "2", roleType: "ROLE_TYPE_ASSISTANT", tokenCount: 3, createTime: "2024-05-06T07:08:09.010Z" },
      ],
      session: { sessionId, metadata: { topic: "tea" }, messageCount: "2" },
    });
    expect(await curl(GET, `{"sessionId": "nobody's"}`)).toMatchObject({ code: "not_found" });
  });

  it("takes int64 as a number or as text, and refuses one that a number cannot hold", async () => {
    const sessionId = newId();
    for (const [value, last] of [
      ["0", 0],
      ['"1"', 1],
    ]) {
      const body = `{"sessionId": "${sessionId}", "messages": [{}], "expectedLastSequence": ${value}}`;
      expect((await post(ADD, body)).json, `${last}`).toMatchObject({
        messages: [{ sequence: String(Number(last) + 1) }],
      });
    }
    for (const value of ['"9007199254740993"', "9007199254740993", "1e400", '"x"', "1.5", "{}"]) {
      expectRefusal(await post(ADD, `{"sessionId": "${sessionId}", "expectedLastSequence": ${value}}`), INVALID);
    }
  });

  it("names every fault of a request, with its path, in one answer", async () => {
    const { json } = await post(
      ADD,
      `{"sessionID": "a", "userId": 4, "expectedLastSequence": {}, "messages": [
        {"content": 1, "payload": "***", "roleType": "ROLE_TYPE_KING", "createTime": "yesterday"}, 5, {"metadata": [], "Role": "x"}]}`,
    );
    expect(json.details[1].debug.fieldViolations.map(({ field }: { field: string }) => field)).toEqual([
      "sessionID",
      "user_id",
      "expected_last_sequence",
      "messages[0].content",
      "messages[0].payload",
      "messages[0].role_type",
      "messages[0].create_time",
      "messages[1]",
      "messages[2].Role",
      "messages[2].metadata",
    ]);
    expect(json.message).toContain("sessionID: There is no such field. There are: sessionId, messages, userId,");
  });

  it.each([
    ["nothing", ""],
    ["half of it", '{"sessionId": "a'],
    ["a list", "[]"],
    ["null", "null"],
    ["a field twice, by its two names", '{"sessionId": "a", "session_id": "b"}'],
    ["half a surrogate pair", '{"sessionId": "\\ud800"}'],
    ["half a surrogate pair in metadata", '{"sessionId": "a", "metadata": {"\\udc00": 1}}'],
    ["what is not UTF-8", Buffer.from('{"sessionId": "\xff"}', "latin1")],
    [
      "brackets in brackets, four million deep",
      `{"sessionId": "a", "metadata": {"a": ${"[".repeat(4_000_000)}${"]".repeat(4_000_000)}}}`,
    ],
    ["brackets that never close", `{"sessionId": ${"[".repeat(4_000_000)}`],
    ["four million numbers", `{"sessionId": "a", "metadata": {"a": [${"0,".repeat(4_000_000)}0]}}`],
    ["millions of session ids", `{"sessionId": [${'"",'.repeat(2_500_000)}""]}`],
  ])("is refused where it is no request: %s", async (_what, body) => {
    expectRefusal(await post(CREATE, body), INVALID);
    await expect(service.sessions.getSession({ sessionId: "a" })).rejects.toMatchObject({ code: 5 });
  });

  it("has more messages than a call may have refused before they are read one by one", async () => {
    const { json } = await post(ADD, `{"sessionId": "many", "messages": [${"{},".repeat(2_000_000)}{}]}`);
    expect(json.details[1].debug.fieldViolations).toEqual([
      { field: "messages", description: "2000001 entries; send at most 1000." },
    ]);
  });

  it("tells a thousand messages whole", async () => {
    const sessionId = newId();
    const metadata = Object.fromEntries(Array.from({ length: 200 }, (_, n) => [`key ${n}`, [n, { n: String(n) }]]));
    const messages = Array.from({ length: 1000 }, (_, n) => ({ content: `${n}`, metadata }));
    for (let from = 0; from < 1000; from += 250) {
      await service.memory.addMemory({ sessionId, messages: messages.slice(from, from + 250) });
    }
    const { json } = await post(
      "/sessions.v1.MemoryService/GetMemory",
      `{"sessionId": "${sessionId}", "lastN": 1000, "maxBytes": 67108864}`,
    );
    expect(json.messages.map(({ content }: { content: string }) => Number(content))).toEqual([...messages.keys()]);
    expect(json.messages[999].metadata).toEqual(metadata);
  });
});

describe("what is no call in the Connect protocol", () => {
  it("is answered with how to make one", async () => {
    const form = await post(GET, '{"sessionId": "a"}', { "content-type": "application/x-www-form-urlencoded" });
    expectRefusal(form, { ...INVALID, status: 415 });
    expect(form.json.message).toContain('Send JSON with the header "Content-Type: application/json"');
    for (const type of [
      "text/plain",
      "application/json; charset=latin1",
      "application/grpc",
      "application/grpc-web-text",
      ";;",
    ]) {
      expectRefusal(await post(GET, "{}", { "content-type": type }), { ...INVALID, status: 415 });
    }
    const stream = await post(LIST, "{}");
    expectRefusal(stream, { ...INVALID, status: 415 });
    expect(stream.json.message).toContain("application/connect+json");
    expectRefusal(await post(GET, "{}", { "content-type": "application/connect+json" }), { ...INVALID, status: 415 });
  });

  it("is refused when it is no POST", async () => {
    for (const method of ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"]) {
      expectRefusal(await post(GET, undefined, {}, { method }), { ...INVALID, status: 405 });
    }
  });

  it("is refused when there is no such method", async () => {
    for (const path of [
      "/sessions.v1.SessionService/Nothing",
      "/sessions.v1.NoService/GetSession",
      "/sessions.v1.SessionService/",
    ]) {
      const answer = await post(path, "{}");
      expectRefusal(answer, { status: 404, code: "unimplemented", reason: "UNIMPLEMENTED" });
    }
  });

  it("is refused for a deadline that is none, or a compression that nobody knows", async () => {
    for (const timeout of ["x", "-1", "1.5", "12345678901", "1s"]) {
      expectRefusal(await post(GET, "{}", { ...JSON_TYPE, "connect-timeout-ms": timeout }), INVALID);
    }
    const zstd = await post(GET, "{}", { ...JSON_TYPE, "content-encoding": "zstd" });
    expectRefusal(zstd, { status: 501, code: "unimplemented", reason: "UNIMPLEMENTED" });
    expectRefusal(await post(GET, "no gzip", { ...JSON_TYPE, "content-encoding": "gzip" }), INVALID);
  });
});

describe("a request that is too large", () => {
  const body = (bytes: number): string => {
    const start = '{"sessionId": "large", "messages": [{"content": "';
    const end = '"}]}';
    return start + "x".repeat(bytes - start.length - end.length) + end;
  };

  it("is refused with the words that gRPC has for it, and one of the largest size is read", async () => {
    const refused = await post(ADD, body(MAX_REQUEST_BYTES + 1));
    expectRefusal(refused, INVALID);
    expect(refused.json.message).toBe(`request: Larger than ${MAX_REQUEST_BYTES} bytes: send less at a time.`);
    // Read, and then judged as what it is.
    expect((await post(ADD, body(MAX_REQUEST_BYTES))).json.message).toContain("messages[0].content:");
    // The connection goes on.
    expect((await post(GET, '{"sessionId": "large"}')).status).toBe(404);
  });

  it("is refused also when it only becomes so when it is unpacked", async () => {
    const packed = gzipSync(body(100 * 1024 * 1024));
    const refused = await post(ADD, packed, { ...JSON_TYPE, "content-encoding": "gzip" });
    expect(refused.json.message).toBe(`request: Larger than ${MAX_REQUEST_BYTES} bytes: send less at a time.`);
  });

  it("is refused also when it only becomes so as protobuf", async () => {
    const metadata = `{"metadata": {"a": [${"0,".repeat(32_000)}0]}},`;
    const refused = await post(ADD, `{"sessionId": "large", "messages": [${metadata.repeat(100)}{}]}`);
    expect(refused.json.message).toBe(`request: Larger than ${MAX_REQUEST_BYTES} bytes: send less at a time.`);
  });
});

it("names a call in the log and in the answer by the id that its caller gave it", async () => {
  const given = await post(GET, "{}", { ...JSON_TYPE, "x-request-id": "mine-1" });
  expect(given.headers.get("x-request-id")).toBe("mine-1");
  const made = await post(GET, "{}");
  expect(made.headers.get("x-request-id")).toMatch(/^[0-9a-f-]{36}$/);
});
