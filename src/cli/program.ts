import { Command } from "commander";
import { addDelete } from "./commands/delete.js";
import { addErasures } from "./commands/erasures.js";
import { addFork } from "./commands/fork.js";
import { addKeys } from "./commands/keys.js";
import { addList } from "./commands/list.js";
import { addPurge } from "./commands/purge.js";
import { addRedact } from "./commands/redact.js";
import { addRestore } from "./commands/restore.js";
import { addRewind } from "./commands/rewind.js";
import { addSearch } from "./commands/search.js";
import { addShow } from "./commands/show.js";
import { addWatch } from "./commands/watch.js";
import { addConnectionOptions, type Connection, readConnection } from "./connection.js";
import type { Context } from "./context.js";
import { EXIT_CODES_HELP } from "./exit-codes.js";
import { addExport } from "./export/command.js";
import { addImport } from "./import/command.js";

/** The whole command line. `setConnection` is told before any command runs. */
export function buildProgram(
  context: Context,
  env: Readonly<Record<string, string | undefined>>,
  setConnection: (connection: Connection) => void,
): Command {
  const program = new Command("sessions")
    .description("Looks after the sessions of a sessions service: their metadata and their memory.")
    .configureOutput({
      outputError: (text, write) =>
        write(
          `${text
            .trim()
            .replace(/^error: /, "sessions: ")
            .replaceAll("\n", " ")}\n`,
        ),
    })
    .addHelpText("after", EXIT_CODES_HELP)
    // Instead of ending the process: what was opened has to be closed first.
    .exitOverride();
  addConnectionOptions(program);
  program.hook("preAction", () => setConnection(readConnection(program.opts(), env)));
  for (const add of [
    addImport,
    addExport,
    addList,
    addShow,
    addSearch,
    addWatch,
    addFork,
    addRewind,
    addRedact,
    addDelete,
    addRestore,
    addPurge,
    addErasures,
    addKeys,
  ])
    add(program, context);
  return program;
}
