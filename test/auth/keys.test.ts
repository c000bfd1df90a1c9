import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { hashOf, isWellFormed, newSecret } from "../../src/auth/keys.js";
import { failure } from "../support/api.js";
import { invalid, millis, refusal, timestamp } from "../support/contract.js";
import { eventually, timed } from "../support/eventually.js";
import { type KeyedService, openListing, Role, startKeyed } from "./support.js";

let keyed: KeyedService;
beforeAll(async () => {
  keyed = await startKeyed();
});
afterAll(() => keyed.stop());

const newProject = () => `p-${randomUUID()}`;

describe("the secret of a key", () => {
  it("is 256 random bits with a checksum", () => {
    const secrets = Array.from({ length: 1_000 }, newSecret);
    expect(new Set(secrets).size).toBe(1_000);
    for (const secret of secrets) expect(secret).toMatch(/^sk_[0-9A-Za-z]{49}$/);
    expect(secrets.every(isWellFormed)).toBe(true);
  });

  it("is told from a mistyped one", () => {
    const secret = newSecret();
    for (let at = 3; at < secret.length; at++) {
      const other = secret[at] === "x" ? "y" : "x";
      expect(isWellFormed(`${secret.slice(0, at)}${other}${secret.slice(at + 1)}`), `at ${at}`).toBe(false);
    }
    for (const odd of ["", "sk_", secret.slice(1), secret.slice(0, -1), `${secret}0`])
      expect(isWellFormed(odd)).toBe(false);
  });

  it("is shown once, and only its hash is stored", async () => {
    const { key, secret } = await keyed.admin.keys.createKey({ name: "once", role: Role.ROLE_READER });
    const stored = await keyed.service.database.keys.findOne({ _id: `default/${key?.keyId}` });
    expect(stored?.hash).toBe(hashOf(secret));
    expect(JSON.stringify(stored)).not.toContain(secret.slice(3));
    expect(JSON.stringify(await keyed.admin.keys.listKeys({}))).not.toContain(secret.slice(3));
  });
});

describe("CreateKey", () => {
  it("makes a key as it is asked to", async () => {
    const expireTime = timestamp(Date.now() + 3_600_000);
    const project = newProject();
    const request = { name: "front end", role: Role.ROLE_WRITER, userId: "ann", expireTime, project };
    const { key } = await keyed.admin.keys.createKey(request);
    expect(key).toEqual({
      ...request,
      keyId: expect.stringMatching(/^[0-9a-f-]{36}$/),
      createTime: expect.anything(),
      revokeTime: undefined,
    });
    expect(Math.abs(millis(key?.createTime) - Date.now())).toBeLessThan(60_000);
    expect(await keyed.admin.keys.listKeys({ project })).toEqual([{ keys: [key], nextCursor: "" }]);
  });

  it("names all that is wrong with a request, and makes nothing", async () => {
    const before = await keyed.service.database.keys.countDocuments();
    const wrong = { name: " ", role: 7 as Role, userId: "", expireTime: timestamp(Date.now() - 1_000), project: "a/b" };
    expect(await refusal(keyed.admin.keys.createKey(wrong))).toEqual(
      invalid("name", "role", "user_id", "expire_time", "project"),
    );
    const bound = { name: "n", role: Role.ROLE_ADMIN, userId: "ann" };
    expect(await refusal(keyed.admin.keys.createKey(bound))).toEqual(invalid("user_id"));
    expect(await refusal(keyed.admin.keys.createKey({}))).toEqual(invalid("name", "role"));
    expect(await keyed.service.database.keys.countDocuments()).toBe(before);
  });

  it("opens another project for an admin of the default one, and for nobody else", async () => {
    const [one, two] = [newProject(), newProject()];
    const admin = await keyed.caller({ role: Role.ROLE_ADMIN, project: one });
    const { key } = await admin.keys.createKey({ name: "own", role: Role.ROLE_READER });
    expect(key?.project).toBe(one);
    const denied = { code: "PERMISSION_DENIED", reason: "PERMISSION_DENIED", metadata: { project: two } };
    expect(await refusal(admin.keys.createKey({ name: "n", role: Role.ROLE_READER, project: two }))).toMatchObject(
      denied,
    );
    expect(await refusal(admin.keys.listKeys({ project: two }))).toMatchObject(denied);
    expect(await refusal(admin.keys.revokeKey({ keyId: key?.keyId, project: two }))).toMatchObject(denied);
    await admin.keys.listKeys({ project: one });
  });
});

