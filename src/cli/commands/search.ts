import { type Command, Option } from "commander";
import type { JsonObject, RoleType, SearchMode } from "../../client/index.js";
import type { Context } from "../context.js";
import { jsonLine, jsonOfSearchResult } from "../json.js";
import { messageText, printable, searchTable } from "../tables.js";
import { jsonObject, wholeNumber } from "../values.js";

const MODES: readonly SearchMode[] = ["lexical", "semantic", "hybrid"];
const ROLE_TYPES: readonly RoleType[] = ["system", "assistant", "user", "function", "tool"];

interface Options {
  session?: string;
  user?: string;
  metadata?: JsonObject;
  role?: RoleType[];
  limit: number;
  neighbors: number;
  mode?: SearchMode;
  json?: boolean;
}

export function addSearch(program: Command, context: Context): void {
  program
    .command("search")
    .description("find messages in a session, or in all sessions of a user")
    .argument("[text]", "what to look for, in the words of a question or of an answer", "")
    .addOption(new Option("--session <id>", "the session to search in").conflicts("user"))
    .option("--user <id>", "the user in all of whose sessions to search")
    .option("--metadata <json>", "only messages whose metadata contains this object", jsonObject)
    .addOption(new Option("--role <type...>", "only messages of these kinds of speaker").choices(ROLE_TYPES))
    .option("--limit <n>", "how many at most", wholeNumber(1, 100), 10)
    .option("--neighbors <n>", "how many messages around each to show", wholeNumber(0, 10), 0)
    .addOption(new Option("--mode <mode>", "how to compare; default: the best that the service has").choices(MODES))
    .option("--json", "one JSON object a line")
    .action(async (text: string, options: Options) => {
      const { session: sessionId, user: userId, metadata, role: roleTypes, limit, neighbors, mode } = options;
      const { results } = await context
        .connect()
        .searchMemory(
          { text, sessionId, userId, metadata, roleTypes, limit, neighbors, mode },
          { signal: context.signal },
        );
      if (options.json) {
        for (const result of results) await context.print(jsonLine(jsonOfSearchResult(result)));
        return;
      }
      if (results.length === 0) {
        await context.print("Nothing was found.\n");
        return;
      }
      if (neighbors === 0) {
        await context.print(searchTable(results));
        return;
      }
      for (const { before, message, after } of results) {
        await context.print(`session ${printable(message.sessionId)}\n`);
        for (const one of [...before, message, ...after]) await context.print(messageText(one));
      }
    });
}
