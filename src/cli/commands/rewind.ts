import type { Command } from "commander";
import { confirm } from "../confirm.js";
import type { Context } from "../context.js";
import { EXIT, UsageError } from "../exit-codes.js";
import { jsonLine, jsonOfMessage, jsonOfSession } from "../json.js";
import { printable } from "../tables.js";
import { wholeNumber } from "../values.js";

interface Options {
  after?: number;
  afterMessage?: string;
  yes?: boolean;
  json?: boolean;
}

export function addRewind(program: Command, context: Context): void {
  program
    .command("rewind")
    .description("take away the last messages of a session, at most 1000, and a summary that covers any of them")
    .argument("<session>")
    .option("--after <n>", "the number of the last message that stays, as show tells it; 0: none", wholeNumber(0, MAX))
    .option("--after-message <id>", "the id of the last message that stays")
    .option("--yes", "do not ask")
    .option("--json", "what was taken away, and the session, as one JSON object")
    .action(async (sessionId: string, { after, afterMessage, yes, json }: Options) => {
      if ((after === undefined) === (afterMessage === undefined)) {
        throw new UsageError("say what stays with either --after or --after-message");
      }
      const last = afterMessage === undefined ? `#${after}` : `message ${printable(afterMessage)}`;
      if (!(await confirm(context, `Take away what session ${printable(sessionId)} has after ${last}?`, yes))) {
        context.complain("nothing was taken away");
        context.setExitCode(EXIT.failed);
        return;
      }
      const target = { afterSequence: after, afterMessageId: afterMessage };
      const { messages, session, rewoundMessages, truncated } = await context
        .connect()
        .rewindMemory({ sessionId, ...target }, { signal: context.signal });
      await context.print(
        json
          ? jsonLine({
              rewound_messages: rewoundMessages,
              messages: messages.map(jsonOfMessage),
              truncated,
              session: jsonOfSession(session),
            })
          : `Took ${rewoundMessages} messages away from ${printable(sessionId)}; it has ${session.messageCount} left.\n`,
      );
    });
}

const MAX = 9_999_999_999;
