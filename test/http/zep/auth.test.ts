import { randomBytes, randomUUID } from "node:crypto";
import { Agent } from "node:http";
import { AuthenticationError, NotFoundError, Session, ZepClient } from "@getzep/zep-js";
import { type JWTPayload, SignJWT } from "jose";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { type CreateKeyRequest, Role } from "../../../gen/sessions/v1/key_service.js";
import { roleFor } from "../../../src/auth/roles.js";
import { includes, ROLES, type Role as RoleName } from "../../../src/domain/principal.js";
import { zepRoutes } from "../../../src/http/zep/index.js";
import { type Api, connect, type Loose } from "../../support/api.js";
import { newId } from "../../support/contract.js";
import { callerOf, rawCall, startZep, type ZepCall, type ZepService } from "./support.js";

/** Who may do what by the legacy API: the same credentials, projects, roles and users as everywhere. */
const adminKey = randomBytes(32).toString("hex");
const secret = randomBytes(32);
const sign = (claims: JWTPayload): Promise<string> =>
  new SignJWT(claims).setProtectedHeader({ alg: "HS256" }).sign(secret);

let zep: ZepService;
let admin: Api;
beforeAll(async () => {
  zep = await startZep({
    auth: {
      keys: { adminKey },
      tokens: {
        signedBy: { secret },
        issuer: undefined,
        audience: undefined,
        claims: { project: "project", role: "role", user: "user_id" },
        defaultRole: "writer",
        allowEternal: true,
      },
    },
  });
  admin = connect(zep.address, adminKey);
});
afterAll(async () => {
  admin.close();
  await zep.stop();
});

const newProject = (): string => `p-${randomUUID()}`;
async function keyed(request: Loose<CreateKeyRequest>): Promise<ZepCall & { secret: string }> {
  const { secret } = await admin.keys.createKey({ name: "test", ...request });
  return Object.assign(callerOf(zep.url, secret), { secret });
}

describe("a credential", () => {
  it("is asked for, but not by /healthz", async () => {
    const nobody = callerOf(zep.url);
    const answer = await nobody("GET", "/sessions");
    expect([answer.status, answer.headers.get("www-authenticate")]).toEqual([401, "Bearer"]);
    expect(answer.text).toMatch(/^[^\n]+\n$/);
    const bad = [
      "nonsense",
      "sk_nonsense",
      await new SignJWT({}).setProtectedHeader({ alg: "HS256" }).sign(randomBytes(32)),
    ];
    for (const credential of bad) {
      expect((await callerOf(zep.url, credential)("POST", "/sessions", { session_id: "x" })).status).toBe(401);
      expect((await callerOf(zep.url, credential)("GET", "/healthz")).status).toBe(200);
    }
    // The SDK knows it by its status.
    const client = await ZepClient.init(zep.url, "nonsense");
    await expect(client.memory.getSession("x")).rejects.toThrow(AuthenticationError);
  });

  it("may be a key", async () => {
    const { secret } = await keyed({ project: newProject(), role: Role.ROLE_WRITER });
    const client = await ZepClient.init(zep.url, secret);
    await client.memory.addSession(new Session({ session_id: "s", metadata: {} }));
    expect(await client.memory.getSession("s")).toMatchObject({ session_id: "s" });
  });

  it("may be a token of the legacy server, which never expires and has no claims", async () => {
    const client = await ZepClient.init(zep.url, await sign({}));
    const id = newId();
    await client.memory.addSession(new Session({ session_id: id, metadata: {} }));
    expect((await admin.sessions.getSession({ sessionId: id })).session?.sessionId).toBe(id);
  });
});

describe("projects", () => {
  it("do not see each other", async () => {
    const [one, other] = await Promise.all(
      [newProject(), newProject()].map((project) => keyed({ project, role: Role.ROLE_WRITER })),
    );
    if (!one || !other) throw new Error("no keys");
    const uuid = randomUUID();
    for (const call of [one, other]) await call("POST", "/user", { user_id: "u" });
    await one("POST", "/sessions", { session_id: "s", user_id: "u" });
    await one("POST", "/sessions/s/memory", { messages: [{ uuid, content: "secret" }] });
    expect((await other("GET", "/sessions/s")).status).toBe(404);
    expect((await other("PATCH", "/sessions/s", { metadata: { a: 1 } })).status).toBe(404);
    expect((await other("GET", "/sessions/s/memory")).json.messages).toEqual([]);
    expect((await other("GET", "/sessions/s/messages")).json.total_count).toBe(0);
    expect((await other("GET", `/sessions/s/messages/${uuid}`)).status).toBe(404);
    expect((await one("POST", "/sessions/s/search", { text: "secret" })).json).toHaveLength(1);
    expect((await other("POST", "/sessions/s/search", { text: "secret" })).json).toEqual([]);
    expect((await other("DELETE", "/sessions/s/memory")).status).toBe(404);
    expect([(await other("GET", "/sessions")).json, (await other("GET", "/user/u/sessions")).json]).toEqual([[], []]);
    expect((await other("GET", "/user")).json).toHaveLength(1);
    expect((await other("DELETE", "/user/u")).status).toBe(200);
    expect((await one("GET", "/sessions/s/memory")).json.messages).toHaveLength(1);
    expect((await one("GET", "/user/u")).status).toBe(200);
  });

  it("do not go on with each other's pages", async () => {
    // As behind a proxy, all come by one connection.
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    onTestFinished(() => agent.destroy());
    const keys = await Promise.all(
      [newProject(), newProject()].map((project) => keyed({ project, role: Role.ROLE_WRITER })),
    );
    const list = async ({ secret }: { secret: string }, query: string): Promise<string[]> => {
      const headers = { authorization: `Bearer ${secret}` };
      const { text } = await rawCall(zep.url, "GET", `/api/v1/sessions?${query}`, { agent, headers });
      return JSON.parse(text).map((session: Session) => session.session_id);
    };
    for (const call of keys) for (const id of ["a", "b", "c", "d"]) await call("POST", "/sessions", { session_id: id });
    for (const call of keys) expect(await list(call, "limit=2")).toEqual(["a", "b"]);
    for (const call of keys) expect(await list(call, "limit=2&cursor=2")).toEqual(["c", "d"]);
  });
});

