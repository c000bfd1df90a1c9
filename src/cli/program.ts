import { Command } from "commander";
import type { Context } from "./context.js";
import { addDelete } from "./delete-command.js";
import { EXIT_CODES_HELP } from "./exit-codes.js";
import { addImport } from "./import-command.js";
import { addList } from "./list-command.js";
import { addPurge } from "./purge-command.js";
import { addRestore } from "./restore-command.js";
import { addShow } from "./show-command.js";

/** The whole command line. `setAddress` is told before any command runs. */
export function buildProgram(context: Context, defaultAddress: string, setAddress: (address: string) => void): Command {
  const program = new Command("sessions")
    .description("Looks after the sessions of a sessions service: their metadata and their memory.")
    .option("--address <host:port>", "where the service listens; also SESSIONS_ADDRESS", defaultAddress)
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
  program.hook("preAction", () => setAddress(program.opts<{ address: string }>().address));
  for (const add of [addImport, addList, addShow, addDelete, addRestore, addPurge]) add(program, context);
  return program;
}
