import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { Skipped } from "../harness/row.js";

/** Conversations with questions about them, of which is known which messages answer them. */
export interface Questioned {
  readonly sessions: readonly RecordedSession[];
  readonly questions: readonly Question[];
}

/** As in the files that the command line imports. */
export interface RecordedSession {
  readonly session_id: string;
  readonly user_id: string;
  readonly messages: readonly RecordedMessage[];
}

export interface RecordedMessage {
  readonly message_id: string;
  readonly role: string;
  readonly role_type: string;
  readonly content: string;
  readonly create_time: string;
}

export interface Question {
  readonly user_id: string;
  readonly question: string;
  /** The ids of the messages that answer it. */
  readonly evidence: readonly string[];
}

const ENDING = ".jsonl.gz";

/** Conversations in a folder beside the checkout, where there is one; undefined where there is none. */
export function conversationsBeside(): string | undefined {
  const file = fileURLToPath(new URL("../../../../shared/data/locomo-dev.jsonl.gz", import.meta.url));
  return existsSync(file) ? file : undefined;
}

/** Reads conversations out of `NAME.jsonl.gz`, and the questions about them out of `NAME-questions.jsonl.gz` beside it. */
export async function readQuestioned(file: string | undefined): Promise<Questioned> {
  if (file === undefined) throw new Skipped("no conversations with questions: --questions names them");
  if (!file.endsWith(ENDING)) throw new Skipped(`--questions ${file}: not a ${ENDING} file`);
  const [sessions, questions] = await Promise.all([
    readLines<RecordedSession>(file),
    readLines<Question>(`${file.slice(0, -ENDING.length)}-questions${ENDING}`),
  ]);
  return { sessions, questions };
}

async function readLines<T>(file: string): Promise<T[]> {
  const bytes = await readFile(file).catch((error: Error) => {
    throw new Skipped(error.message);
  });
  const lines = gunzipSync(bytes).toString().split("\n");
  return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as T);
}
