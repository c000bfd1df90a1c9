import { existsSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import type { SessionsClient } from "../../src/client/index.js";
import { clientTo, proxyTo } from "../client/support.js";
import { timestamp } from "../support/contract.js";
import { eventually } from "../support/eventually.js";
import { startService, type TestService } from "../support/service.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { parseLines, run, start } from "./support.js";

let service: TestService;
let client: SessionsClient;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.stop());

const sessions = (...args: string[]) => run(["--address", service.address, ...args]);

type Line = Record<string, unknown>;

async function exported(...args: string[]): Promise<Line[]> {
  const { code, stdout, stderr } = await sessions("export", "-", "--json", ...args);
  expect({ code, stderr: parseLines(stderr).length }).toEqual({ code: 0, stderr: 1 });
  return parseLines(stdout);
}

/** The lines without what no import gives back: uids, etags and the service's own times, and sequences, which have no gaps then. */
const comparable = (lines: readonly Line[]) => {
  const own = ["uid", "etag", "create_time", "update_time", "expires_at"];
  const without = (names: readonly string[], { ...line }: Line): Line => {
    for (const name of names) delete line[name];
    return line;
  };
  const summaryOf = (line: Line) => line.summary && without(["create_time"], line.summary as Line);
  const messagesOf = ({ messages }: Line) =>
    (messages as Line[] | undefined)?.map((message) => without(["sequence", "update_time", "etag"], message));
  return lines.map((line) => ({ ...without(own, line), summary: summaryOf(line), messages: messagesOf(line) }));
};

/** Users, sessions with and without messages, and all that they can have. */
async function fill(prefix: string): Promise<{ userIds: string[]; sessionIds: string[] }> {
  const [ann, bob] = [`${prefix}-ann`, `${prefix}-bob`];
  const metadata = JSON.parse('{"a.b": {"$set": [1, null, {"__proto__": "x"}]}, "": "ü"}');
  await service.users.createUser({ userId: ann, email: "ann@example.org", firstName: "Ann", lastName: "Å", metadata });
  await service.users.createUser({ userId: bob });
  const [full, large, empty, idle, timed] = ["full", "large", "empty", "idle", "timed"].map(
    (id) => `${prefix}-${id}`,
  ) as [string, string, string, string, string];
  const createTime = timestamp(1_714_550_400_123);
  await service.memory.addMemory({
    sessionId: full,
    userId: ann,
    sessionMetadata: metadata,
    messages: [
      {
        messageId: "m 1",
        role: "Ann",
        roleType: 3,
        content: "line\u2028line \u0007",
        metadata,
        tokenCount: 7,
        createTime,
      },
      { messageId: "gone", content: "deleted by itself" },
      {
        messageId: "m2",
        roleType: 5,
        payload: new Uint8Array([0, 255]),
        payloadType: "application/x",
        groupId: "g",
        createTime,
      },
      { messageId: "m3", content: "after", createTime },
    ],
  });
  await service.memory.deleteMessage({ sessionId: full, messageId: "gone" });
  await service.memory.updateMessage({ sessionId: full, messageId: "m3", content: "edited", tokenCount: 3 });
  const summary = { content: "so far", recentMessageId: "m2", metadata: { s: 1 }, tokenCount: 2 };
  await service.memory.setSummary({ sessionId: full, ...summary });
  // More than one answer holds, by their number and by their size.
  for (let from = 0; from < 2500; from += 500) {
    const messages = Array.from({ length: 500 }, (_, n) => ({
      messageId: `m${from + n}`,
      content: `${from + n}`.repeat(from === 0 ? 3000 : 1),
      createTime,
    }));
    await service.memory.addMemory({ sessionId: large, userId: ann, sessionMetadata: { large: true }, messages });
  }
  await service.memory.setSummary({ sessionId: large, content: "of many", recentMessageId: "m1999" });
  await service.sessions.createSession({ sessionId: empty, metadata: { nothing: "said" } });
  const expiry = { $case: "idleTtl" as const, value: { seconds: 86_400, nanos: 500_000_000 } };
  await service.sessions.createSession({ sessionId: idle, userId: bob, expiry });
  const moment = { $case: "expireTime" as const, value: { seconds: 4_000_000_000, nanos: 0 } };
  await service.sessions.createSession({ sessionId: timed, expiry: moment });
  return { userIds: [ann, bob], sessionIds: [full, large, empty, idle, timed] };
}

