import { afterAll, beforeAll, expect, test } from "vitest";
import { startService, type TestService } from "../support/service.js";
import { parseLines, run, start } from "./support.js";

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.stop());

const sessions = (...args: string[]) => run(["--address", service.address, ...args]);

const add = (sessionId: string, count: number, more: object = {}) =>
  service.memory.addMemory({
    sessionId,
    messages: Array.from({ length: count }, (_, n) => ({
      messageId: `m${n}`,
      role: "Ann",
      roleType: 3,
      content: `text ${n}`,
    })),
    ...more,
  });

test("list", async () => {
  await service.users.createUser({ userId: "list-user" });
  await add("list-1", 2, { userId: "list-user", sessionMetadata: { topic: { of: "list" }, tags: ["a", "b"] } });
  await add("list-2", 0, { sessionMetadata: { topic: { of: "list", more: "x".repeat(100) } } });
  const filter = ["--metadata", '{"topic": {"of": "list"}}'];

  const json = await sessions("list", "--json", ...filter);
  expect(json).toMatchObject({ code: 0, stderr: "" });
  const listed = parseLines(json.stdout);
  expect(listed.map(({ session_id }) => session_id)).toEqual(["list-1", "list-2"]);
  expect(listed[0]).toMatchObject({ user_id: "list-user", metadata: { topic: { of: "list" } }, message_count: 2 });
  expect(listed[0]?.create_time).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/);

  const ids = async (...args: string[]) =>
    parseLines((await sessions("list", "--json", ...filter, ...args)).stdout).map(({ session_id }) => session_id);
  expect(await ids("--user", "list-user")).toEqual(["list-1"]);
  expect(await ids("--metadata", '{"tags": ["b"]}')).toEqual(["list-1"]);
  expect(await ids("--metadata", '{"tags": "b"}')).toEqual([]);
  expect(await ids("--descending", "--limit", "1")).toEqual(["list-2"]);
  expect(await ids("--order", "last-message", "--descending")).toEqual(["list-1", "list-2"]);
  expect(await ids("--last-message-after", "1h")).toEqual(["list-1"]);
  expect(await ids("--last-message-before", "1h")).toEqual([]);
  expect(
    await ids("--last-message-before", "2100-01-31T12:00:00Z", "--last-message-after", "2024-05-01T10:00Z"),
  ).toEqual(["list-1"]);
  await service.sessions.deleteSession({ sessionId: "list-2" });
  expect(await ids()).toEqual(["list-1"]);
  expect(await ids("--deleted")).toEqual(["list-1", "list-2"]);

  const table = (await sessions("list", "--deleted", ...filter)).stdout;
  expect(table).toMatch(/SESSION.*USER.*MESSAGES.*CREATED.*METADATA.*DELETED/);
  expect(table).toMatch(/list-1 .*list-user .* 2 /);
  expect(await sessions("list", "--metadata", '{"no": "such"}')).toMatchObject({ code: 0, stdout: "" });
});

