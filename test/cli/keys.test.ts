import { randomBytes, randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startService, type TestService } from "../support/service.js";
import { type Outcome, parseLines, run, temporaryFile } from "./support.js";

const ADMIN = randomBytes(32).toString("hex");

let service: TestService;
beforeAll(async () => {
  service = await startService({ auth: { keys: { adminKey: ADMIN }, tokens: undefined } });
});
afterAll(() => service.stop());

const as = (key: string, ...args: string[]): Promise<Outcome> =>
  run(["--address", service.address, ...args], { env: { SESSIONS_KEY: key } });

test("keys are created, used, listed and revoked", async () => {
  const project = ["--project", `p-${randomUUID()}`];
  const created = await as(ADMIN, "keys", "create", "--name", "agents", "--role", "writer", ...project);
  expect(created.code).toBe(0);
  // Nothing but the secret, so that it can go into a file.
  expect(created.stdout).toMatch(/^sk_\w{49}\n$/);
  const [, keyId = ""] = /^Created key ([0-9a-f-]{36}) of project p-.*shown this once:\n$/.exec(created.stderr) ?? [];
  const secret = created.stdout.trim();

  const holder = ["--address", service.address, "--key-file", await temporaryFile("key", created.stdout)];
  const imported = await run([...holder, "import", "-"], { stdin: '{"session_id": "theirs"}' });
  expect(imported).toMatchObject({ code: 0 });
  const listed = await run([...holder, "list", "--json"]);
  expect(parseLines(listed.stdout)).toMatchObject([{ session_id: "theirs" }]);
  expect((await as(ADMIN, "list")).stdout).toBe("");

  const table = await as(ADMIN, "keys", "list", ...project);
  expect(table).toMatchObject({ code: 0, stderr: "" });
  expect(table.stdout).toMatch(/KEY .*NAME .*ROLE .*USER .*CREATED .*EXPIRES .*REVOKED/);
  expect(table.stdout).toMatch(new RegExp(`${keyId} .*agents .*writer`));
  expect(table.stdout).not.toContain(secret.slice(3));

  expect(await as(ADMIN, "keys", "revoke", keyId, ...project)).toMatchObject({
    code: 0,
    stdout: `Revoked ${keyId}, agents.\n`,
  });
  const lines = parseLines((await as(ADMIN, "keys", "list", "--json", ...project)).stdout);
  expect(lines).toMatchObject([{ key_id: keyId, role: "ROLE_WRITER", revoke_time: expect.stringMatching(/Z$/) }]);
  expect(await as(ADMIN, "keys", "revoke", randomUUID(), ...project)).toMatchObject({ code: 3 });
});

test("a key may be somebody's, and end by itself, and is printed for programs", async () => {
  const create = async (expires: string) => {
    const args = ["keys", "create", "--name", "ann's", "--role", "reader", "--user", "ann", "--json"];
    const { code, stdout, stderr } = await as(ADMIN, ...args, "--expires", expires);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    return JSON.parse(stdout);
  };
  expect(await create("2100-01-31T12:00:00+01:00")).toMatchObject({
    name: "ann's",
    project: "default",
    role: "ROLE_READER",
    user_id: "ann",
    expire_time: "2100-01-31T11:00:00.000Z",
    secret: expect.stringMatching(/^sk_/),
  });
  const { expire_time } = await create("90d");
  expect(Math.abs(new Date(expire_time).getTime() - Date.now() - 90 * 86_400_000)).toBeLessThan(600_000);
});

test("who may not is told what it takes, in one line that shows no key", async () => {
  const { stdout } = await as(ADMIN, "keys", "create", "--name", "r", "--role", "reader");
  const refused = await as(stdout.trim(), "keys", "list");
  expect(refused).toMatchObject({ code: 1, stdout: "" });
  expect(refused.stderr).toMatch(/^sessions: .*admin.*\n$/);
  const unknown = await as(`sk_${"x".repeat(49)}`, "list");
  expect(unknown).toMatchObject({ code: 1, stdout: "" });
  expect(unknown.stderr).toMatch(/^sessions: .*key.*\n$/);
  for (const { stderr } of [refused, unknown]) expect(stderr).not.toMatch(/sk_/);
  expect((await run(["--address", service.address, "list"])).stderr).toMatch(
    /^sessions: .*--key-file.*SESSIONS_KEY\n$/,
  );
});