describe("ListKeys", () => {
  it("gives a project's keys in order, in chunks, and resumes", async () => {
    const project = newProject();
    const made: (string | undefined)[] = [];
    for (let n = 0; n < 5; n++) {
      const { key } = await keyed.admin.keys.createKey({ name: `n${n}`, role: Role.ROLE_READER, project });
      made.push(key?.keyId);
    }
    await keyed.admin.keys.revokeKey({ keyId: made[1], project });
    const chunks = await keyed.admin.keys.listKeys({ project, chunkSize: 2 });
    expect(chunks.map(({ keys }) => keys.length)).toEqual([2, 2, 1]);
    expect(chunks.flatMap(({ keys }) => keys.map(({ name }) => name))).toEqual(["n0", "n1", "n2", "n3", "n4"]);
    expect(chunks[0]?.keys.map(({ revokeTime }) => revokeTime !== undefined)).toEqual([false, true]);
    const rest = await keyed.admin.keys.listKeys({ project, cursor: chunks[0]?.nextCursor });
    expect(rest.flatMap(({ keys }) => keys.map(({ keyId }) => keyId))).toEqual(made.slice(2));
    expect(await refusal(keyed.admin.keys.listKeys({ cursor: chunks[0]?.nextCursor }))).toMatchObject({
      reason: "INVALID_CURSOR",
    });
    expect(await keyed.admin.keys.listKeys({ project: newProject() })).toEqual([]);
  });
});

describe("RevokeKey", () => {
  it("stays as it is the second time, and knows only keys of the project", async () => {
    const { key } = await keyed.admin.keys.createKey({ name: "n", role: Role.ROLE_READER });
    const keyId = key?.keyId;
    const first = await keyed.admin.keys.revokeKey({ keyId });
    expect(first.key).toEqual({ ...key, revokeTime: expect.anything() });
    expect(await keyed.admin.keys.revokeKey({ keyId })).toEqual(first);
    expect(await refusal(keyed.admin.keys.revokeKey({ keyId, project: newProject() }))).toMatchObject({
      code: "NOT_FOUND",
      reason: "KEY_NOT_FOUND",
      metadata: { key_id: keyId },
    });
    expect(await refusal(keyed.admin.keys.revokeKey({ keyId: "k" }))).toEqual(invalid("key_id"));
  });

  it("holds within 10 s in every process, for calls and for streams that are open", async () => {
    const other = await startKeyed({ databaseName: keyed.service.database.db.databaseName });
    const writer = await keyed.caller({ role: Role.ROLE_WRITER });
    const there = other.as(writer.secret);
    await writer.sessions.createSession({ sessionId: "watched" });
    // A stream that is open for as long as nobody reads it.
    const content = "x".repeat(1024 * 1024);
    for (let n = 0; n < 6; n++) {
      await writer.memory.addMemory({ sessionId: "long", messages: Array.from({ length: 7 }, () => ({ content })) });
    }
    const stream = await openListing(other.service.address, "long", writer.secret);
    await there.sessions.getSession({ sessionId: "watched" });

    await keyed.admin.keys.revokeKey({ keyId: writer.keyId });
    const acknowledged = performance.now();
    const calls = [writer, there].map((api) =>
      timed(
        eventually(
          "it is refused",
          async () => {
            const outcome = api.sessions.getSession({ sessionId: "watched" });
            return outcome.then(
              () => undefined,
              () => failure(outcome),
            );
          },
          20_000,
        ),
      ),
    );
    for (const { result, ms } of await Promise.all(calls)) {
      expect(result).toMatchObject({
        code: "UNAUTHENTICATED",
        reason: "UNAUTHENTICATED",
        metadata: { credential: "key" },
      });
      expect(ms).toBeLessThan(10_000);
    }
    // What is read after that time is what was sent before.
    await sleep(10_000 - (performance.now() - acknowledged));
    expect(await stream.finish()).toBe(status.UNAUTHENTICATED);
    await other.stop();
  });
});
