import { afterAll, beforeAll, expect, inject, it } from "vitest";
import { newSecret } from "../../src/auth/keys.js";
import { type Api, failure } from "../support/api.js";
import { eventually, timed } from "../support/eventually.js";
import { startProxy } from "../support/proxy.js";
import { type KeyedService, Role, startKeyed } from "./support.js";

let keyed: KeyedService;
let proxy: Awaited<ReturnType<typeof startProxy>>;
beforeAll(async () => {
  proxy = await startProxy(inject("mongodbUri"));
  keyed = await startKeyed({ mongodbUri: proxy.uri });
});
afterAll(async () => {
  await keyed.stop();
  await proxy.stop();
});

/** How a call ends that needs no database but for its credential. */
const refusalOf = async (api: Api) => (await failure(api.sessions.getSession({ sessionId: "" }))).code;

it("while the database is away a revoked key stays out, a good one goes on for a while, an unknown one is UNAVAILABLE", async () => {
  const [good, revoked, unused] = [
    await keyed.caller({ role: Role.ROLE_READER }),
    await keyed.caller({ role: Role.ROLE_READER }),
    await keyed.caller({ role: Role.ROLE_READER }),
  ];
  await keyed.admin.keys.revokeKey({ keyId: revoked.keyId });
  expect(await refusalOf(good)).toBe("INVALID_ARGUMENT");
  expect(await refusalOf(revoked)).toBe("UNAUTHENTICATED");

  await proxy.become("refuse");
  expect(await refusalOf(good)).toBe("INVALID_ARGUMENT");
  const { result, ms } = await timed(refusalOf(unused));
  expect(result).toBe("UNAVAILABLE");
  // A key is looked up for 5 s at most; the driver would look for its database for half a minute.
  expect(ms).toBeLessThan(25_000);
  expect(await refusalOf(keyed.as(newSecret()))).toBe("UNAVAILABLE");
  await eventually("a good key is not taken on trust any more", async () => (await refusalOf(good)) === "UNAVAILABLE");
  expect(await refusalOf(revoked)).toBe("UNAUTHENTICATED");
  // The first admin's secret is in no database.
  expect(await refusalOf(keyed.admin)).toBe("INVALID_ARGUMENT");

  await proxy.become("forward");
  await eventually("they are known again", async () => (await refusalOf(unused)) === "INVALID_ARGUMENT");
  expect(await refusalOf(good)).toBe("INVALID_ARGUMENT");
  expect(await refusalOf(revoked)).toBe("UNAUTHENTICATED");
});
