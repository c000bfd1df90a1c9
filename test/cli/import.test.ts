import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventually } from "../support/eventually.js";
import { startService, type TestService } from "../support/service.js";
import { jsonLines, parseLines, run, start, temporaryFile } from "./support.js";

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.stop());

const sessions = (...args: string[]) => run(["--address", service.address, ...args]);
const importText = (stdin: string | Uint8Array, ...args: string[]) =>
  run(["--address", service.address, "import", "-", "--json", ...args], { stdin });

const contents = async (sessionId: string): Promise<string[]> => {
  const chunks = await service.memory.listMessages({ sessionId });
  return chunks.flatMap(({ messages }) => messages.map(({ content }) => content));
};

test("a file is imported, and imported again without adding anything", async () => {
  const many = Array.from({ length: 2500 }, (_, n) => ({ message_id: `m${n}`, role_type: "user", content: `c${n}` }));
  const file = await temporaryFile(
    "sessions.jsonl",
    jsonLines([
      { session_id: "many", user_id: "ann", metadata: { __proto__: null, a: { b: 1 } }, messages: many },
      {
        session_id: "few",
        user_id: "ann",
        messages: [
          {
            role: "Ann",
            role_type: "ROLE_TYPE_ASSISTANT",
            content: "line\u2028line",
            create_time: "2024-05-01T10:00:00+02:00",
          },
          { content: "no id", metadata: { "a.b": 1 }, token_count: 3, payload: "AP8=", payload_type: "x/y" },
        ],
      },
      { session_id: "empty" },
    ]),
  );
  for (const _ of ["first", "again"]) {
    const { code, stdout, stderr } = await sessions("import", file, "--json");
    expect(stderr).toBe("");
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ sessions: 3, messages: 2502, failed_lines: 0 });
  }
  expect(await contents("many")).toEqual(many.map(({ content }) => content));
  const { messages, session } = await service.memory.getMemory({ sessionId: "few" });
  expect(session?.userId).toBe("ann");
  expect(messages).toHaveLength(2);
  expect(messages[0]).toMatchObject({
    role: "Ann",
    roleType: 2,
    content: "line\u2028line",
    createTime: { seconds: 1714550400 },
  });
  expect(messages[1]).toMatchObject({ tokenCount: 3, payloadType: "x/y", metadata: { "a.b": 1 } });
  expect([...(messages[1]?.payload ?? [])]).toEqual([0, 255]);
  const { sessions: found } = await service.sessions.batchGetSessions({ sessionIds: ["many", "empty"] });
  expect(found).toMatchObject([{ userId: "ann", metadata: { a: { b: 1 } }, messageCount: 2500 }, { messageCount: 0 }]);
});

test("what a session expires by is imported and shown, unless its moment has passed", async () => {
  const expire_time = "2100-01-02T03:04:05.006Z";
  const lines = [
    { session_id: "idle", idle_ttl: "86400.069s" },
    { session_id: "timed", expire_time },
    { session_id: "passed", expire_time: "2001-01-02T03:04:05Z" },
  ];
  expect((await importText(jsonLines(lines))).code).toBe(0);
  const shown = async (id: string) => JSON.parse((await sessions("show", id, "--json")).stdout);
  const idle = await shown("idle");
  expect(idle).toMatchObject({ idle_ttl: "86400.069s" });
  expect(Date.parse(idle.expires_at)).toBe(Date.parse(idle.create_time) + 86_400_069);
  expect(await shown("timed")).toMatchObject({ expire_time, expires_at: expire_time });
  expect(Object.keys(await shown("passed"))).not.toContain("expires_at");
  expect((await sessions("show", "timed")).stdout).toMatch(/expires .*2100-01-02 03:04:05Z/);

  const bad = [{ idle_ttl: "1d" }, { idle_ttl: 5 }, { expire_time: "soon" }, { expire_time, idle_ttl: "1s" }];
  const { code, stderr } = await importText(jsonLines(bad.map((fields) => ({ session_id: "bad", ...fields }))));
  expect(code).toBe(1);
  expect(stderr.trim().split("\n")).toEqual([
    "line 1: idle_ttl is not such as 3600s",
    "line 2: idle_ttl is not a string",
    "line 3: expire_time is not such as 2024-05-01T10:00:00Z",
    "line 4: expire_time and idle_ttl are both there",
  ]);
});

test("large messages are split into several calls", async () => {
  const messages = Array.from({ length: 12 }, (_, n) => ({ message_id: `m${n}`, content: `${n}`.repeat(500_000) }));
  expect((await importText(jsonLines([{ session_id: "large", messages }]))).code).toBe(0);
  expect(await contents("large")).toEqual(messages.map(({ content }) => content));
});

