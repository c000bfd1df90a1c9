import { randomUUID } from "node:crypto";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { zepRoutes } from "../../../src/http/zep/index.js";
import { anyJson } from "../../domain/any-json.js";
import { newId } from "../../support/contract.js";
import { rawCall, startZep, type ZepService } from "./support.js";

/** What no client should send. It is refused with a status of its own, or kept as it is; it is never a fault of the service. */
let zep: ZepService;
beforeAll(async () => {
  zep = await startZep();
});
afterAll(() => zep.stop());

/** In UTF-8, half a character becomes a sign that there was one. */
const asUtf8 = (value: object) =>
  JSON.parse(Buffer.from(JSON.stringify(value).replace(/\\u[dD][89a-fA-F]../g, "\ufffd")).toString());

describe("metadata", () => {
  it("comes back as it went in, whatever its keys and values", async () => {
    await fc.assert(
      fc.asyncProperty(anyJson, async (metadata) => {
        const [id, uuid] = [newId(), randomUUID()];
        const put = async (method: string, path: string, body: object) => {
          const answer = await zep.call(method, path, body);
          expect(answer.status, answer.text).toBeLessThan(300);
          return answer.json;
        };
        const created = await put("POST", "/sessions", { session_id: id, metadata });
        const user = await put("POST", "/user", { user_id: id, metadata });
        await put("POST", `/sessions/${id}/memory`, { messages: [{ uuid, content: "x", metadata }] });
        const expected = Object.keys(metadata).length === 0 ? null : asUtf8(metadata);
        const read = [
          created,
          user,
          (await zep.call("GET", `/sessions/${id}`)).json,
          (await zep.call("GET", `/user/${id}`)).json,
          (await zep.call("GET", `/sessions/${id}/memory`)).json.messages[0],
          (await zep.call("GET", `/sessions/${id}/messages/${uuid}`)).json,
        ];
        for (const object of read) expect(JSON.stringify(object.metadata ?? null)).toBe(JSON.stringify(expected));
      }),
      { numRuns: 40 },
    );
  });
});

describe("text", () => {
  it("with halves of characters is kept as UTF-8 has it, and known again", async () => {
    const id = newId();
    const body = `{"messages":[{"uuid":"${randomUUID()}","role":"\\ud83d","content":"a\\ud800b","metadata":{"\\udfff":["\\ud800"]}}]}`;
    for (const _ of [1, 2]) expect((await zep.call("POST", `/sessions/${id}/memory`, body)).status).toBe(200);
    const { messages } = (await zep.call("GET", `/sessions/${id}/memory`)).json;
    expect(messages).toMatchObject([{ role: "\ufffd", content: "a\ufffdb", metadata: { "\ufffd": ["\ufffd"] } }]);
    expect((await zep.call("POST", "/sessions", '{"session_id":"half \\ud800"}')).json.session_id).toBe("half \ufffd");
  });
});

