import { randomBytes, randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Role, SessionsClient } from "../../src/client/index.js";
import { startService, type TestService } from "../support/service.js";
import { clientTo, collect, failure, proxyTo } from "./support.js";

const ADMIN = randomBytes(32).toString("hex");

let service: TestService;
beforeAll(async () => {
  service = await startService({ auth: { keys: { adminKey: ADMIN }, tokens: undefined } });
});
afterAll(() => service.stop());

const as = (key: string): SessionsClient => clientTo(service.address, { key });

test("keys are created, listed and revoked", async () => {
  const admin = as(ADMIN);
  const project = `p-${randomUUID()}`;
  const expireTime = new Date(Date.now() + 3_600_000);
  const { key, secret } = await admin.createKey({
    name: "front end",
    role: "writer",
    userId: "ann",
    expireTime,
    project,
  });
  expect(key).toMatchObject({ name: "front end", project, role: "writer", userId: "ann", expireTime });
  expect(key.createTime).toBeInstanceOf(Date);
  expect(key.revokeTime).toBeUndefined();
  await admin.createKey({ name: "second", role: "reader", project });
  const third = await admin.createKey({ name: "third", role: "admin", project });

  const names = async (limit = 0) => (await collect(admin.listKeys({ project, limit }))).map(({ name }) => name);
  expect(await names()).toEqual(["front end", "second", "third"]);
  expect(await names(2)).toEqual(["front end", "second"]);
  const page = await admin.listKeys({ project, limit: 1 }).page();
  expect(page.items).toEqual([key]);
  expect((await collect(admin.listKeys({ project, cursor: page.nextCursor }))).map(({ role }) => role)).toEqual([
    "reader",
    "admin",
  ]);

  await as(third.secret).createUser({ userId: "ann" });
  const holder = as(secret);
  await holder.createSession({ sessionId: "s" });
  expect(await holder.getSession({ sessionId: "s" })).toMatchObject({ userId: "ann" });
  const revoked = await admin.revokeKey({ keyId: key.keyId, project });
  expect(revoked).toMatchObject({ keyId: key.keyId, revokeTime: expect.any(Date) });
  expect(await admin.revokeKey({ keyId: key.keyId, project })).toEqual(revoked);
  expect(await failure(admin.revokeKey({ keyId: randomUUID(), project }))).toMatchObject({
    code: "NOT_FOUND",
    reason: "KEY_NOT_FOUND",
  });
});

test("every kind of call shows the key", async () => {
  const { secret } = await as(ADMIN).createKey({ name: "all", role: "admin", project: `p-${randomUUID()}` });
  const client = as(secret);
  await client.addMemory({ sessionId: "s", messages: [{ content: "a" }] });
  expect(await collect(client.listMessages({ sessionId: "s" }))).toHaveLength(1);
  await client.createUser({ userId: "u" });
  await client.purgeDeleted({ dryRun: true });
  expect(await collect(client.listKeys())).toHaveLength(1);
});

test("a listing that is cut goes on with its key", async () => {
  const { secret } = await as(ADMIN).createKey({ name: "long", role: "writer", project: `p-${randomUUID()}` });
  const proxy = await proxyTo(service.address);
  const client = clientTo(proxy.address, { key: secret });
  const metadata = { fill: "x".repeat(50_000) };
  await Promise.all(Array.from({ length: 60 }, (_, n) => client.createSession({ sessionId: `s${n}`, metadata })));
  const ids: string[] = [];
  for await (const { sessionId } of client.listSessions({ chunkSize: 2 })) {
    if (ids.push(sessionId) === 2) proxy.breakConnections();
  }
  expect(ids).toHaveLength(60);
  expect(new Set(ids).size).toBe(60);
  expect(proxy.connections).toBe(2);
});

test("a caller without a key, or who may not, is told why, at once", async () => {
  const nobody = clientTo(service.address);
  expect(await failure(nobody.getSession({ sessionId: "s" }))).toMatchObject({
    code: "UNAUTHENTICATED",
    reason: "UNAUTHENTICATED",
    metadata: { credential: "none" },
  });
  const wrong = await failure(collect(as(`sk_${"x".repeat(49)}`).listSessions()));
  expect(wrong).toMatchObject({ code: "UNAUTHENTICATED", metadata: { credential: "key" } });
  expect(`${wrong.stack}${wrong.cause}`).not.toContain("xxxx");
  const { secret } = await as(ADMIN).createKey({ name: "reader", role: "reader", project: `p-${randomUUID()}` });
  expect(await failure(as(secret).createSession({ sessionId: "s" }))).toMatchObject({
    code: "PERMISSION_DENIED",
    reason: "PERMISSION_DENIED",
    metadata: { role: "reader", required_role: "writer" },
  });
});

test("a role that there is not is refused before anything is sent", async () => {
  const error = await failure(as(ADMIN).createKey({ name: "n", role: "owner" as Role }));
  expect(error).toMatchObject({ code: "INVALID_ARGUMENT", violations: [{ field: "role" }] });
});