test("what is zipped is told by its content, in files and in the standard input", async () => {
  const zipped = gzipSync(jsonLines([{ session_id: "zipped", messages: [{ message_id: "m", content: "z" }] }]));
  expect(JSON.parse((await importText(zipped)).stdout)).toMatchObject({ sessions: 1, messages: 1 });
  const file = await temporaryFile("plain.txt", zipped);
  expect((await sessions("import", file)).stdout).toMatch(
    /^Imported 1 sessions with 1 messages in [\d.]+ s \(\d+ messages\/s\)\.\n$/,
  );
  expect(await contents("zipped")).toEqual(["z"]);
  const broken = await importText(zipped.subarray(0, -10));
  expect(broken).toMatchObject({ code: 1, stderr: "sessions: unexpected end of file\n" });
});

test("lines of one session keep their order", async () => {
  const lines = Array.from({ length: 50 }, (_, n) => ({
    session_id: "parts",
    messages: [{ message_id: `m${n}`, content: `${n}` }],
  }));
  expect((await importText(jsonLines(lines))).code).toBe(0);
  expect(await contents("parts")).toEqual(lines.map((_, n) => `${n}`));
});

test("what goes on with a session waits for the lines before it: when one of them fails, nothing takes its place", async () => {
  const line = (message: object, continues?: true) => ({ session_id: "torn", continues, messages: [message] });
  const torn = (tokens: number) =>
    jsonLines([
      line({ message_id: "m1" }),
      line({ message_id: "m2", token_count: tokens }, true),
      line({ message_id: "m3" }, true),
    ]);
  const { code, stderr } = await importText(torn(-1));
  expect({ code, lines: stderr.split("\n").map((told) => told.split(":")[0]) }).toEqual({
    code: 1,
    lines: ["line 2", "line 3", ""],
  });
  expect((await importText(torn(1))).code).toBe(0);
  const { messages } = await service.memory.getMemory({ sessionId: "torn" });
  expect(messages.map(({ messageId }) => messageId)).toEqual(["m1", "m2", "m3"]);
});

test("a session whose summary goes up to a message that was deleted is imported, and it is told that the summary is not", async () => {
  const summary = { content: "so far", recent_message_id: "gone" };
  const lines = [{ session_id: "unsummarized", messages: [{ message_id: "m", content: "left" }], summary }];
  const { code, stderr } = await importText(jsonLines(lines));
  expect({ code, stderr }).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^line 1: imported without its summary: /),
  });
  expect(await contents("unsummarized")).toEqual(["left"]);
});

test("broken lines are told with their numbers, and the rest goes on", async () => {
  const message = { message_id: "m", content: "as it is" };
  await service.memory.addMemory({ sessionId: "taken", messages: [{ messageId: "m", content: "another" }] });
  const lines = [
    JSON.stringify({ session_id: "good-1", messages: [message] }),
    "{nonsense",
    "",
    "[]",
    JSON.stringify({ messages: [message] }),
    JSON.stringify({ session_id: "s", messages: [message, { role_type: "nobody" }] }),
    JSON.stringify({ session_id: "s", messages: [{ create_time: "yesterday" }] }),
    JSON.stringify({ session_id: " ", messages: [message] }),
    JSON.stringify({ session_id: "taken", messages: [message] }),
    JSON.stringify({ session_id: "good-2", messages: [message] }),
  ];
  const { code, stdout, stderr } = await importText(lines.join("\n"), "--concurrency", "1");
  expect(code).toBe(1);
  expect(JSON.parse(stdout)).toMatchObject({ sessions: 2, messages: 2, failed_lines: 7 });
  const told = stderr.trim().split("\n");
  expect(told.map((line) => line.split(":")[0])).toEqual([2, 4, 5, 6, 7, 8, 9].map((n) => `line ${n}`));
  expect(told[0]).toContain("not JSON");
  expect(told[2]).toBe("line 5: session_id is missing");
  expect(told[3]).toContain("messages[1]: role_type is none of");
  expect(told[6]).toContain('has a message "m" already');
  expect(await contents("good-2")).toEqual(["as it is"]);
});

test("a session that was deleted meanwhile comes back with the file's messages", async () => {
  const line = jsonLines([{ session_id: "back", messages: [{ message_id: "m", content: "x" }] }]);
  await importText(line);
  await service.sessions.deleteSession({ sessionId: "back" });
  expect((await importText(line)).code).toBe(0);
  expect(await contents("back")).toEqual(["x"]);
});

test("a file that cannot be read is one line of error, and no import", async () => {
  const missing = await sessions("import", "/nowhere/file");
  expect(missing).toMatchObject({ code: 1, stdout: "" });
  expect(missing.stderr).toContain("no such file");
});

test("an interrupt ends an import", async () => {
  const { child, ended } = start(["--address", service.address, "import", "-", "--json"]);
  child.stdin.write(jsonLines([{ session_id: "interrupted", messages: [{ content: "x" }] }]));
  await eventually("the session is there", async () => {
    const { sessions: found } = await service.sessions.batchGetSessions({ sessionIds: ["interrupted"] });
    return found.length === 1;
  });
  child.kill("SIGINT");
  let stdout = "";
  child.stdout.on("data", (chunk) => {
    stdout += chunk;
  });
  expect(await ended).toBe(130);
  expect(parseLines(stdout)).toMatchObject([{ failed_lines: 0 }]);
});
