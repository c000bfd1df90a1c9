import { afterAll, beforeAll, expect, test } from "vitest";
import { RoleType } from "../../gen/sessions/v1/resources.js";
import { startService, type TestService } from "../support/service.js";
import { parseLines, run } from "./support.js";

let service: TestService;
beforeAll(async () => {
  service = await startService();
  await service.users.createUser({ userId: "ann" });
  const message = (messageId: string, role: string, roleType: RoleType, content: string, metadata = {}) => ({
    messageId,
    role,
    roleType,
    content,
    metadata,
  });
  await service.memory.addMemory({
    sessionId: "trip-42",
    userId: "ann",
    messages: [
      message("1", "Ann", RoleType.ROLE_TYPE_USER, "Two days in Lisbon?"),
      message("2", "guide", RoleType.ROLE_TYPE_ASSISTANT, "Start in\nAlfama \u001b[31m, by tram.", { tip: true }),
      message("3", "Ann", RoleType.ROLE_TYPE_USER, `Thanks. ${"And so on. ".repeat(30)}`),
    ],
  });
  await service.memory.addMemory({
    sessionId: "trip-43",
    userId: "ann",
    messages: [message("1", "Ann", RoleType.ROLE_TYPE_USER, "Trams!")],
  });
});
afterAll(() => service.stop());

const search = (...args: string[]) => run(["--address", service.address, "search", ...args]);

test("what was found is a table, the best first, in which each has one line", async () => {
  const { code, stdout, stderr } = await search("trams", "--user", "ann");
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const lines = stdout.split("\n");
  expect(stdout).toMatch(/SCORE.*SESSION.*#.*MADE.*SPEAKER.*MESSAGE/);
  const found = lines.filter((line) => line.includes("trip-4"));
  expect(found[0]).toMatch(/ \d+\.\d\d .* trip-43 .* 1 .* \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ .* Ann \(user\) .* Trams! /);
  expect(found.find((line) => line.includes("Alfama"))).toMatch(
    / trip-42 .* 2 .* guide \(assistant\) .* Start in Alfama \\x1b\[31m, by tram\. /,
  );
  const scores = found.map((line) => Number(/\d+\.\d\d/.exec(line)?.[0]));
  expect(scores).toEqual(scores.toSorted((a, b) => b - a));
  // All as wide as one another, and no wider than it takes, whatever the messages are.
  expect(new Set(lines.filter((line) => line !== "").map((line) => line.length)).size).toBe(1);
  expect(lines[0]?.length).toBeLessThan(170);
});

test("one session, some kinds of speaker, some metadata, and few", async () => {
  const found = async (...args: string[]) =>
    parseLines((await search("--json", ...args)).stdout).map(({ message }) => {
      const { session_id, message_id } = message as Record<string, string>;
      return `${session_id}/${message_id}`;
    });
  expect((await found("tram", "--session", "trip-43"))[0]).toBe("trip-43/1");
  expect(await found("tram", "--session", "trip-42", "--role", "assistant")).toEqual(["trip-42/2"]);
  expect(await found("--user", "ann", "--metadata", '{"tip": true}')).toEqual(["trip-42/2"]);
  expect(await found("tram", "--user", "ann", "--limit", "1")).toEqual(["trip-43/1"]);
});

test("for programs, one object a line", async () => {
  const { stdout } = await search("alfama", "--session", "trip-42", "--limit", "1", "--neighbors", "1", "--json");
  const [result, ...more] = parseLines(stdout);
  expect(more).toEqual([]);
  expect(result).toMatchObject({
    score: expect.any(Number),
    message: { session_id: "trip-42", message_id: "2", role_type: "ROLE_TYPE_ASSISTANT", metadata: { tip: true } },
    before: [{ message_id: "1" }],
    after: [{ message_id: "3" }],
  });
});

test("with neighbors, what was said around each", async () => {
  const { stdout } = await search("alfama", "--session", "trip-42", "--limit", "1", "--neighbors", "1");
  expect(stdout).toMatch(
    /^session trip-42\n#1 .*Two days in Lisbon\?\n#2 .*guide \(assistant\)\n {2}Start in\n {2}Alfama .*#3 .*Thanks\./s,
  );
  expect(stdout).toContain("\\x1b[31m");
});

test("that nothing was found is said, and no error; to programs nothing is", async () => {
  expect(await search("zeppelin", "--user", "ann")).toEqual({ code: 0, stdout: "Nothing was found.\n", stderr: "" });
  expect(await search("zeppelin", "--user", "nobody", "--json")).toEqual({ code: 0, stdout: "", stderr: "" });
  const around = await search("zeppelin", "--user", "ann", "--neighbors", "2");
  expect(around).toEqual({ code: 0, stdout: "Nothing was found.\n", stderr: "" });
});

test("errors are one line", async () => {
  for (const [code, ...args] of [
    [2, "x", "--session", "a", "--user", "b"],
    [2, "x", "--user", "ann", "--limit", "0"],
    [2, "x", "--user", "ann", "--limit", "101"],
    [2, "x", "--user", "ann", "--neighbors", "11"],
    [2, "x", "--user", "ann", "--role", "boss"],
    [2, "x", "--user", "ann", "--mode", "magic"],
    [2, "x", "--user", "ann", "--metadata", "[]"],
    [2, "x"],
    [2, "--user", "ann"],
    [1, "x", "--user", "ann", "--mode", "semantic"],
  ] as [number, ...string[]][]) {
    const { code: ended, stdout, stderr } = await search(...args);
    expect({ args, ended, stdout }).toEqual({ args, ended: code, stdout: "" });
    expect(stderr).toMatch(/^sessions: [^\n]+\n$/);
  }
});
