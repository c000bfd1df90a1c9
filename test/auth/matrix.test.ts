import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { hashOf, newSecret } from "../../src/auth/keys.js";
import { roleFor } from "../../src/auth/roles.js";
import { includes, ROLES, type Role } from "../../src/domain/principal.js";
import { type Api, failure } from "../support/api.js";
import { rawClient } from "../support/raw-grpc.js";
import { type Keyed, type KeyedService, Role as KeyRole, startKeyed } from "./support.js";

/** Every method of the process by every kind of credential; what each takes is what the table of roles says. */

const { resolve } = createRequire(import.meta.url);
const inProtos = (file: string): string[] =>
  fromBinary(FileDescriptorSetSchema, readFileSync(resolve(`#descriptors/${file}`))).file.flatMap((proto) =>
    proto.service.flatMap(({ name, method }) => method.map((one) => `/${proto.package}.${name}/${one.name}`)),
  );
const OURS = inProtos("sessions.binpb");
const HEALTH = inProtos("health.binpb");
const REFLECTION = ["v1", "v1alpha"].map(
  (version) => `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`,
);

interface Fixture {
  readonly sessionId: string;
  readonly userId: string;
  readonly messageId: string;
  readonly keyId: string;
}

type Call = (api: Api, fixture: Fixture) => Promise<unknown>;

/** Each method, asked for what is there. */
const CALLS: Readonly<Record<string, Call>> = {
  "SessionService/CreateSession": (api, { sessionId }) => api.sessions.createSession({ sessionId }),
  "SessionService/GetSession": (api, { sessionId }) => api.sessions.getSession({ sessionId }),
  "SessionService/BatchGetSessions": (api, { sessionId }) => api.sessions.batchGetSessions({ sessionIds: [sessionId] }),
  "SessionService/UpdateSession": (api, { sessionId }) => api.sessions.updateSession({ sessionId, metadata: { a: 1 } }),
  "SessionService/DeleteSession": (api, { sessionId }) => api.sessions.deleteSession({ sessionId }),
  "SessionService/UndeleteSession": (api, { sessionId }) =>
    api.sessions.undeleteSession({ sessionId, restoreMemory: true }),
  "SessionService/PurgeSession": (api, { sessionId }) => api.sessions.purgeSession({ sessionId }),
  "SessionService/ForkSession": (api, { sessionId }) => api.sessions.forkSession({ sessionId }),
  "SessionService/ListSessions": (api, { userId }) => api.sessions.listSessions({ userId }),
  "SessionService/WatchSessions": (api, { sessionId }) => api.sessions.watchSessions({ sessionId }, { take: 1 }),
  "MemoryService/AddMemory": (api, { sessionId }) => api.memory.addMemory({ sessionId, messages: [{ content: "x" }] }),
  "MemoryService/GetMemory": (api, { sessionId }) => api.memory.getMemory({ sessionId }),
  "MemoryService/ListMessages": (api, { sessionId }) => api.memory.listMessages({ sessionId }),
  "MemoryService/GetMessage": (api, { sessionId, messageId }) => api.memory.getMessage({ sessionId, messageId }),
  "MemoryService/UpdateMessage": (api, { sessionId, messageId }) =>
    api.memory.updateMessage({ sessionId, messageId, tokenCount: 7 }),
  "MemoryService/DeleteMessage": (api, { sessionId, messageId }) => api.memory.deleteMessage({ sessionId, messageId }),
  "MemoryService/RewindMemory": (api, { sessionId }) => api.memory.rewindMemory({ sessionId, afterSequence: 0 }),
  "MemoryService/ClearMemory": (api, { sessionId }) => api.memory.clearMemory({ sessionId }),
  "MemoryService/SetSummary": (api, { sessionId, messageId }) =>
    api.memory.setSummary({ sessionId, content: "so far", recentMessageId: messageId }),
  "MemoryService/SearchMemory": (api, { sessionId }) => api.memory.searchMemory({ sessionId, text: "secret" }),
  "UserService/CreateUser": (api, { userId }) => api.users.createUser({ userId }),
  "UserService/GetUser": (api, { userId }) => api.users.getUser({ userId }),
  "UserService/UpdateUser": (api, { userId }) => api.users.updateUser({ userId, email: "a@b" }),
  "UserService/DeleteUser": (api, { userId }) => api.users.deleteUser({ userId }),
  "UserService/UndeleteUser": (api, { userId }) => api.users.undeleteUser({ userId, restoreSessions: true }),
  "UserService/PurgeUser": (api, { userId }) => api.users.purgeUser({ userId }),
  "UserService/ListUsers": (api) => api.users.listUsers({}),
  "PurgeService/PurgeDeleted": (api) => api.purge.purgeDeleted({ dryRun: true, olderThan: { seconds: 0, nanos: 0 } }),
  "PurgeService/ListErasures": (api) => api.purge.listErasures({}),
  "KeyService/CreateKey": (api) => api.keys.createKey({ name: "n", role: KeyRole.ROLE_READER }),
  "KeyService/ListKeys": (api) => api.keys.listKeys({ limit: 1 }),
  "KeyService/RevokeKey": (api, { keyId }) => api.keys.revokeKey({ keyId }),
};

