import { open } from "node:fs/promises";
import type { Readable } from "node:stream";
import type { Command } from "commander";
import type { Context } from "../context.js";
import { EXIT } from "../exit-codes.js";
import { jsonLine } from "../json.js";
import { createProgress } from "../progress.js";
import { wholeNumber } from "../values.js";
import { linesOf, unzipped } from "./lines.js";
import { importLines } from "./sessions.js";

interface Options {
  concurrency: number;
  json?: boolean;
}

const DETAILS = `
FILE is JSON Lines, gzip'd or not, one session a line, as export writes it, or by hand:
  {"session_id": "s1", "user_id": "u1", "metadata": {…}, "messages": [
    {"message_id": "m1", "role": "Ann", "role_type": "user", "content": "Hi", "create_time": "2024-05-01T10:00:00Z"}, …]}
Only session_id is required. A message may also have metadata, token_count, payload (base64) and payload_type.
A session may also have expire_time or idle_ttl, and a summary {"content": …, "recent_message_id": …, "metadata": …}.
Several lines of one session add to it one after the other. Users that the file names are created, as their own line says
if they have one: {"user_id": "u1", "email": …, "first_name": …, "last_name": …, "metadata": {…}}. Sessions with a delete_time
are left out. A line that fails is reported with its number, and the rest goes on, but for lines that continue its session.
A summary can be set only where the message is that it goes up to: when that was deleted, it is reported and left out.

An import can be run again after it was broken off: what is there already, by its message ids, is not added twice. A
message without an id gets one that is the same each time. A session that was deleted meanwhile comes back, with the
file's messages as its memory.
`;

export function addImport(program: Command, context: Context): void {
  program
    .command("import")
    .description("add the sessions of a file")
    .argument("<file>", "the file; - for the standard input")
    .option("--concurrency <n>", "how many sessions are under way at once", wholeNumber(1, 1000), 32)
    .option("--json", "the summary as one JSON object")
    .addHelpText("after", DETAILS)
    .action((file: string, options: Options) => importFile(context, file, options));
}

async function importFile(context: Context, file: string, { concurrency, json }: Options): Promise<void> {
  const { signal } = context;
  const source = await openSource(context, file);
  const endSource = () => source.stream.destroy();
  signal.addEventListener("abort", endSource);
  const progress = createProgress(context.stderr, source.size);
  const started = performance.now();
  const done = { users: 0, sessions: 0, messages: 0, deleted_sessions: 0, failed_lines: 0 };
  try {
    await importLines(linesOf(unzipped(source.stream, progress.read)), {
      client: context.connect({}),
      concurrency,
      signal,
      onUser() {
        done.users += 1;
      },
      onSession(messages, isContinued) {
        if (!isContinued) done.sessions += 1;
        done.messages += messages;
        progress.session(messages, isContinued);
      },
      onDeleted() {
        done.deleted_sessions += 1;
      },
      onFailure(line, error) {
        done.failed_lines += 1;
        progress.complain(`line ${line}: ${(error as Error).message}`);
      },
    });
  } finally {
    progress.stop();
    signal.removeEventListener("abort", endSource);
    endSource();
    const seconds = (performance.now() - started) / 1000;
    const summary = { ...done, seconds: round(seconds), messages_per_second: Math.round(done.messages / seconds) };
    await context.print(json ? jsonLine(summary) : inWords(summary));
  }
  if (done.failed_lines > 0) context.setExitCode(EXIT.failed);
}

interface Source {
  readonly stream: Readable;
  /** In bytes, of a file. */
  readonly size: number | undefined;
}

async function openSource({ stdin }: Context, file: string): Promise<Source> {
  if (file === "-") return { stream: stdin, size: undefined };
  const handle = await open(file);
  const stats = await handle.stat();
  return { stream: handle.createReadStream(), size: stats.isFile() ? stats.size : undefined };
}

type Summary = Record<
  "sessions" | "messages" | "deleted_sessions" | "failed_lines" | "seconds" | "messages_per_second",
  number
>;

function inWords(summary: Summary): string {
  const { sessions, messages, deleted_sessions, failed_lines, seconds, messages_per_second } = summary;
  const deleted = deleted_sessions > 0 ? `; ${number(deleted_sessions)} deleted sessions were left out` : "";
  const failures = failed_lines > 0 ? `${deleted}; ${number(failed_lines)} lines failed` : deleted;
  return (
    `Imported ${number(sessions)} sessions with ${number(messages)} messages in ${number(seconds)} s ` +
    `(${number(messages_per_second)} messages/s)${failures}.\n`
  );
}

const number = (value: number): string => value.toLocaleString("en");

const round = (value: number): number => Math.round(value * 100) / 100;
