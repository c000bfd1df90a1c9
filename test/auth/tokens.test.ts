import { createHmac, generateKeyPairSync, type KeyObject, randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { type JWTHeaderParameters, type JWTPayload, SignJWT } from "jose";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { TokenRules } from "../../src/auth/tokens.js";
import { type Api, connect, failure } from "../support/api.js";
import { eventually } from "../support/eventually.js";
import { LIMITS, startService, type TestService, type TestServiceOptions } from "../support/service.js";

const RULES = {
  issuer: "https://issuer.example",
  audience: "sessions",
  claims: { project: "project", role: "role", user: "user_id" },
  defaultRole: "reader",
  allowEternal: false,
} as const satisfies Omit<TokenRules, "signedBy">;

const now = () => Math.floor(Date.now() / 1000);
const CLAIMS = () => ({ iss: RULES.issuer, aud: RULES.audience, exp: now() + 600 });
const newProject = () => `p-${randomUUID()}`;

const ends: (() => unknown)[] = [];
afterAll(async () => {
  for (const end of ends.reverse()) await end();
});

async function serve(rules: TokenRules, options: TestServiceOptions = {}): Promise<TestService> {
  const service = await startService({ auth: { keys: undefined, tokens: rules }, ...options });
  ends.push(service.stop);
  return service;
}

function apiOf(service: TestService, token: string): Api {
  const api = connect(service.address, token);
  ends.push(api.close);
  return api;
}

/** Whether a token opens anything: undefined when it does, else how it is refused. */
async function refusal(service: TestService, token: string) {
  const outcome = apiOf(service, token).sessions.listSessions({ limit: 1 });
  return outcome.then(
    () => undefined,
    () => failure(outcome),
  );
}

const REFUSED = { code: "UNAUTHENTICATED", reason: "UNAUTHENTICATED", metadata: { credential: "token" } };

describe("tokens that are signed with a secret", () => {
  const secret = randomBytes(32);
  const sign = (claims: JWTPayload, header: JWTHeaderParameters = { alg: "HS256" }) =>
    new SignJWT(claims).setProtectedHeader(header).sign(secret);
  /** Signed by hand, for what no library would sign. */
  const forge = (header: object, claims: object, key: Buffer | string = secret): string => {
    const body = [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
    return `${body}.${createHmac("sha256", key).update(body).digest("base64url")}`;
  };
  let service: TestService;
  beforeAll(async () => {
    service = await serve({ ...RULES, signedBy: { secret } });
  });

  it("open the project that they name, with the role that they name", async () => {
    const project = newProject();
    const writer = apiOf(service, await sign({ ...CLAIMS(), project, role: "writer" }));
    await writer.sessions.createSession({ sessionId: "s" });
    const reader = apiOf(service, await sign({ ...CLAIMS(), project }));
    expect((await reader.sessions.getSession({ sessionId: "s" })).session?.sessionId).toBe("s");
    expect(await failure(reader.sessions.deleteSession({ sessionId: "s" }))).toMatchObject({
      code: "PERMISSION_DENIED",
      metadata: { role: "reader", required_role: "writer" },
    });
    const elsewhere = apiOf(service, await sign({ ...CLAIMS(), role: "admin" }));
    expect(await failure(elsewhere.sessions.getSession({ sessionId: "s" }))).toMatchObject({ code: "NOT_FOUND" });
    expect(await service.database.sessions.countDocuments({ project })).toBe(1);
  });

  it("bind to the user that they name", async () => {
    const project = newProject();
    const writer = apiOf(service, await sign({ ...CLAIMS(), project, role: "writer" }));
    await writer.users.createUser({ userId: "ann" });
    await writer.sessions.createSession({ sessionId: "of nobody" });
    const ann = apiOf(service, await sign({ ...CLAIMS(), project, role: "writer", user_id: "ann" }));
    expect((await ann.sessions.createSession({ sessionId: "hers" })).session?.userId).toBe("ann");
    expect(await failure(ann.sessions.getSession({ sessionId: "of nobody" }))).toMatchObject({ code: "NOT_FOUND" });
  });

  it.each<[string, () => string | Promise<string>]>([
    ["alg: none", () => `${forge({ alg: "none" }, CLAIMS()).split(".").slice(0, 2).join(".")}.`],
    ["alg: none with a signature", () => forge({ alg: "none" }, CLAIMS())],
    ["alg: nOnE", () => forge({ alg: "nOnE" }, CLAIMS())],
    ["no alg", () => forge({}, CLAIMS())],
    ["another secret", () => forge({ alg: "HS256" }, CLAIMS(), randomBytes(32))],
    ["an empty secret", () => forge({ alg: "HS256" }, CLAIMS(), "")],
    ["HS512", () => new SignJWT(CLAIMS()).setProtectedHeader({ alg: "HS512" }).sign(randomBytes(64))],
    ["RS256", () => new SignJWT(CLAIMS()).setProtectedHeader({ alg: "RS256" }).sign(rsa().privateKey)],
    [
      "claims that were changed",
      async () => (await sign(CLAIMS())).replace(/\.[^.]+\./, `.${encode({ ...CLAIMS(), role: "admin" })}.`),
    ],
    ["a critical header that nobody knows", () => forge({ alg: "HS256", crit: ["x"], x: 1 }, CLAIMS())],
    ["expired", () => sign({ ...CLAIMS(), exp: now() - 60 })],
    ["not yet valid", () => sign({ ...CLAIMS(), nbf: now() + 60 })],
    ["no expiry", () => sign({ iss: RULES.issuer, aud: RULES.audience })],
    ["an expiry that is no number", () => forge({ alg: "HS256" }, { ...CLAIMS(), exp: "never" })],
    ["another issuer", () => sign({ ...CLAIMS(), iss: "https://other.example" })],
    ["no issuer", () => sign({ aud: RULES.audience, exp: now() + 600 })],
    ["another audience", () => sign({ ...CLAIMS(), aud: ["others", "sessions2"] })],
    ["no audience", () => sign({ iss: RULES.issuer, exp: now() + 600 })],
    ["claims that are no object", () => forge({ alg: "HS256" }, ["project"])],
    ["a project with a slash", () => sign({ ...CLAIMS(), project: "a/b" })],
    ["an empty project", () => sign({ ...CLAIMS(), project: "" })],
    ["a project that is no text", () => sign({ ...CLAIMS(), project: ["default"] })],
    ["a role that there is not", () => sign({ ...CLAIMS(), role: "root" })],
    ["an empty user", () => sign({ ...CLAIMS(), user_id: "" })],
    ["a project that is null", () => sign({ ...CLAIMS(), project: null })],
    ["a role that is null", () => sign({ ...CLAIMS(), role: null })],
    ["a user that is null", () => sign({ ...CLAIMS(), user_id: null })],
    ["a user that is a number", () => sign({ ...CLAIMS(), user_id: 7 })],
    ["an admin who is bound to a user", () => sign({ ...CLAIMS(), role: "admin", user_id: "ann" })],
    ["8 KiB and more", () => sign({ ...CLAIMS(), more: "x".repeat(9_000) })],
    ["one part too few", async () => (await sign(CLAIMS())).split(".").slice(0, 2).join(".")],
    ["five parts", async () => `${await sign(CLAIMS())}.x.y`],
    ["something behind it", async () => `${await sign(CLAIMS())}=`],
  ])("are refused: %s", async (_, make) => {
    const refused = await refusal(service, await make());
    expect(refused).toMatchObject({ code: "UNAUTHENTICATED", reason: "UNAUTHENTICATED" });
    expect(refused?.message).not.toMatch(/\n|jose|ERR_| at /);
  });

  it("say what is wrong with them", async () => {
    expect(await refusal(service, await sign({ ...CLAIMS(), exp: now() - 60 }))).toMatchObject({
      ...REFUSED,
      message: "The token is not valid: it has expired.",
    });
    expect((await refusal(service, await sign({ iss: RULES.issuer, exp: now() + 60 })))?.message).toContain('"aud"');
  });

  it("are not taken for keys, nor keys for them", async () => {
    expect(await refusal(service, `sk_${"a".repeat(49)}`)).toMatchObject({ metadata: { credential: "key" } });
  });

  it("need not expire where that is allowed, and may name their claims otherwise", async () => {
    const claims = { project: "https://a.example/team", role: "scope", user: "sub" };
    const eternal = await serve({
      ...RULES,
      signedBy: { secret },
      issuer: undefined,
      audience: undefined,
      claims,
      defaultRole: "writer",
      allowEternal: true,
    });
    const project = newProject();
    const token = await sign({ "https://a.example/team": project, project: "other", user_id: "ignored" });
    await apiOf(eternal, token).sessions.createSession({ sessionId: "s" });
    expect(await eternal.database.sessions.countDocuments({ project })).toBe(1);
    expect(await refusal(eternal, await sign({ exp: now() - 60 }))).toMatchObject(REFUSED);
    expect(await refusal(eternal, await sign({ scope: "everything" }))).toMatchObject(REFUSED);
  });
});

const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString("base64url");
const rsa = () => generateKeyPairSync("rsa", { modulusLength: 2048 });

describe("tokens that are signed with the issuer's keys", () => {
  interface Pair {
    readonly kid: string;
    readonly alg: string;
    readonly publicKey: KeyObject;
    readonly privateKey: KeyObject;
  }
  const pair = (alg: "RS256" | "ES256" | "EdDSA"): Pair => {
    const pairs = {
      RS256: rsa,
      ES256: () => generateKeyPairSync("ec", { namedCurve: "P-256" }),
      EdDSA: () => generateKeyPairSync("ed25519"),
    };
    return { kid: randomUUID(), alg, ...pairs[alg]() };
  };
  const sign = ({ kid, alg, privateKey }: Pair, header: Partial<JWTHeaderParameters> = {}) =>
    new SignJWT(CLAIMS()).setProtectedHeader({ alg, kid, ...header }).sign(privateKey);

  /** An issuer that publishes these keys, and can be away. */
  async function startIssuer(...published: Pair[]) {
    const issuer = { published, answers: "keys" as "keys" | "error" | "nothing" | "no keys" | "late", asked: 0 };
    const server = createServer((request, response) => {
      issuer.asked += 1;
      if (issuer.answers === "nothing") {
        request.socket.destroy();
        return;
      }
      if (issuer.answers === "late") return;
      if (issuer.answers === "error") response.statusCode = 503;
      if (issuer.answers === "no keys") {
        response.end("<html>Please log in</html>");
        return;
      }
      const keys = issuer.published.map(({ kid, alg, publicKey }) => ({
        ...publicKey.export({ format: "jwk" }),
        kid,
        alg,
        use: "sig",
      }));
      response.end(JSON.stringify({ keys }));
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    ends.push(() => void server.close().closeAllConnections());
    return Object.assign(issuer, { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys` });
  }

  it("are taken in each of the ways that there are, and in no other", async () => {
    const [first, second, third] = [pair("RS256"), pair("ES256"), pair("EdDSA")];
    const issuer = await startIssuer(first, second, third);
    const service = await serve({ ...RULES, signedBy: { jwksUrl: issuer.url } });
    for (const one of [first, second, third]) expect(await refusal(service, await sign(one)), one.alg).toBeUndefined();
    expect(issuer.asked).toBe(1);

    // The public key taken for a secret: whoever has it, and that is everybody, could sign.
    const header = { alg: "HS256", kid: first.kid };
    for (const secret of [
      first.publicKey.export({ type: "spki", format: "pem" }),
      first.publicKey.export({ type: "spki", format: "der" }),
      JSON.stringify(first.publicKey.export({ format: "jwk" })),
    ]) {
      const body = `${encode(header)}.${encode(CLAIMS())}`;
      const forged = `${body}.${createHmac("sha256", secret).update(body).digest("base64url")}`;
      expect(await refusal(service, forged)).toMatchObject(REFUSED);
    }
    const { publicKey, privateKey } = rsa();
    const own = { kid: "own", alg: "RS256", publicKey, privateKey };
    const jwk = publicKey.export({ format: "jwk" });
    const tricks: Partial<JWTHeaderParameters>[] = [
      { kid: first.kid },
      { kid: first.kid, jwk: jwk as never },
      { kid: "", jwk: jwk as never },
      { kid: "../../../../dev/null" },
      { kid: "' OR 1=1 --" },
      { kid: [first.kid] as never },
      { kid: { $ne: null } as never },
      { kid: first.kid, jku: "https://attacker.example/keys" },
      { kid: first.kid, x5u: "https://attacker.example/cert" },
      { kid: undefined as never },
    ];
    for (const header of tricks) {
      expect(await refusal(service, await sign(own, header)), JSON.stringify(header)).toMatchObject(REFUSED);
    }
    expect(await refusal(service, await sign({ ...second, alg: "EdDSA", privateKey: third.privateKey }))).toMatchObject(
      REFUSED,
    );
  });

  it("are taken when the issuer has new keys, without a restart, and soon not any more by old ones", async () => {
    const [old, fresh] = [pair("ES256"), pair("ES256")];
    const issuer = await startIssuer(old);
    const service = await serve({ ...RULES, signedBy: { jwksUrl: issuer.url } });
    expect(await refusal(service, await sign(old))).toBeUndefined();
    issuer.published = [fresh];
    const token = await sign(fresh);
    await eventually("the new key is taken", async () => (await refusal(service, token)) === undefined);
    expect(await refusal(service, await sign(old))).toMatchObject(REFUSED);
  });

  it("go on while the issuer is away if their key is known, and are UNAVAILABLE if not", async () => {
    const [known, unknown] = [pair("EdDSA"), pair("EdDSA")];
    const issuer = await startIssuer(known);
    const service = await serve({ ...RULES, signedBy: { jwksUrl: issuer.url } });
    expect(await refusal(service, await sign(known))).toBeUndefined();
    const UNAVAILABLE = { code: "UNAVAILABLE", reason: "KEY_SET_UNAVAILABLE", retryDelayMs: expect.any(Number) };
    for (const answers of ["error", "nothing", "no keys"] as const) {
      issuer.answers = answers;
      // Until then the answer is that the issuer has been asked just now, and had no such key.
      await sleep(1_100);
      expect(await refusal(service, await sign(unknown))).toMatchObject(UNAVAILABLE);
      expect(await refusal(service, await sign(known))).toBeUndefined();
    }
    issuer.answers = "keys";
    issuer.published = [unknown];
    const token = await sign(unknown);
    await eventually("the key is known", async () => (await refusal(service, token)) === undefined);
  });

  it("are UNAVAILABLE when the issuer was away from the beginning, and taken when it is back", async () => {
    const one = pair("ES256");
    const issuer = await startIssuer(one);
    issuer.answers = "error";
    const service = await serve({ ...RULES, signedBy: { jwksUrl: issuer.url } });
    const token = await sign(one);
    expect(await refusal(service, token)).toMatchObject({ code: "UNAVAILABLE" });
    issuer.answers = "keys";
    await eventually("it is back", async () => (await refusal(service, token)) === undefined);
  });

  it("do not make the service ask the issuer for every key that somebody invents, whatever it answers", async () => {
    const known = pair("ES256");
    const issuer = await startIssuer(known);
    const service = await serve({ ...RULES, signedBy: { jwksUrl: issuer.url } });
    expect(await refusal(service, await sign(known))).toBeUndefined();
    const invented = await Promise.all(Array.from({ length: 300 }, () => sign({ ...known, kid: randomUUID() })));
    for (const answers of ["keys", "no keys"] as const) {
      issuer.answers = answers;
      issuer.asked = 0;
      const began = performance.now();
      for (const token of invented) expect(await refusal(service, token)).toBeDefined();
      const seconds = (performance.now() - began) / 1_000;
      expect(issuer.asked).toBeLessThanOrEqual(2 + seconds);
    }
  });

  it("with invented keys keep nobody out while they wait for the issuer", async () => {
    const known = pair("ES256");
    const issuer = await startIssuer(known);
    const service = await serve(
      { ...RULES, signedBy: { jwksUrl: issuer.url } },
      { limits: { ...LIMITS, maxCalls: 20 } },
    );
    const good = apiOf(service, await sign(known));
    await good.sessions.listSessions({ limit: 1 });
    issuer.answers = "late";
    await sleep(1_100);
    const bad = apiOf(service, await sign({ ...known, kid: randomUUID() }));
    let left = 30;
    const flood = Array.from({ length: left }, async () => {
      const fault = await failure(bad.sessions.listSessions({ limit: 1 }));
      left -= 1;
      return fault.reason;
    });
    // Those that are too many are told so at once; the others wait, and meanwhile who is known comes in.
    await eventually("there are no more than may wait", async () => left <= 10);
    await good.sessions.listSessions({ limit: 1 });
    const reasons = await Promise.all(flood);
    expect(reasons.filter((reason) => reason === "OVERLOADED")).toHaveLength(20);
    expect(reasons.filter((reason) => reason === "KEY_SET_UNAVAILABLE")).toHaveLength(10);
  });
});
