import { createHash, randomBytes, randomUUID } from "node:crypto";
import { type JWTPayload, SignJWT } from "jose";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Api } from "../support/api.js";
import { type Keyed, type KeyedService, Role, startKeyed } from "./support.js";

/** What a receipt says of whoever asked for an erasure, and who may see it. */
const secret = randomBytes(32);
const adminKey = randomBytes(32).toString("hex");
const sign = (claims: JWTPayload) => new SignJWT(claims).setProtectedHeader({ alg: "HS256" }).sign(secret);

let keyed: KeyedService;
beforeAll(async () => {
  const tokens = {
    signedBy: { secret },
    issuer: undefined,
    audience: undefined,
    claims: { project: "project", role: "role", user: "user_id" },
    defaultRole: "admin",
    allowEternal: true,
  } as const;
  keyed = await startKeyed({ auth: { keys: { adminKey }, tokens } });
});
afterAll(() => keyed.stop());

async function requestedBy(api: Api): Promise<string | undefined> {
  const userId = randomUUID();
  await api.users.createUser({ userId });
  return (await api.users.purgeUser({ userId })).receipt?.requestedBy;
}

describe("a receipt names the credential and no person", () => {
  it("a key by its id", async () => {
    const caller = await keyed.caller({ role: Role.ROLE_ADMIN });
    expect(await requestedBy(caller)).toBe(caller.keyId);
    expect(await requestedBy(keyed.as(adminKey))).toBe("admin-key-file");
  });

  it("a token by a hash of whom it is about", async () => {
    const sub = "ann@example.org";
    const hash = createHash("sha256").update(sub).digest("hex");
    expect(await requestedBy(keyed.as(await sign({ sub })))).toBe(`token:${hash}`);
    expect(await requestedBy(keyed.as(await sign({})))).toBe("token");
  });
});

it("nobody sees the receipts of another project", async () => {
  const inProject = (project: string): Promise<Keyed> => keyed.caller({ role: Role.ROLE_ADMIN, project });
  const [one, other] = await Promise.all([inProject(randomUUID()), inProject(randomUUID())]);
  await one.users.createUser({ userId: "u" });
  const { receipt } = await one.users.purgeUser({ userId: "u" });
  expect(await one.purge.listErasures({})).toEqual([{ receipts: [receipt], nextCursor: "" }]);
  expect(await other.purge.listErasures({})).toEqual([]);
});
