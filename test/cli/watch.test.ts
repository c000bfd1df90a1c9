import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { withIds } from "../support/contract.js";
import { eventually } from "../support/eventually.js";
import { startService, type TestService } from "../support/service.js";
import { parseLines, run, start } from "./support.js";

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.stop());

function begin(...args: string[]) {
  const { child, ended } = start(["--address", service.address, "watch", ...args]);
  onTestFinished(() => void child.kill("SIGKILL"));
  let stdout = "";
  child.stdout.on("data", (data) => {
    stdout += data;
  });
  return { child, ended, text: () => stdout };
}

test("each event is a JSON object, and an interrupt ends it", async () => {
  const { child, ended, text } = begin("--session", "trip", "--json");
  await eventually("it watches", () => text().includes("EVENT_TYPE_WATCHING"));
  await service.memory.addMemory({ sessionId: "trip", messages: withIds("m1") });
  await eventually("it is told", () => text().includes("EVENT_TYPE_MESSAGES_ADDED"));
  expect(parseLines(text()).slice(1)).toMatchObject([
    { event_type: "EVENT_TYPE_SESSION_CREATED", session_id: "trip", session: { message_count: 1 } },
    { event_type: "EVENT_TYPE_MESSAGES_ADDED", messages: [{ message_id: "m1", content: "m1" }], message_ids: ["m1"] },
  ]);
  child.kill("SIGINT");
  expect(await ended).toBe(130);
});

test("as a person reads it, with nothing that steers the terminal; and resumed", async () => {
  const first = begin("--json");
  await eventually("it watches", () => first.text().includes("EVENT_TYPE_WATCHING"));
  const token = parseLines(first.text())[0]?.resume_token as string;
  first.child.kill("SIGINT");
  await first.ended;
  await service.memory.addMemory({
    sessionId: "later",
    messages: [{ messageId: "m1", role: "Ann", content: "a\u001b[31m tram" }],
  });
  await service.memory.deleteMessage({ sessionId: "later", messageId: "m1" });
  await service.memory.addMemory({
    sessionId: "later",
    messages: [{ messageId: "m2", role: "Ann", content: "a\u001b[31m tram" }],
  });
  const { text } = begin("--resume", token);
  await eventually("it is told", () => text().includes("tram"));
  expect(text()).toMatch(
    /Z {2}session created {2}later\n.*messages added {2}later {2}m1\n.*message deleted {2}later {2}m1\n/,
  );
  expect(text()).toContain("  #2");
  expect(text()).toContain("a\\x1b[31m tram");
});

test("both filters at once are a mistake", async () => {
  const { code, stderr } = await run(["watch", "--session", "s", "--user", "u"]);
  expect(code).toBe(2);
  expect(stderr).toMatch(/--user.*--session|--session.*--user/);
});
