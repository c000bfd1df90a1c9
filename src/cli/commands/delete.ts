import type { Command } from "commander";
import type { Context } from "../context.js";
import { jsonLine, jsonOfSession } from "../json.js";
import { printable } from "../tables.js";

export function addDelete(program: Command, context: Context): void {
  program
    .command("delete")
    .description("soft-delete a session with its memory; restore brings it back until it is purged")
    .argument("<session>")
    .option("--json", "the deleted session as one JSON object")
    .action(async (sessionId: string, { json }: { json?: boolean }) => {
      const session = await context.connect().deleteSession({ sessionId }, { signal: context.signal });
      if (session === undefined) return;
      await context.print(
        json
          ? jsonLine(jsonOfSession(session))
          : `Deleted ${printable(sessionId)}; it can be restored until ${session.purgeTime?.toISOString()}.\n`,
      );
    });
}
