import type { Command } from "commander";
import type { Context } from "../context.js";
import { EXIT } from "../exit-codes.js";
import { jsonLine } from "../json.js";
import { createProgress } from "../progress.js";
import { printable } from "../tables.js";
import { BEGINNING, type ExportState, type ExportTarget, openFile } from "./file.js";
import { exportAll } from "./sessions.js";

interface Options {
  user?: string;
  deleted?: boolean;
  json?: boolean;
}

const DETAILS = `
FILE is JSON Lines: a user a line, then a session a line with its messages and its summary, all in the form that import
reads. A large session takes several lines. Each session is as it was at one moment; one that changes again and again
while it is read comes last.

While it is being written, the file is FILE.part. An export that was broken off goes on where it was when it is run
again with the same options; remove FILE.part to begin anew.

Nobody can read the memory of a soft-deleted session: --deleted has what else is known of it. An import leaves it out.
`;

export function addExport(program: Command, context: Context): void {
  program
    .command("export")
    .description("write users, sessions, messages and summaries to a file")
    .argument("<file>", "the file, zipped if its name ends in .gz; - for the standard output")
    .option("--user <id>", "only this user and their sessions")
    .option("--deleted", "soft-deleted sessions too, without their memory")
    .option("--json", "the summary as one JSON object")
    .addHelpText("after", DETAILS)
    .action((file: string, options: Options) => exportTo(context, file, options));
}

async function exportTo(context: Context, file: string, { user, deleted, json }: Options): Promise<void> {
  const { signal } = context;
  const isOutput = file === "-";
  const scope = { user, deleted };
  const target = isOutput ? outputOf(context) : await openFile(file, scope);
  if (target.from !== BEGINNING) context.complain(`going on with ${file}.part`);
  const progress = createProgress(context.stderr, undefined);
  const started = performance.now();
  let state: ExportState | undefined;
  let written = 0;
  try {
    state = await exportAll({
      client: context.connect({}),
      scope,
      target,
      signal,
      onSession(messages) {
        written += messages;
        progress.session(messages);
      },
    });
    if (state.unsettled.length === 0) await target.finish();
  } finally {
    progress.stop();
    await target.close();
  }
  for (const sessionId of state.unsettled) {
    context.complain(`${printable(sessionId)} changed each time that it was read: run the export again`);
    context.setExitCode(EXIT.failed);
  }
  const seconds = (performance.now() - started) / 1000;
  const summary = summaryOf(state, seconds, written);
  const text = json ? jsonLine(summary) : inWords(summary);
  if (isOutput) context.stderr.write(text);
  else await context.print(text);
}

/** Nothing can be taken back that was printed, and nobody goes on with it. */
function outputOf({ print }: Context): ExportTarget {
  return { from: BEGINNING, write: print, async checkpoint() {}, async finish() {}, async close() {} };
}

function summaryOf(state: ExportState, seconds: number, written: number) {
  return {
    users: state.users,
    sessions: state.sessions,
    deleted_sessions: state.deletedSessions,
    messages: state.messages,
    unsettled_sessions: state.unsettled.length,
    seconds: Math.round(seconds * 100) / 100,
    messages_per_second: Math.round(written / seconds),
  };
}

function inWords(summary: ReturnType<typeof summaryOf>): string {
  const { users, sessions, deleted_sessions, messages, seconds, messages_per_second } = summary;
  const deleted = deleted_sessions > 0 ? ` and ${number(deleted_sessions)} deleted ones` : "";
  return (
    `Exported ${number(users)} users and ${number(sessions)} sessions${deleted} with ${number(messages)} messages in ` +
    `${number(seconds)} s (${number(messages_per_second)} messages/s).\n`
  );
}

const number = (value: number): string => value.toLocaleString("en");
