import type { Command } from "commander";
import { confirm } from "../confirm.js";
import type { Context } from "../context.js";
import { EXIT } from "../exit-codes.js";
import { jsonLine, jsonOfMessage } from "../json.js";
import { printable } from "../tables.js";

interface Options {
  content: string;
  withoutMetadata?: boolean;
  yes?: boolean;
  json?: boolean;
}

export function addRedact(program: Command, context: Context): void {
  program
    .command("redact")
    .description("erase, for good, what a message says, and its payload; the message itself stays in its place")
    .argument("<session>")
    .argument("<message>", "its id, as show --json and search --json tell it")
    .option("--content <text>", "what it says from now on", "")
    .option("--without-metadata", "erase its metadata, too")
    .option("--yes", "do not ask")
    .option("--json", "the message as it is then, as one JSON object")
    .action(async (sessionId: string, messageId: string, { content, withoutMetadata, yes, json }: Options) => {
      const which = `message ${printable(messageId)} of session ${printable(sessionId)}`;
      if (!(await confirm(context, `Erase for good what ${which} says?`, yes))) {
        context.complain("nothing was erased");
        context.setExitCode(EXIT.failed);
        return;
      }
      const nothing = { payload: new Uint8Array(), payloadType: "" };
      const metadata = withoutMetadata ? ({ metadata: {}, metadataMode: "replace" } as const) : {};
      const message = await context
        .connect()
        .updateMessage({ sessionId, messageId, content, ...nothing, ...metadata }, { signal: context.signal });
      await context.print(json ? jsonLine(jsonOfMessage(message)) : `Erased what ${which} said.\n`);
    });
}