describe("a body", () => {
  it.each([
    ["application/json", 200],
    ["text/plain;charset=UTF-8", 200],
    ["application/x-www-form-urlencoded", 200],
    ["multipart/form-data; boundary=x", 200],
    ["no type at all", 415],
  ])("is JSON, whatever it is called: %s", async (type, status) => {
    const answer = await zep.call("POST", `/sessions/${newId()}/memory`, { messages: [] }, { "content-type": type });
    expect([answer.status, answer.type]).toEqual([status, "text/plain; charset=utf-8"]);
  });

  it("need not be called anything", async () => {
    const path = `/api/v1/sessions/${newId()}/memory`;
    const answer = await rawCall(zep.url, "POST", path, { body: "{}" });
    expect(answer).toEqual({ status: 200, text: "OK" });
  });

  it.each([
    ["a million open brackets", "[".repeat(1_000_000)],
    ["a million levels", `${"[".repeat(1_000_000)}${"]".repeat(1_000_000)}`],
    ["a deep field", `{"messages":${"[".repeat(500_000)}${"]".repeat(500_000)}}`],
    ["bytes that are no text", "\u0000\u0001\u0002"],
    ["two objects", "{}{}"],
    ["a comment", "/* */ {}"],
  ])("that is %s is refused", async (_, body) => {
    for (const path of ["/sessions", "/sessions/x/memory", "/user"]) {
      const answer = await zep.call("POST", path, body);
      expect([answer.status, answer.text]).toEqual([400, expect.stringMatching(/^[^\n]{1,1100}\n$/)]);
    }
    expect((await zep.call("GET", "/sessions/x")).status).toBe(404);
  });

  it.each([
    ["33 levels", `${'{"a":'.repeat(33)}1${"}".repeat(33)}`],
    ["100,000 levels", `${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}`],
    ["a number that is none", '{"n":1e999}'],
    ["more than 64 KiB", JSON.stringify({ big: "x".repeat(64 * 1024) })],
  ])("with metadata of %s is refused", async (_, metadata) => {
    const bodies = {
      "/sessions": `{"session_id":"x","metadata":${metadata}}`,
      "/sessions/x/memory": `{"messages":[{"content":"x","metadata":${metadata}}]}`,
      "/user": `{"user_id":"x","metadata":${metadata}}`,
    };
    for (const [path, body] of Object.entries(bodies)) {
      const answer = await zep.call("POST", path, body);
      expect([answer.status, answer.text]).toEqual([
        400,
        expect.stringMatching(/^((messages\[0\]\.)?metadata|body): [^\n]+\n$/),
      ]);
    }
    expect((await zep.call("GET", "/sessions/x")).status).toBe(404);
  });

  it("may be wide", async () => {
    const metadata = Object.fromEntries(Array.from({ length: 5_000 }, (_, index) => [`k${index}`, index]));
    expect((await zep.call("POST", "/sessions", { session_id: newId(), metadata })).status).toBe(201);
  });
});

describe("whatever is sent", () => {
  const routes = zepRoutes({} as never);
  const value = fc.jsonValue({ maxDepth: 4 });
  const field = fc.constantFrom(
    ...["session_id", "user_id", "uuid", "messages", "metadata", "role", "content", "token_count", "created_at"],
    ...["email", "first_name", "deleted_at", "id", "summary", "text", "__proto__", "constructor"],
    ...["search_scope", "where", "jsonpath", "and", "or", "start_date"],
  );
  const object = fc.dictionary(
    field,
    fc.oneof(value, fc.constantFrom<fc.JsonValue>("x", "", -1, 2 ** 31, 1.5, [{}], [null])),
  );
  const body = fc.oneof(
    object,
    value,
    fc.record({ messages: fc.array(object, { maxLength: 4 }) }),
    fc.string({ unit: "binary" }),
  );
  const segment = fc.oneof(
    fc.constantFrom("x", "%2e%2e", "..", "%00", "%0a", "%e2%80%ae", "%", "%zz", "%FF", " ", "null", "0", "*", ":id"),
    fc.string({ unit: "grapheme", maxLength: 20 }).map(encodeURIComponent),
    fc.uuid(),
  );
  const query = fc.oneof(
    fc.constant(""),
    fc
      .array(
        fc.tuple(
          fc.constantFrom("limit", "cursor", "lastn", "x"),
          fc.constantFrom("", "0", "-1", "7", "x", "1e3", "9".repeat(30), "%FF"),
        ),
      )
      .map((pairs) => `?${pairs.map((pair) => pair.join("=")).join("&")}`),
  );
  const request = fc.record({
    route: fc.constantFrom(...routes.map(({ method, url, path }) => ({ method, url, path }))),
    method: fc.constantFrom(undefined, undefined, undefined, "GET", "POST", "PUT", "PATCH", "DELETE"),
    id: segment,
    uuid: segment,
    query,
    body,
  });

  it("is never a fault of the service", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(request, { minLength: 50, maxLength: 50 }), async (requests) => {
        await Promise.all(
          requests.map(async ({ route, method = route.method, id, uuid, query, body }) => {
            const path = `/api/v1${route.url.replace(":id", id).replace(":uuid", uuid)}${query}`.replaceAll(" ", "%20");
            const text = typeof body === "string" ? body : JSON.stringify(body);
            const answer = await rawCall(zep.url, method, path, { body: method === "GET" ? "" : text });
            const what = `${method} ${path} ${text} -> ${answer.status} ${answer.text}`;
            expect(answer.status, what).toBeLessThan(500);
            if (answer.status >= 400 && answer.status !== 405) expect(answer.text, what).toMatch(/^[^\n]+\n$/);
          }),
        );
      }),
      { numRuns: 30 },
    );
    expect((await zep.call("GET", "/sessions?limit=1")).status).toBe(200);
  });
});