async function erase({ userIds, sessionIds }: { userIds: string[]; sessionIds: string[] }): Promise<void> {
  for (const userId of userIds) await service.users.purgeUser({ userId });
  const { sessions: left } = await service.sessions.batchGetSessions({ sessionIds });
  for (const { sessionId } of left) await service.sessions.purgeSession({ sessionId });
}

test.each(["all.jsonl", "all.jsonl.gz"])("export, erase, import gives back the same: %s", async (name) => {
  const own = await startService();
  onTestFinished(() => own.stop());
  const shared = service;
  service = own;
  try {
    const things = await fill("trip");
    const before = await exported();
    const file = join(await temporaryFolder(), name);
    const out = await sessions("export", file, "--json");
    expect(out).toMatchObject({ code: 0, stderr: "" });
    const figures = { users: 2, sessions: 5, deleted_sessions: 0, messages: 2503, unsettled_sessions: 0 };
    expect(JSON.parse(out.stdout)).toMatchObject(figures);
    const bytes = await readFile(file);
    const text = (name.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString();
    expect(parseLines(text)).toEqual(before);
    expect([existsSync(`${file}.part`), existsSync(`${file}.part.state`)]).toEqual([false, false]);

    await erase(things);
    for (const _ of ["first", "again"]) {
      const back = await sessions("import", file, "--json");
      expect(back).toMatchObject({ code: 0, stderr: "" });
      expect(JSON.parse(back.stdout)).toMatchObject({ users: 2, sessions: 5, messages: 2503, failed_lines: 0 });
      const after = comparable(await exported());
      const byId = (lines: Line[]) => lines.sort((a, b) => (String(a.session_id) < String(b.session_id) ? -1 : 1));
      expect(byId(after)).toEqual(byId(comparable(before)));
    }
  } finally {
    service = shared;
  }
});

test("a large session is several lines, each of which could be imported by itself", async () => {
  const things = await fill("lines");
  const lines = (await exported("--user", "lines-ann")).filter(({ session_id }) => session_id === "lines-large");
  expect(lines.length).toBeGreaterThan(2);
  for (const [index, line] of lines.entries()) {
    expect(line).toMatchObject({ user_id: "lines-ann", metadata: { large: true }, message_count: 2500 });
    expect(line.continues).toBe(index === 0 ? undefined : true);
    expect((line.messages as Line[]).length).toBeLessThanOrEqual(1000);
    expect(line.summary !== undefined).toBe(index === lines.length - 1);
  }
  const ids = lines.flatMap(({ messages }) => (messages as Line[]).map(({ message_id }) => message_id));
  expect(ids).toEqual(Array.from({ length: 2500 }, (_, n) => `m${n}`));
  await erase(things);
});

test("--user exports one user with their sessions, and nobody else", async () => {
  const things = await fill("one");
  const lines = await exported("--user", "one-bob");
  expect(lines.map(({ user_id, session_id }) => [user_id, session_id])).toEqual([
    ["one-bob", undefined],
    ["one-bob", "one-idle"],
  ]);
  const missing = await sessions("export", "-", "--user", "one-nobody");
  expect(missing).toMatchObject({ code: 3, stdout: "" });
  expect(missing.stderr).toContain("There is no live user");
  await erase(things);
});

test("--deleted has soft-deleted sessions too, without their memory, and an import leaves them out", async () => {
  const things = await fill("del");
  await service.sessions.deleteSession({ sessionId: "del-full" });
  expect((await exported("--user", "del-ann")).map(({ session_id }) => session_id)).not.toContain("del-full");
  const file = join(await temporaryFolder(), "deleted.jsonl");
  const out = await sessions("export", file, "--user", "del-ann", "--deleted", "--json");
  expect(JSON.parse(out.stdout)).toMatchObject({ users: 1, sessions: 1, deleted_sessions: 1, messages: 2500 });
  const line = parseLines((await readFile(file)).toString()).find(({ session_id }) => session_id === "del-full");
  expect(line).toMatchObject({ metadata: expect.anything(), delete_time: expect.any(String), message_count: 0 });
  expect(line?.messages).toBeUndefined();

  await erase(things);
  const back = await sessions("import", file);
  expect(back.stdout).toMatch(/^Imported 1 sessions .*; 1 deleted sessions were left out\.\n$/);
  const { missingSessionIds } = await service.sessions.batchGetSessions({ sessionIds: ["del-full", "del-large"] });
  expect(missingSessionIds).toEqual(["del-full"]);
  await service.users.deleteUser({ userId: "del-ann" });
  // Of a deleted user's there are only deleted ones.
  const gone = await exported("--user", "del-ann", "--deleted");
  expect(gone.map(({ session_id, delete_time }) => [session_id, typeof delete_time])).toEqual([
    ["del-large", "string"],
  ]);
  await erase({ ...things, userIds: ["del-ann"] });
});

test("an export that was interrupted is no file yet, and goes on where it was", async () => {
  client = clientTo(service.address);
  const userId = "many";
  await client.createUser({ userId });
  const ids = Array.from({ length: 350 }, (_, n) => `many-${n}`);
  for (const sessionId of ids)
    await client.addMemory({ sessionId, userId, messages: [{ messageId: "m", content: sessionId }] });
  const whole = await exported("--user", userId);

  for (const name of ["many.jsonl", "many.jsonl.gz"]) {
    const file = join(await temporaryFolder(), name);
    // Slow enough to be met underway.
    const proxy = await proxyTo(service.address);
    proxy.delayMs = 150;
    const args = ["--address", proxy.address, "export", file, "--user", userId, "--json"];
    const signals = ["SIGINT", "SIGKILL"] as const;
    let safe = 0;
    for (const signal of signals) {
      const { child, ended } = start(args);
      const saved = async () => JSON.parse((await readFile(`${file}.part.state`, "utf8").catch(() => "{}")) || "{}");
      await eventually("more of it is safe", async () => ((await saved()).state?.sessions ?? 0) > safe);
      child.kill(signal);
      expect(await ended).toBe(signal === "SIGINT" ? 130 : null);
      safe = (await saved()).state.sessions;
      expect(existsSync(file)).toBe(false);
    }
    expect(safe).toBeLessThan(ids.length);

    const other = await sessions("export", file);
    expect(other).toMatchObject({ code: 2, stdout: "" });
    expect(other.stderr).toContain("was begun with other options");
    const out = await sessions("export", file, "--user", userId, "--json");
    expect(out).toMatchObject({ code: 0, stderr: `sessions: going on with ${file}.part\n` });
    expect(JSON.parse(out.stdout)).toMatchObject({ users: 1, sessions: ids.length, messages: ids.length });
    const bytes = await readFile(file);
    const text = (name.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString();
    expect(parseLines(text)).toEqual(whole);
    expect((await run(["--address", service.address, "import", file, "--json"])).code).toBe(0);
  }
});

test("an empty project is an empty file, zipped or not", async () => {
  const own = await startService();
  onTestFinished(() => own.stop());
  const folder = await temporaryFolder();
  for (const name of ["none.jsonl", "none.jsonl.gz"]) {
    const file = join(folder, name);
    expect((await run(["--address", own.address, "export", file])).code).toBe(0);
    expect((await stat(file)).size).toBe(name.endsWith(".gz") ? gzipSync("").length : 0);
    expect((await run(["--address", own.address, "import", file])).code).toBe(0);
  }
});

test("what fails leaves no file under its name", async () => {
  const file = join(await temporaryFolder(), "none.jsonl");
  const out = await run(["--address", "127.0.0.1:1", "export", file]);
  expect(out).toMatchObject({ code: 1, stdout: "" });
  expect(out.stderr).toContain("cannot reach the service");
  expect(existsSync(file)).toBe(false);
  const nowhere = await sessions("export", "/nowhere/file");
  expect(nowhere).toMatchObject({ code: 1, stdout: "" });
  expect(nowhere.stderr).toContain("no such file");
});
