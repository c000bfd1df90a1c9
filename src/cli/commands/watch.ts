import { type Command, Option } from "commander";
import type { Context } from "../context.js";
import { jsonLine, jsonOfEvent } from "../json.js";
import { eventText } from "../tables.js";

interface Options {
  session?: string;
  user?: string;
  resume?: string;
  json?: boolean;
}

export function addWatch(program: Command, context: Context): void {
  program
    .command("watch")
    .description("tell what happens to sessions from now on, until it is interrupted")
    .addOption(new Option("--session <id>", "only this session").conflicts("user"))
    .option("--user <id>", "only sessions of this user")
    .option("--resume <token>", "go on behind the event that had this resume_token")
    .option("--json", "one JSON object a line")
    .action(async ({ session: sessionId, user: userId, resume: resumeToken, json }: Options) => {
      const events = context.connect().watchSessions({ sessionId, userId, resumeToken }, { signal: context.signal });
      for await (const event of events) {
        if (json) await context.print(jsonLine(jsonOfEvent(event)));
        else if (event.type !== "watching") await context.print(eventText(event));
      }
    });
}
