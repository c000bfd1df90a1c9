import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startZep, type ZepService } from "./support.js";

/** What each route answers, to raw HTTP: the statuses that clients of the legacy API go by. */
let zep: ZepService;
const UUID = randomUUID();
const MIB = 1024 * 1024;

beforeAll(async () => {
  zep = await startZep();
  await zep.users.createUser({ userId: "u" });
  await zep.sessions.createSession({ sessionId: "s", userId: "u", metadata: { a: 1 } });
  await zep.call("POST", "/sessions/s/memory", messages({ uuid: UUID, role: "user", content: "x" }));
  await zep.sessions.createSession({ sessionId: "deleted" });
  await zep.sessions.deleteSession({ sessionId: "deleted" });
});
afterAll(() => zep.stop());

const messages = (...list: object[]) => ({ messages: list });

type Row = readonly [status: number, method: string, path: string, body?: unknown];

const TABLE: Readonly<Record<string, readonly Row[]>> = {
  "POST /sessions": [
    [201, "POST", "/sessions", { session_id: "new" }],
    [400, "POST", "/sessions", { session_id: "s" }],
    [400, "POST", "/sessions", { session_id: "deleted" }],
    [400, "POST", "/sessions", { session_id: "x", user_id: "nobody" }],
    [400, "POST", "/sessions", { session_id: "x", user_id: "" }],
    [400, "POST", "/sessions", { session_id: "" }],
    [400, "POST", "/sessions", { session_id: "   " }],
    [400, "POST", "/sessions", { session_id: "a\nb" }],
    [400, "POST", "/sessions", { session_id: "x".repeat(257) }],
    [400, "POST", "/sessions", {}],
    [400, "POST", "/sessions", { session_id: 5 }],
    [400, "POST", "/sessions", { session_id: "x", metadata: [] }],
    [400, "POST", "/sessions", { session_id: "x", metadata: { big: "x".repeat(65 * 1024) } }],
    [400, "POST", "/sessions", ""],
    [400, "POST", "/sessions", "{bad"],
    [400, "POST", "/sessions", "[]"],
    [400, "POST", "/sessions", '"text"'],
  ],
  "GET /sessions": [
    [200, "GET", "/sessions"],
    [200, "GET", "/sessions?limit=0&cursor=0"],
    [200, "GET", "/sessions?limit=-1&cursor=-1"],
    [200, "GET", "/sessions?limit=&cursor="],
    [200, "GET", "/sessions?limit=1&cursor=999999999"],
    [400, "GET", "/sessions?limit=x"],
    [400, "GET", "/sessions?cursor=x"],
    [400, "GET", "/sessions?limit=1.5"],
    [400, "GET", "/sessions?limit=99999999999999999999"],
  ],
  "GET /sessions/{id}": [
    [200, "GET", "/sessions/s"],
    [200, "GET", "/sessions/s/"],
    [404, "GET", "/sessions/unknown"],
    [404, "GET", "/sessions/deleted"],
    [400, "GET", "/sessions/%20"],
    [400, "GET", `/sessions/${"x".repeat(257)}`],
  ],
  "PATCH /sessions/{id}": [
    [200, "PATCH", "/sessions/s", { metadata: { b: { c: null } } }],
    [200, "PATCH", "/sessions/s", { metadata: {} }],
    [200, "PATCH", "/sessions/s", { metadata: null }],
    [200, "PATCH", "/sessions/s", {}],
    [200, "PATCH", "/sessions/s", { session_id: "other", user_id: "nobody" }],
    [404, "PATCH", "/sessions/unknown", { metadata: { a: 1 } }],
    [404, "PATCH", "/sessions/unknown", {}],
    [400, "PATCH", "/sessions/s", { metadata: "text" }],
    [400, "PATCH", "/sessions/s", { metadata: { big: "x".repeat(65 * 1024) } }],
    [400, "PATCH", "/sessions/s", ""],
  ],
  "GET /sessions/{id}/memory": [
    [200, "GET", "/sessions/s/memory"],
    [200, "GET", "/sessions/s/memory?lastn=0"],
    [200, "GET", "/sessions/s/memory?lastn=5000"],
    [200, "GET", "/sessions/s/memory?lastn="],
    [200, "GET", "/sessions/unknown/memory"],
    [200, "GET", "/sessions/deleted/memory"],
    [400, "GET", "/sessions/s/memory?lastn=-1"],
    [400, "GET", "/sessions/s/memory?lastn=x"],
    [400, "GET", "/sessions/s/memory?lastn=99999999999999999999"],
  ],
  "POST /sessions/{id}/memory": [
    [200, "POST", "/sessions/m/memory", messages({ role: "user", content: "x" })],
    [200, "POST", "/sessions/m/memory", messages()],
    [200, "POST", "/sessions/m/memory", {}],
    [200, "POST", "/sessions/m/memory", "null"],
    [200, "POST", "/sessions/m/memory", messages({})],
    [
      200,
      "POST",
      "/sessions/m/memory",
      messages({ role: null, content: null, uuid: null, metadata: null, token_count: null }),
    ],
    [200, "POST", "/sessions/m/memory", messages({ role: "user", content: "a\u0000b" })],
    [200, "POST", "/sessions/s/memory", messages({ uuid: UUID, role: "user", content: "x" })],
    [200, "POST", "/sessions/s/memory", messages({ uuid: UUID.toUpperCase(), role: "user", content: "x" })],
    [400, "POST", "/sessions/s/memory", messages({ uuid: UUID, role: "user", content: "other" })],
    [400, "POST", "/sessions/m/memory", messages({ uuid: "nope", content: "x" })],
    [400, "POST", "/sessions/m/memory", messages({ uuid: "", content: "x" })],
    [400, "POST", "/sessions/m/memory", messages({ content: 5 })],
    [400, "POST", "/sessions/m/memory", messages({ token_count: 1.5 })],
    [400, "POST", "/sessions/m/memory", messages({ token_count: -1 })],
    [400, "POST", "/sessions/m/memory", { messages: {} }],
    [400, "POST", "/sessions/m/memory", { messages: ["x"] }],
    [400, "POST", "/sessions/m/memory", messages({ content: "x".repeat(MIB + 1) })],
    [400, "POST", "/sessions/m/memory", messages(...Array.from({ length: 1001 }, () => ({ content: "x" })))],
    [400, "POST", "/sessions/m/memory", ""],
    [400, "POST", "/sessions/%20/memory", messages()],
    [413, "POST", "/sessions/m/memory", messages({ content: "x".repeat(5 * MIB) })],
  ],
  "DELETE /sessions/{id}/memory": [
    [200, "DELETE", "/sessions/new/memory"],
    [404, "DELETE", "/sessions/new/memory"],
    [404, "DELETE", "/sessions/unknown/memory"],
  ],
  "GET /sessions/{id}/messages": [
    [200, "GET", "/sessions/s/messages"],
    [200, "GET", "/sessions/s/messages?limit=1&cursor=1"],
    [200, "GET", "/sessions/s/messages?limit=1&cursor=1000000"],
    [200, "GET", "/sessions/s/messages?limit=x&cursor=y"],
    [200, "GET", "/sessions/unknown/messages"],
    [200, "GET", "/sessions/deleted/messages"],
  ],
  "GET, PATCH /sessions/{id}/messages/{uuid}": [
    [200, "GET", `/sessions/s/messages/${UUID}`],
    [200, "GET", `/sessions/s/messages/${UUID.toUpperCase()}`],
    [404, "GET", `/sessions/s/messages/${randomUUID()}`],
    [404, "GET", `/sessions/m/messages/${UUID}`],
    [404, "GET", `/sessions/unknown/messages/${UUID}`],
    [404, "GET", `/sessions/deleted/messages/${UUID}`],
    [400, "GET", "/sessions/s/messages/nope"],
    [200, "PATCH", `/sessions/s/messages/${UUID}`, { metadata: { a: 1 } }],
    [200, "PATCH", `/sessions/s/messages/${UUID}`, { metadata: {} }],
    [200, "PATCH", `/sessions/s/messages/${UUID}`, {}],
    [404, "PATCH", `/sessions/s/messages/${randomUUID()}`, { metadata: { a: 1 } }],
    [404, "PATCH", `/sessions/s/messages/${randomUUID()}`, {}],
    [404, "PATCH", `/sessions/m/messages/${UUID}`, { metadata: { a: 1 } }],
    [400, "PATCH", "/sessions/s/messages/nope", { metadata: { a: 1 } }],
    [400, "PATCH", `/sessions/s/messages/${UUID}`, { metadata: 5 }],
    [400, "PATCH", `/sessions/s/messages/${UUID}`, ""],
  ],
  "POST /sessions/{id}/search": [
    [200, "POST", "/sessions/s/search", { text: "x" }],
    [200, "POST", "/sessions/s/search?limit=-1", { text: "x", metadata: null, search_scope: null, mmr_lambda: null }],
    [200, "POST", "/sessions/s/search", { metadata: { where: {} } }],
    [200, "POST", "/sessions/s/search", { metadata: { where: { jsonpath: "$.a" } }, search_type: "mmr" }],
    [200, "POST", "/sessions/s/search", { text: "x", search_scope: "summary", search_type: "other", mmr_lambda: 7 }],
    [200, "POST", "/sessions/unknown/search", { text: "x" }],
    [200, "POST", "/sessions/deleted/search", { text: "x" }],
    [400, "POST", "/sessions/s/search?limit=x", { text: "x" }],
    [400, "POST", "/sessions/s/search", {}],
    [400, "POST", "/sessions/s/search", { text: "" }],
    [400, "POST", "/sessions/s/search", { text: "", metadata: {} }],
    [400, "POST", "/sessions/s/search", { text: 5 }],
    [400, "POST", "/sessions/s/search", { text: "x", search_scope: "x" }],
    [400, "POST", "/sessions/s/search", { text: "x", search_type: 1 }],
    [400, "POST", "/sessions/s/search", { text: "x", mmr_lambda: "1" }],
    [400, "POST", "/sessions/s/search", { metadata: [] }],
    [400, "POST", "/sessions/s/search", { metadata: { where: "x" } }],
    [400, "POST", "/sessions/s/search", { metadata: { where: { jsonpath: "$$$$" } } }],
    [400, "POST", "/sessions/s/search", { metadata: { where: { and: [{ or: [{ path: "$" }] }] } } }],
    [400, "POST", "/sessions/s/search", { metadata: { start_date: "nope" } }],
    [400, "POST", "/sessions/s/search", { metadata: { start_date: "2021-02-30" } }],
    [400, "POST", "/sessions/s/search", { metadata: { end_date: 5 } }],
    [400, "POST", "/sessions/s/search", { text: "x".repeat(MIB + 1) }],
    [400, "POST", "/sessions/%20/search", { text: "x" }],
    [400, "POST", "/sessions/s/search", ""],
  ],
  "POST, GET /user": [
    [201, "POST", "/user", { user_id: "v", email: "a@b.c", metadata: { a: 1 } }],
    [400, "POST", "/user", { user_id: "v" }],
    [400, "POST", "/user", {}],
    [400, "POST", "/user", { user_id: "w", email: 5 }],
    [400, "POST", "/user", { user_id: "w", first_name: "x".repeat(257) }],
    [400, "POST", "/user", ""],
    [200, "GET", "/user"],
    [200, "GET", "/user?limit=&cursor="],
    [400, "GET", "/user?limit=x"],
  ],
  "GET, PATCH, DELETE /user/{id}": [
    [200, "GET", "/user/u"],
    [404, "GET", "/user/nobody"],
    [200, "PATCH", "/user/u", { first_name: "A", metadata: {} }],
    [200, "PATCH", "/user/u", {}],
    [404, "PATCH", "/user/nobody", { first_name: "A" }],
    [404, "PATCH", "/user/nobody", {}],
    [200, "GET", "/user/u/sessions"],
    [200, "GET", "/user/nobody/sessions"],
    [400, "GET", "/user/u/sessions?limit=x"],
    [200, "DELETE", "/user/v"],
    [404, "DELETE", "/user/v"],
    [404, "DELETE", "/user/nobody"],
  ],
  "other paths": [
    [404, "GET", "/nope"],
    [404, "GET", "/"],
    [404, "POST", "/sessions/s/nope", {}],
    [404, "GET", "/collection"],
  ],
  "other methods": [
    [405, "PUT", "/sessions/s", {}],
    [405, "DELETE", "/sessions/s"],
    [405, "DELETE", "/sessions"],
    [405, "PUT", "/sessions/s/memory", {}],
    [405, "DELETE", `/sessions/s/messages/${UUID}`],
    [405, "GET", "/sessions/s/search"],
    [405, "POST", "/user/u", {}],
  ],
};

