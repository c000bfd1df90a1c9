import { type Command, Option } from "commander";
import type { Message, SessionsClient, WindowStart } from "../../client/index.js";
import type { Context } from "../context.js";
import { jsonLine, jsonOfMessage, jsonOfSession, jsonOfSummary } from "../json.js";
import { messageText, sessionDetails } from "../tables.js";
import { MAX_INT32, wholeNumber } from "../values.js";

interface Options {
  last: number;
  maxTokens?: number;
  windowStart?: WindowStart;
  all?: boolean;
  json?: boolean;
}

export function addShow(program: Command, context: Context): void {
  program
    .command("show")
    .description("show a session, its summary and its messages")
    .argument("<session>")
    .addOption(new Option("--last <n>", "only the newest n messages").argParser(wholeNumber(1, 1000)).default(50))
    .addOption(
      new Option("--max-tokens <n>", "of those the newest that have at most so many tokens with the summary").argParser(
        wholeNumber(1, MAX_INT32),
      ),
    )
    .addOption(
      new Option("--window-start <where>", "where they may begin; messages before that are left out").choices([
        "any",
        "whole-tool-calls",
        "user",
      ]),
    )
    .addOption(new Option("--all", "all messages").conflicts(["last", "maxTokens", "windowStart"]))
    .option("--json", "one JSON object, which import reads")
    .action(async (sessionId: string, options: Options) => {
      const client = context.connect();
      const callOptions = { signal: context.signal };
      const { last, maxTokens, windowStart } = options;
      const lastN = options.all ? 1 : last;
      const memory = await client.getMemory({ sessionId, lastN, maxTokens, windowStart }, callOptions);
      // An empty memory may be that of a session that is not there; this call says so.
      const session = memory.session ?? (await client.getSession({ sessionId }, callOptions));
      const messages =
        options.all || (memory.truncated && maxTokens === undefined && windowStart === undefined)
          ? await listed(client, sessionId, options.all ? 0 : last, context.signal)
          : memory.messages;
      if (options.json) {
        const json = {
          ...jsonOfSession(session),
          summary: memory.summary && jsonOfSummary(memory.summary),
          messages: messages.map(jsonOfMessage),
        };
        await context.print(jsonLine(json));
        return;
      }
      await context.print(sessionDetails(session, memory.summary));
      for (const message of messages) await context.print(messageText(message));
    });
}

/** The newest so many messages, or all of them: more than one answer holds. */
async function listed(
  client: SessionsClient,
  sessionId: string,
  limit: number,
  signal: AbortSignal,
): Promise<readonly Message[]> {
  const { items } = await client
    .listMessages({ sessionId, limit, descending: limit > 0, chunkSize: 1000 }, { signal })
    .page();
  return limit > 0 ? [...items].reverse() : items;
}
