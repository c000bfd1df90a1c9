import { randomUUID } from "node:crypto";
import { pino } from "pino";
import { afterAll, beforeAll, expect, it } from "vitest";
import { newSecret } from "../../src/auth/keys.js";
import { failure } from "../support/api.js";
import { eventually } from "../support/eventually.js";
import type { LogLine } from "../support/observed-service.js";
import { type KeyedService, Role, startKeyed } from "./support.js";

const text: string[] = [];
const lines = (): LogLine[] => text.map((line) => JSON.parse(line));
const line = (what: string, isIt: (line: LogLine) => boolean) => eventually(what, () => lines().find(isIt));

let keyed: KeyedService;
beforeAll(async () => {
  keyed = await startKeyed({
    log: pino({ level: "debug", base: undefined }, { write: (one: string) => void text.push(one) }),
  });
});
afterAll(() => keyed.stop());

it("tells of every call whose it was, of keys that come and go, of those that are refused, and no secret", async () => {
  const project = `p-${randomUUID()}`;
  const { keyId, secret, ...api } = await keyed.caller({ role: Role.ROLE_READER, project });
  expect(await line("the key was made", ({ msg }) => msg === "a key was created")).toMatchObject({
    key_id: keyId,
    project,
    role: "reader",
  });
  expect(await line("who made it", ({ method }) => method?.endsWith("CreateKey") ?? false)).toMatchObject({
    key_id: "admin-key-file",
    project: "default",
  });

  await api.users.listUsers({});
  await failure(api.sessions.getSession({ sessionId: "s" }));
  for (const method of ["UserService/ListUsers", "SessionService/GetSession"]) {
    expect(await line(method, (one) => one.method === `sessions.v1.${method}`)).toMatchObject({
      project,
      key_id: keyId,
    });
  }

  // Refusals are told once a second, so each is made until it is.
  const refusal = (call: () => Promise<unknown>, isIt: (line: LogLine) => boolean) =>
    eventually("a refusal is told of", async () => {
      await call().catch(() => {});
      return lines().some((one) => one.level === 40 && isIt(one));
    });
  const unknown = newSecret();
  await refusal(
    () => keyed.as(unknown).users.listUsers({}),
    ({ reason, method }) => reason === "UNAUTHENTICATED" && method === "sessions.v1.UserService/ListUsers",
  );
  await refusal(
    () => api.sessions.deleteSession({ sessionId: "s" }),
    ({ reason, key_id, project: whose }) => reason === "PERMISSION_DENIED" && key_id === keyId && whose === project,
  );
  await keyed.admin.keys.revokeKey({ keyId, project });
  expect(await line("it was revoked", ({ msg }) => msg === "a key was revoked")).toMatchObject({
    key_id: keyId,
    project,
  });
  await refusal(
    () => api.users.listUsers({}),
    ({ reason, key_id, project: whose }) => reason === "UNAUTHENTICATED" && key_id === keyId && whose === project,
  );

  const all = text.join("");
  for (const one of [secret, unknown]) expect(all).not.toContain(one.slice(3, 20));
  expect(all).not.toMatch(/bearer/i);
});