describe.each(Object.entries(TABLE))("%s", (_route, rows) => {
  it("answers as the legacy server, or better", async () => {
    for (const [status, method, path, body] of rows) {
      const answer = await zep.call(method, path, body);
      const shown = typeof body === "string" ? body : JSON.stringify(body);
      const what = `${method} ${path.slice(0, 80)} ${shown?.slice(0, 80) ?? ""} -> ${answer.text.slice(0, 200)}`;
      expect(answer.status, what).toBe(status);
      expect(answer.headers.get("x-zep-version"), what).toMatch(/^0\.27\.\d+-/);
      if (status === 405) expect(answer.text, what).toBe("");
      else expect(answer.type, what).toBe("text/plain; charset=utf-8");
      // One line that people can read.
      if (status >= 400 && status !== 405) expect(answer.text, what).toMatch(/^[^\n{]+\n$/);
    }
  });
});

describe("a bad request", () => {
  it("is told all that is wrong with it, and changes nothing", async () => {
    const body = messages({ uuid: "1", content: 2 }, { metadata: [], token_count: "3" });
    const { text } = await zep.call("POST", "/sessions/bad/memory", body);
    const fields = ["messages[0].content", "messages[0].uuid", "messages[1].metadata", "messages[1].token_count"];
    expect(fields.filter((field) => !text.includes(`${field}: `))).toEqual([]);
    expect((await zep.call("GET", "/sessions/bad")).status).toBe(404);
  });

  it("leaves a deleted session deleted", async () => {
    const big = { metadata: { big: "x".repeat(65 * 1024) } };
    expect((await zep.call("PATCH", "/sessions/deleted", big)).status).toBe(400);
    expect((await zep.call("POST", "/sessions/deleted/memory", messages({ content: 1 }))).status).toBe(400);
    expect((await zep.call("GET", "/sessions/deleted")).status).toBe(404);
  });
});

describe("a path that is none", () => {
  it.each(["/sessions/%", "/sessions/%FF/memory", `/user/${"x".repeat(4000)}`])("is refused: %s", async (path) => {
    const answer = await zep.call("GET", path);
    expect([400, 414]).toContain(answer.status);
    expect(answer.text).toMatch(/^[^\n{]+\n$/);
  });
});

describe("/healthz", () => {
  it("says that the server is there, and which one, to whoever asks", async () => {
    for (const path of ["/healthz", "//healthz", "/api/v1/healthz"]) {
      const answer = await fetch(`${zep.url}${path}`);
      expect([path, answer.status, await answer.text()]).toEqual([path, 200, "."]);
      expect(answer.headers.get("x-zep-version")).toMatch(/^0\.27\.\d+-/);
    }
  });
});

describe("SESSIONS_ZEP_API=false", () => {
  it("takes all of it away", async () => {
    const without = await startZep({ zepApi: false });
    try {
      const paths = ["/sessions", "/sessions/s", "/user", "/healthz"];
      expect(await Promise.all(paths.map(async (path) => (await without.call("GET", path)).status))).toEqual(
        paths.map(() => 404),
      );
    } finally {
      await without.stop();
    }
  });
});
