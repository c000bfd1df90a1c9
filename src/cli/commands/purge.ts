import type { Command } from "commander";
import { confirm } from "../confirm.js";
import type { Context } from "../context.js";
import { EXIT, UsageError } from "../exit-codes.js";
import { jsonLine } from "../json.js";
import { printable } from "../tables.js";
import { durationMs } from "../values.js";

interface Options {
  olderThan?: number;
  dryRun?: boolean;
  yes?: boolean;
  json?: boolean;
}

export function addPurge(program: Command, context: Context): void {
  program
    .command("purge")
    .description("erase, for good, a session, or else what was soft-deleted long enough ago")
    .argument("[session]", "a session, live or soft-deleted")
    .option(
      "--older-than <duration>",
      "what was soft-deleted this long ago, such as 30d (default: the retention)",
      durationMs,
    )
    .option("--dry-run", "only count")
    .option("--yes", "do not ask")
    .option("--json", "the counts as one JSON object")
    .action(async (sessionId: string | undefined, options: Options) => {
      if (sessionId === undefined) return purgeDeleted(context, options);
      if (options.olderThan !== undefined || options.dryRun) {
        throw new UsageError("--older-than and --dry-run are for a purge without a session");
      }
      return purgeSession(context, sessionId, options);
    });
}

async function purgeSession(context: Context, sessionId: string, { yes, json }: Options): Promise<void> {
  if (!(await confirm(context, `Erase session ${printable(sessionId)} and its memory for good?`, yes)))
    return refused(context);
  const counts = await context.connect().purgeSession({ sessionId }, { signal: context.signal });
  await context.print(
    json
      ? jsonLine({ purged_messages: counts.purgedMessages })
      : `Erased ${printable(sessionId)} with ${counts.purgedMessages} messages.\n`,
  );
}

async function purgeDeleted(context: Context, { olderThan, dryRun, yes, json }: Options): Promise<void> {
  const question = "Erase for good what was soft-deleted that long ago?";
  if (!dryRun && !(await confirm(context, question, yes))) return refused(context);
  const counts = await context.connect().purgeDeleted({ olderThanMs: olderThan, dryRun }, { signal: context.signal });
  await context.print(
    json
      ? jsonLine({
          purged_sessions: counts.purgedSessions,
          purged_messages: counts.purgedMessages,
          purged_users: counts.purgedUsers,
        })
      : `${dryRun ? "Would erase" : "Erased"} ${counts.purgedSessions} sessions, ${counts.purgedMessages} messages and ` +
          `${counts.purgedUsers} users.\n`,
  );
}

function refused(context: Context): void {
  context.complain("nothing was erased");
  context.setExitCode(EXIT.failed);
}
