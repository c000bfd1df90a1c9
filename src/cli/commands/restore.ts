import type { Command } from "commander";
import type { Context } from "../context.js";
import { jsonLine, jsonOfSession } from "../json.js";
import { printable } from "../tables.js";

interface Options {
  withoutMemory?: boolean;
  json?: boolean;
}

export function addRestore(program: Command, context: Context): void {
  program
    .command("restore")
    .description("bring a soft-deleted session back, with its memory")
    .argument("<session>")
    .option("--without-memory", "leave its memory deleted, for good")
    .option("--json", "the restored session as one JSON object")
    .action(async (sessionId: string, { withoutMemory, json }: Options) => {
      const session = await context
        .connect()
        .undeleteSession({ sessionId, restoreMemory: !withoutMemory }, { signal: context.signal });
      await context.print(
        json
          ? jsonLine(jsonOfSession(session))
          : `Restored ${printable(sessionId)} with ${session.messageCount} messages.\n`,
      );
    });
}