/** What has to be so before a method can succeed. */
const BEFORE: Readonly<Record<string, (api: Api, fixture: Fixture) => Promise<unknown>>> = {
  "SessionService/CreateSession": (api, { sessionId }) => api.sessions.purgeSession({ sessionId }),
  "SessionService/UndeleteSession": (api, { sessionId }) => api.sessions.deleteSession({ sessionId }),
  "UserService/CreateUser": (api, { userId }) => api.users.purgeUser({ userId }),
  "UserService/UndeleteUser": (api, { userId }) => api.users.deleteUser({ userId }),
};

/** What a caller of another user is told, where it is not what they would be told of what is missing. */
const TO_ANOTHER_USER: Readonly<Record<string, { code: string; reason: string }>> = {
  "SessionService/CreateSession": { code: "ALREADY_EXISTS", reason: "SESSION_ALREADY_EXISTS" },
  "MemoryService/AddMemory": { code: "NOT_FOUND", reason: "SESSION_NOT_FOUND" },
  "UserService/CreateUser": { code: "PERMISSION_DENIED", reason: "PERMISSION_DENIED" },
};

let keyed: KeyedService;
let callers: Record<Role, Keyed>;
let worthless: Record<string, string | undefined>;

beforeAll(async () => {
  keyed = await startKeyed();
  const [reader, writer, admin, revoked, expired] = (await Promise.all(
    [KeyRole.ROLE_READER, KeyRole.ROLE_WRITER, KeyRole.ROLE_ADMIN, KeyRole.ROLE_ADMIN, KeyRole.ROLE_ADMIN].map((role) =>
      keyed.caller({ role }),
    ),
  )) as [Keyed, Keyed, Keyed, Keyed, Keyed];
  callers = { reader, writer, admin };
  // Before anybody has shown them, so that no process knows them as anything else.
  await keyed.admin.keys.revokeKey({ keyId: revoked.keyId });
  const past = { $set: { expireTime: new Date(Date.now() - 1_000) } };
  await keyed.service.database.keys.updateOne({ hash: hashOf(expired.secret) }, past);
  worthless = {
    "no credential": undefined,
    "a malformed key": `${admin.secret.slice(0, -1)}!`,
    "a mistyped key": `${admin.secret.slice(0, -1)}${admin.secret.endsWith("a") ? "b" : "a"}`,
    "no key at all": "x".repeat(64),
    "an unknown key": newSecret(),
    "a revoked key": revoked.secret,
    "an expired key": expired.secret,
  };
});
afterAll(() => keyed.stop());

async function newFixture(): Promise<Fixture> {
  const fixture = missing();
  const { sessionId, userId, messageId } = fixture;
  await keyed.admin.users.createUser({ userId });
  await keyed.admin.memory.addMemory({ sessionId, userId, messages: [{ messageId, content: "secret" }] });
  const { key } = await keyed.admin.keys.createKey({ name: "n", role: KeyRole.ROLE_READER });
  return { ...fixture, keyId: key?.keyId ?? "" };
}

/** Ids of nothing. All are as long as one another, and so are answers that hold them. */
const missing = (): Fixture => ({
  sessionId: `s-${randomUUID()}`,
  userId: `u-${randomUUID()}`,
  messageId: `m-${randomUUID()}`,
  keyId: randomUUID(),
});

/** All that a caller can see of an outcome, without what differs from one moment to the next. */
async function seen(outcome: Promise<unknown>, fixture: Fixture): Promise<string> {
  const [settled] = await Promise.allSettled([outcome]);
  const all = settled.status === "fulfilled" ? settled.value : await failure(outcome);
  let text = JSON.stringify(all, (name, value) =>
    /Time$|^uid$|^etag$|^(key|message)Id$|^secret$|^resumeToken$/.test(name) ? "…" : value,
  );
  for (const [name, id] of Object.entries(fixture)) text = text.replaceAll(id, name);
  return text;
}

it("every method has a role, and nothing else has", () => {
  expect([...OURS, ...HEALTH, ...REFLECTION].filter((path) => roleFor(path) === undefined)).toEqual([]);
  expect(HEALTH.map(roleFor)).toEqual(HEALTH.map(() => "anybody"));
  expect(OURS.map(roleFor).filter((role) => !(ROLES as readonly unknown[]).includes(role))).toEqual([]);
  expect(roleFor("/sessions.v1.SessionService/EraseEverything")).toBeUndefined();
  expect(roleFor("/toString/constructor")).toBeUndefined();
  expect(OURS.map((path) => path.replace("/sessions.v1.", ""))).toEqual(Object.keys(CALLS).sort(byOrderOf(OURS)));
});