describe("roles", () => {
  const routes = zepRoutes({} as never);
  const NAMES: Record<RoleName, Role> = { reader: Role.ROLE_READER, writer: Role.ROLE_WRITER, admin: Role.ROLE_ADMIN };

  it("are said of every route", () => {
    for (const { path } of routes) expect(roleFor(path), path).toMatch(/^(reader|writer)$/);
    for (const { method, path } of routes.filter((route) => route.method !== "POST"))
      expect([path, roleFor(path)]).toEqual([path, method === "GET" ? "reader" : "writer"]);
  });

  it.each(ROLES)("are held to: %s", async (role) => {
    const call = await keyed({ project: newProject(), role: NAMES[role] });
    for (const { method, url, path } of routes) {
      const needed = roleFor(path) as RoleName;
      const answer = await call(
        method,
        url.replace(":id", "x").replace(":uuid", randomUUID()),
        method === "GET" ? undefined : {},
      );
      const what = `${role} ${method} ${url} -> ${answer.status} ${answer.text}`;
      if (includes(role, needed)) expect(answer.status, what).not.toBe(403);
      else expect([answer.status, answer.text], what).toEqual([403, expect.stringContaining(needed)]);
    }
  });
});

describe("a user's own credential", () => {
  it("reaches what is theirs, and may take it away", async () => {
    const [project, uuid] = [newProject(), randomUUID()];
    const all = await keyed({ project, role: Role.ROLE_WRITER });
    for (const user_id of ["ann", "eve"]) await all("POST", "/user", { user_id });
    await all("POST", "/sessions", { session_id: "hers", user_id: "eve" });
    await all("POST", "/sessions/hers/memory", { messages: [{ uuid, content: "x" }] });
    const { secret: theirs } = await keyed({ project, role: Role.ROLE_WRITER });
    const api = connect(zep.address, theirs);
    onTestFinished(() => api.close());
    await api.memory.setSummary({ sessionId: "hers", content: "x", recentMessageId: uuid });
    const client = await ZepClient.init(zep.url, await sign({ project, role: "writer", user_id: "ann" }));
    const ann = callerOf(zep.url, await sign({ project, role: "writer", user_id: "ann" }));

    await client.memory.addMemory("mine", { toDict: () => ({ messages: [{ role: "user", content: "y" }] }) } as never);
    expect(await client.memory.getSession("mine")).toMatchObject({ user_id: "ann" });
    expect((await client.memory.listSessions()).map((session) => session.session_id)).toEqual(["mine"]);
    expect((await client.user.list()).map((user) => user.user_id)).toEqual(["ann"]);
    await expect(client.memory.getSession("hers")).rejects.toThrow(NotFoundError);
    await expect(client.memory.deleteMemory("hers")).rejects.toThrow(NotFoundError);
    await expect(client.user.get("eve")).rejects.toThrow(NotFoundError);
    await expect(client.user.delete("eve")).rejects.toThrow(NotFoundError);
    expect((await client.memory.getMemory("hers"))?.messages).toEqual([]);
    expect(await client.user.getSessions("eve")).toEqual([]);
    for (const body of [{ text: "x" }, { metadata: { where: {} } }, { text: "x", search_scope: "summary" }]) {
      expect((await all("POST", "/sessions/hers/search", body)).json).toHaveLength(1);
      expect((await ann("POST", "/sessions/hers/search", body)).json).toEqual([]);
    }
    expect((await ann("POST", "/sessions/mine/search", { text: "y" })).json).toHaveLength(1);
    expect((await ann("POST", "/sessions", { session_id: "new", user_id: "eve" })).status).toBe(403);
    expect((await ann("POST", "/user", { user_id: "new" })).status).toBe(403);
    expect((await ann("PATCH", "/sessions/hers", { metadata: { a: 1 } })).status).toBe(404);

    expect(await client.user.delete("ann")).toBe("OK");
    expect((await all("GET", "/sessions")).json.map((session: Session) => session.session_id)).toEqual(["hers"]);
    expect((await all("GET", "/user/ann")).status).toBe(404);
    const stored = await zep.database.db.collection("sessions").countDocuments({ project });
    expect(stored, "nothing of it is stored any more").toBe(1);
  });
});
