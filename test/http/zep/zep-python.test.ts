import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { newId } from "../../support/contract.js";
import { FOREIGN_CLIENTS, type Program, zepLangchain, zepPython } from "../../support/foreign-clients.js";
import { startZep, type ZepService } from "./support.js";

/** The last SDK for Python of the legacy API, as it comes from PyPI. What it is to do is in a script of its own language. */
const SCRIPT = readFileSync(join(import.meta.dirname, "zep_python.py"), "utf8");
const STATEMENTS = [...SCRIPT.matchAll(/^def (test_\w+)\(/gm)].map(([, name = ""]) => name);

/** For clients that have to be got first, on a slow machine. */
const GETTING_MS = 1_200_000;

let zep: ZepService;
beforeAll(async () => {
  zep = await startZep();
});
afterAll(() => zep.stop());

describe.runIf(FOREIGN_CLIENTS)("zep-python", () => {
  let outcomes: Record<string, string | null>;
  beforeAll(async () => {
    const run = await zepPython();
    const { code, stdout, stderr } = await run(SCRIPT, zep.url);
    if (code !== 0) throw new Error(stderr);
    outcomes = JSON.parse(stdout);
  }, GETTING_MS);

  it.each(STATEMENTS.map((name) => [name.replace("test_", "").replaceAll("_", " "), name]))("%s", (_, name) => {
    expect(outcomes).toHaveProperty(name as string);
    expect(outcomes[name as string]).toBeNull();
  });
});

const LANGCHAIN = `
import json, sys
from langchain_community.chat_message_histories import ZepChatMessageHistory
from langchain_core.messages import AIMessage, HumanMessage
url, session_id, other = sys.argv[1:]
history = ZepChatMessageHistory(session_id=session_id, url=url)
shown = lambda history: [[message.type, message.content] for message in history.messages]
out = [shown(history)]
history.add_user_message("Who was Octavia Butler?", metadata={"foo": "bar"})
history.add_ai_message("An American author.")
history.add_messages([HumanMessage(content="Thanks."), AIMessage(content="Any time.")])
out.append(shown(history))
out.append([message.metadata for message in history.zep_messages])
out.append([history.zep_summary, shown(ZepChatMessageHistory(session_id=other, url=url)), ZepChatMessageHistory(session_id=other, url=url).zep_summary])
history.clear()
out.append(shown(history))
history.add_user_message("Again.")
out.append(shown(history))
print(json.dumps(out))
`;

describe.runIf(FOREIGN_CLIENTS)("LangChain's history", () => {
  let run: Program;
  beforeAll(async () => {
    run = await zepLangchain();
  }, GETTING_MS);

  it("keeps a conversation, and its summary", async () => {
    const [id, summarised] = [newId(), newId()];
    await zep.memory.addMemory({
      sessionId: summarised,
      messages: [
        { messageId: "1", content: "before" },
        { role: "human", content: "after" },
      ],
    });
    await zep.memory.setSummary({ sessionId: summarised, content: "So far.", recentMessageId: "1" });
    const { code, stdout, stderr } = await run(LANGCHAIN, zep.url, id, summarised);
    expect([code, stderr]).toEqual([0, ""]);
    expect(JSON.parse(stdout)).toEqual([
      [],
      [
        ["human", "Who was Octavia Butler?"],
        ["ai", "An American author."],
        ["human", "Thanks."],
        ["ai", "Any time."],
      ],
      [{ foo: "bar" }, null, null, null],
      [
        null,
        [
          ["system", "So far."],
          ["human", "after"],
        ],
        "So far.",
      ],
      [],
      [["human", "Again."]],
    ]);
  });
});
