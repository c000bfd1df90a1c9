import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { readQuestioned } from "./questions.js";
import type { Said } from "./records.js";

/** What people say, and what they ask about it: an index of one sentence repeated is like no other. */
export interface Texts {
  /** As many messages as are wanted: it begins anew where there are no more. */
  readonly said: (number: number) => Said;
  readonly questions: readonly string[];
}

const EXAMPLES = fileURLToPath(new URL("../../../examples/conversations.jsonl", import.meta.url));

/** From conversations with questions, or from the examples, where each question that somebody asks is one. */
export async function readTexts(questioned: string | undefined): Promise<Texts> {
  if (questioned !== undefined) {
    const { sessions, questions } = await readQuestioned(questioned);
    return textsOf(
      sessions.flatMap(({ messages }) => messages),
      questions.map(({ question }) => question),
    );
  }
  const lines = (await readFile(EXAMPLES, "utf8")).split("\n").filter((line) => line !== "");
  const messages = lines.flatMap((line): Spoken[] => JSON.parse(line).messages ?? []);
  return textsOf(
    messages,
    messages.map(({ content = "" }) => content).filter((content) => content.endsWith("?")),
  );
}

interface Spoken {
  readonly role?: string;
  readonly content?: string;
}

function textsOf(messages: readonly Spoken[], questions: readonly string[]): Texts {
  const all = messages.map(({ role = "", content = "" }): Said => ({ role, content, roleType: 3, tokenCount: 0 }));
  return { said: (number) => all[number % all.length] as Said, questions };
}