test("fork", async () => {
  await service.users.createUser({ userId: "fork-user" });
  await add("forked", 3, { userId: "fork-user", sessionMetadata: { a: 1 } });
  expect(await sessions("fork", "forked", "fork-whole")).toEqual({
    code: 0,
    stdout: "Made fork-whole with 3 messages.\n",
    stderr: "",
  });
  expect((await sessions("show", "fork-whole")).stdout).toMatch(/forked from .* forked up to #3/);

  const options = ["--up-to", "m1", "--no-user", "--metadata", '{"b": 2}', "--json"];
  const made = JSON.parse((await sessions("fork", "forked", ...options)).stdout);
  expect(made).toMatchObject({
    metadata: { a: 1, b: 2 },
    message_count: 2,
    forked_from: { session_id: "forked", sequence: 2 },
  });
  expect(made.user_id).toBeUndefined();
  expect(made.session_id).toMatch(/^[0-9a-f-]{36}$/);
  const theirs = JSON.parse((await sessions("fork", made.session_id, "--user", "fork-user", "--json")).stdout);
  expect(theirs).toMatchObject({ user_id: "fork-user", message_count: 2 });

  const again = await sessions("fork", "forked", "fork-whole");
  expect(again).toMatchObject({ code: 1, stdout: "" });
  expect(again.stderr).toContain("exists already");
});

test("show", async () => {
  await add("shown", 120, { sessionMetadata: { a: 1 } });
  await add("escape", 0);
  await service.memory.addMemory({ sessionId: "escape", messages: [{ content: "red \u001b[31m text" }] });
  await service.memory.setSummary({ sessionId: "shown", content: "so far so good", recentMessageId: "m2" });

  const last = await sessions("show", "shown", "--last", "2");
  expect(last).toMatchObject({ code: 0, stderr: "" });
  expect(last.stdout).toContain("so far so good");
  expect(last.stdout).toMatch(/#119 .*Ann \(user\)\n {2}text 118\n#120 .*\n {2}text 119\n$/);
  expect((await sessions("show", "escape")).stdout).toContain("red \\x1b[31m text");

  const count = async (...args: string[]) => JSON.parse((await sessions("show", "shown", "--json", ...args)).stdout);
  expect((await count()).messages).toHaveLength(50);
  // The summary has 4 tokens, the others 2 each.
  expect((await count("--max-tokens", "11")).messages).toHaveLength(3);
  expect((await count("--last", "2", "--max-tokens", "11")).messages).toHaveLength(2);
  expect((await count("--window-start", "user", "--last", "3")).messages).toHaveLength(3);
  expect((await count("--window-start", "whole-tool-calls", "--last", "3")).messages).toHaveLength(3);
  expect(await sessions("show", "shown", "--window-start", "middle")).toMatchObject({ code: 2, stdout: "" });
  const all = await count("--all");
  expect(all).toMatchObject({ session_id: "shown", metadata: { a: 1 }, summary: { recent_message_id: "m2" } });
  expect(all.messages).toHaveLength(120);

  // What is shown can be imported: into a service that has it already it adds nothing.
  const again = await run(["--address", service.address, "import", "-"], { stdin: JSON.stringify(all) });
  expect(again.code).toBe(0);
  expect((await count()).message_count).toBe(120);
  await service.sessions.purgeSession({ sessionId: "shown" });
  expect((await run(["--address", service.address, "import", "-"], { stdin: JSON.stringify(all) })).code).toBe(0);
  expect((await count("--all")).messages.map((message: { content: string }) => message.content)).toEqual(
    all.messages.map((message: { content: string }) => message.content),
  );
});

test("show shows what is more than one answer holds", async () => {
  const content = "x".repeat(1024 * 1024);
  const messages = Array.from({ length: 7 }, () => ({ content }));
  for (let n = 0; n < 10; n++) await service.memory.addMemory({ sessionId: "huge", messages });
  const shown = JSON.parse((await sessions("show", "huge", "--json", "--last", "65")).stdout);
  expect(shown.messages).toHaveLength(65);
  expect(shown.messages.map(({ sequence }: { sequence: number }) => sequence)).toEqual(
    Array.from({ length: 65 }, (_, index) => index + 6),
  );
});

test("rewind", async () => {
  await add("rewound", 6);
  expect(await sessions("rewind", "rewound", "--after", "4")).toMatchObject({ code: 2, stdout: "" });
  for (const target of [[], ["--after", "4", "--after-message", "m1"], ["--after", "-1"]]) {
    expect(await sessions("rewind", "rewound", ...target, "--yes")).toMatchObject({ code: 2, stdout: "" });
  }
  expect(await sessions("rewind", "rewound", "--after", "4", "--yes")).toMatchObject({
    code: 0,
    stdout: "Took 2 messages away from rewound; it has 4 left.\n",
  });
  const json = await sessions("rewind", "rewound", "--after-message", "m1", "--yes", "--json");
  expect(JSON.parse(json.stdout)).toMatchObject({
    rewound_messages: 2,
    messages: [{ message_id: "m2" }, { message_id: "m3", content: "text 3" }],
    truncated: false,
    session: { session_id: "rewound", message_count: 2 },
  });
  expect((await sessions("rewind", "rewound", "--after-message", "m3", "--yes")).code).toBe(3);
  expect((await sessions("rewind", "nowhere", "--after", "0", "--yes")).code).toBe(3);
});

test("redact", async () => {
  await service.memory.addMemory({
    sessionId: "redacted",
    messages: ["m1", "m2"].map((messageId) => {
      return { messageId, content: "secret", payload: Buffer.from("secret"), payloadType: "a/b", metadata: { a: 1 } };
    }),
  });
  expect(await sessions("redact", "redacted", "m1")).toMatchObject({ code: 2, stdout: "" });
  expect(await sessions("redact", "redacted", "m1", "--yes")).toMatchObject({
    code: 0,
    stdout: "Erased what message m1 of session redacted said.\n",
  });
  const shown = JSON.parse((await sessions("show", "redacted", "--json")).stdout);
  expect(shown.messages[0]).toMatchObject({ message_id: "m1", content: "", metadata: { a: 1 } });
  expect(shown.messages[0]).not.toHaveProperty("payload");
  expect(shown.messages[0]).not.toHaveProperty("payload_type");
  expect(shown.messages[1]).toMatchObject({ content: "secret", payload_type: "a/b" });
  const json = await sessions("redact", "redacted", "m2", "--content", "…", "--without-metadata", "--yes", "--json");
  expect(JSON.parse(json.stdout)).toMatchObject({ message_id: "m2", content: "…", metadata: {} });
  expect((await sessions("redact", "redacted", "m3", "--yes")).code).toBe(3);
});

test("delete, restore and purge", async () => {
  await add("gone", 3);
  expect((await sessions("delete", "gone")).stdout).toMatch(/^Deleted gone; it can be restored until 20.*Z\.\n$/);
  expect(await sessions("delete", "gone")).toMatchObject({
    code: 3,
    stderr: 'sessions: There is no live session "gone".\n',
  });
  expect((await sessions("restore", "gone")).stdout).toBe("Restored gone with 3 messages.\n");
  expect((await sessions("restore", "gone")).code).toBe(1);
  expect(JSON.parse((await sessions("delete", "gone", "--json")).stdout)).toMatchObject({
    session_id: "gone",
    message_count: 0,
  });
  const restored = await sessions("restore", "gone", "--without-memory", "--json");
  expect(JSON.parse(restored.stdout)).toMatchObject({ session_id: "gone", message_count: 0 });

  expect(await sessions("purge", "gone")).toMatchObject({ code: 2, stdout: "" });
  expect(await sessions("purge", "gone", "--dry-run")).toMatchObject({ code: 2 });
  expect(await sessions("purge", "gone", "--yes")).toMatchObject({ code: 0, stdout: "Erased gone with 3 messages.\n" });
  expect(await sessions("purge", "gone", "--yes")).toMatchObject({ code: 3 });

  await add("old", 2);
  await sessions("delete", "old");
  const counts = { purged_sessions: 0, purged_messages: 0, purged_users: 0 };
  const olderThan = async (...args: string[]) =>
    JSON.parse((await sessions("purge", "--json", "--older-than", ...args)).stdout);
  expect(await olderThan("1h", "--yes")).toEqual(counts);
  expect((await olderThan("0s", "--dry-run")).purged_messages).toBeGreaterThanOrEqual(2);
  expect((await olderThan("0s", "--yes")).purged_sessions).toBeGreaterThanOrEqual(1);
  expect((await sessions("restore", "old")).code).toBe(3);
});

test("mistakes of the command line end with 2, in one line", async () => {
  for (const args of [
    ["nonsense"],
    ["list", "--limit", "many"],
    ["list", "--last-message-after", "yesterday"],
    ["list", "--metadata", "[]"],
    ["list", "--order", "size"],
    ["list", "--user", " "],
    ["show"],
    ["show", "s", "--last", "2", "--all"],
    ["purge", "--older-than", "30"],
    ["import", "-", "--concurrency", "0"],
  ]) {
    const { code, stdout, stderr } = await sessions(...args);
    expect({ args, code, stdout }).toEqual({ args, code: 2, stdout: "" });
    expect(stderr).toMatch(/^sessions: .*\n$/);
  }
  expect((await sessions()).code).toBe(2);
});

test("the address comes from the command line or the environment, and help tells the exit codes", async () => {
  expect(await run(["list"], { env: { SESSIONS_ADDRESS: service.address } })).toMatchObject({ code: 0 });
  const away = await run(["list"], { env: { SESSIONS_ADDRESS: "127.0.0.1:1" } });
  expect(away.code).toBe(1);
  expect(away.stderr).toMatch(/^sessions: cannot reach the service at 127\.0\.0\.1:1: .*ECONNREFUSED.*\n$/);
  const help = await run(["--help"]);
  expect(help.code).toBe(0);
  expect(help.stdout).toMatch(/SESSIONS_ADDRESS[\s\S]*Exit codes:[\s\S]*\b3 +no such session/);
});

test("a reader who has read enough ends a listing quietly", async () => {
  const metadata = { fill: "x".repeat(10_000) };
  await Promise.all(
    Array.from({ length: 60 }, (_, n) => service.sessions.createSession({ sessionId: `pipe-${n}`, metadata })),
  );
  const { child, ended } = start(["--address", service.address, "list", "--json"]);
  let stderr = "";
  child.stderr.on("data", (chunk) => {
    stderr += chunk;
  });
  child.stdout.once("data", () => child.stdout.destroy());
  expect(await ended).toBe(0);
  expect(stderr).toBe("");
});
