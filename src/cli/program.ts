import { Command } from "commander";
import { addConnectionOptions, type Connection, readConnection } from "./connection.js";
import type { Context } from "./context.js";
import { addDelete } from "./delete-command.js";
import { addErasures } from "./erasures-command.js";
import { EXIT_CODES_HELP } from "./exit-codes.js";
import { addExport } from "./export-command.js";
import { addFork } from "./fork-command.js";
import { addImport } from "./import-command.js";
import { addKeys } from "./keys-command.js";
import { addList } from "./list-command.js";
import { addPurge } from "./purge-command.js";
import { addRedact } from "./redact-command.js";
import { addRestore } from "./restore-command.js";
import { addRewind } from "./rewind-command.js";
import { addSearch } from "./search-command.js";
import { addShow } from "./show-command.js";
import { addWatch } from "./watch-command.js";

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