it("each role may do what is said of it", () => {
  const saying = (path: string): Role => {
    const [, service = "", method = ""] = path.split("/");
    if (service.endsWith(".KeyService") || method === "ListErasures" || method.startsWith("Purge")) return "admin";
    return /^(Get|BatchGet|List|Search|Watch)/.test(method) ? "reader" : "writer";
  };
  expect(OURS.map((path) => [path, roleFor(path)])).toEqual(OURS.map((path) => [path, saying(path)]));
});

const byOrderOf = (paths: readonly string[]) => (a: string, b: string) =>
  paths.indexOf(`/sessions.v1.${a}`) - paths.indexOf(`/sessions.v1.${b}`);

describe.each(OURS.map((path) => path.replace("/sessions.v1.", "")))("%s", (name) => {
  const needed = roleFor(`/sessions.v1.${name}`) as Role;
  const call = CALLS[name] as Call;

  it("is refused to whoever shows nothing that is worth something, and changes nothing", async () => {
    const fixture = await newFixture();
    const before = await keyed.admin.sessions.getSession({ sessionId: fixture.sessionId });
    for (const [kind, credential] of Object.entries(worthless)) {
      const refused = await failure(call(keyed.as(credential), fixture));
      expect(refused, kind).toMatchObject({
        code: "UNAUTHENTICATED",
        reason: "UNAUTHENTICATED",
        domain: "sessions.v1",
      });
    }
    expect(await keyed.admin.sessions.getSession({ sessionId: fixture.sessionId })).toEqual(before);
  });

  it.each(ROLES)("by a %s", async (role) => {
    const fixture = await newFixture();
    if (includes(role, needed)) {
      await BEFORE[name]?.(keyed.admin, fixture);
      await call(callers[role], fixture);
      return;
    }
    expect(await failure(call(callers[role], fixture))).toMatchObject({
      code: "PERMISSION_DENIED",
      reason: "PERMISSION_DENIED",
      metadata: { role, required_role: needed },
      message: expect.stringContaining(needed),
    });
  });

  it("by an admin of another project: as if nothing were there", async () => {
    const other = await keyed.caller({ role: KeyRole.ROLE_ADMIN, project: `p-${randomUUID()}` });
    const [fixture, nothing] = [await newFixture(), missing()];
    expect(await seen(call(other, fixture), fixture)).toBe(await seen(call(other, nothing), nothing));
  });

  it("by the user whose it is", async () => {
    const fixture = await newFixture();
    const own = await keyed.caller({ role: KeyRole.ROLE_WRITER, userId: fixture.userId });
    if (includes("writer", needed)) {
      await BEFORE[name]?.(keyed.admin, fixture);
      await call(own, fixture);
    } else {
      expect(await failure(call(own, fixture))).toMatchObject({ metadata: { role: "writer", required_role: needed } });
    }
  });

  it("by another user: as if nothing were there", async () => {
    const { userId } = await newFixture();
    const other = await keyed.caller({ role: KeyRole.ROLE_WRITER, userId });
    const [fixture, nothing] = [await newFixture(), missing()];
    const told = TO_ANOTHER_USER[name];
    if (told) expect(await failure(call(other, fixture))).toMatchObject(told);
    else expect(await seen(call(other, fixture), fixture)).toBe(await seen(call(other, nothing), nothing));
    if (BEFORE[name] && !told) {
      await BEFORE[name](keyed.admin, fixture);
      expect(await seen(call(other, fixture), fixture)).toBe(await seen(call(other, nothing), nothing));
    }
  });
});

describe("what is not this service's own", () => {
  /** A request of reflection that has an answer; for health it is one that says nothing. */
  const status = async (path: string, credential: string | undefined): Promise<number> => {
    const raw = rawClient(keyed.service.address);
    const shown = credential === undefined ? undefined : { authorization: `Bearer ${credential}` };
    const { code } = await raw.call(path, { headers: { ...shown, "grpc-timeout": "3S" } });
    raw.close();
    return code;
  };

  it.each(REFLECTION)("%s takes a credential", async (path) => {
    for (const [kind, credential] of Object.entries(worthless)) expect(await status(path, credential), kind).toBe(16);
    expect(await status(path, callers.reader.secret)).not.toBe(16);
  });

  it("health takes none", async () => {
    expect(await status("/grpc.health.v1.Health/Check", undefined)).toBe(0);
    expect(await status("/grpc.health.v1.Health/Check", "nonsense")).toBe(0);
  });
});
