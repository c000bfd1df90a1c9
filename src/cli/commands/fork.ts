import type { Command } from "commander";
import type { JsonObject } from "../../client/index.js";
import type { Context } from "../context.js";
import { jsonLine, jsonOfSession } from "../json.js";
import { printable } from "../tables.js";
import { jsonObject } from "../values.js";

interface Options {
  upTo?: string;
  user?: string | false;
  metadata?: JsonObject;
  json?: boolean;
}

export function addFork(program: Command, context: Context): void {
  program
    .command("fork")
    .description("make a session with a copy of another one's memory")
    .argument("<session>", "the session that is copied")
    .argument("[new-session]", "the id of the session that is made (default: a UUID)")
    .option("--up-to <message>", "the id of the last message that is copied (default: all are)")
    .option("--user <id>", "the new session's user (default: that of the session that is copied)")
    .option("--no-user", "the new session belongs to nobody")
    .option("--metadata <json>", "merged over the metadata of the session that is copied", jsonObject)
    .option("--json", "the new session as one JSON object")
    .action(async (sessionId: string, newSessionId: string | undefined, options: Options) => {
      const { upTo, user, metadata, json } = options;
      const session = await context.connect().forkSession(
        {
          sessionId,
          newSessionId,
          upToMessageId: upTo,
          userId: user === false ? null : user,
          metadata,
        },
        { signal: context.signal },
      );
      await context.print(
        json
          ? jsonLine(jsonOfSession(session))
          : `Made ${printable(session.sessionId)} with ${session.messageCount} messages.\n`,
      );
    });
}
