#!/usr/bin/env node
import { once } from "node:events";
import { CommanderError } from "commander";
import { createClient, type SessionsClient } from "../client/index.js";
import type { Connection } from "./connection.js";
import type { Context } from "./context.js";
import { describe, EXIT, type ExitCode, exitCodeOf } from "./exit-codes.js";
import { buildProgram } from "./program.js";
import { printable } from "./tables.js";

/** The process: arguments, environment, signals, streams, exit code. */

/** People wait at most a second or so for a service that is not there; an import waits longer. */
const MAX_RETRIES = 3;

async function run(args: readonly string[], env: NodeJS.ProcessEnv): Promise<ExitCode> {
  const interrupted = new AbortController();
  const interrupt = (): void => interrupted.abort();
  const clients: SessionsClient[] = [];
  let connection: Connection = { address: "" };
  let exitCode: ExitCode = EXIT.ok;
  // A second interrupt finds the default again, and ends the process at once.
  process.once("SIGINT", interrupt);

  const context: Context = {
    connect(retries = { maxRetries: MAX_RETRIES }) {
      const client = createClient({ ...connection, retries });
      clients.push(client);
      return client;
    },
    stdin: process.stdin,
    stderr: process.stderr,
    async print(text) {
      if (!process.stdout.write(text)) await once(process.stdout, "drain");
    },
    complain,
    signal: interrupted.signal,
    interrupt,
    setExitCode(code) {
      exitCode = code;
    },
  };
  const program = buildProgram(context, env, (chosen) => {
    connection = chosen;
  });

  try {
    await program.parseAsync(args, { from: "user" });
    return interrupted.signal.aborted ? EXIT.interrupted : exitCode;
  } catch (error) {
    // Commander has told its own errors already; asking for help is none.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    if (interrupted.signal.aborted) return EXIT.interrupted;
    complain(describe(error, connection.address));
    return exitCodeOf(error);
  } finally {
    for (const client of clients) client.close();
    process.off("SIGINT", interrupt);
  }
}

function complain(line: string): void {
  process.stderr.write(`sessions: ${printable(line)}\n`);
}

// Who reads this output has read enough, as in `sessions list | head`.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(EXIT.ok);
  throw error;
});

// A key among the arguments is for nobody who lists the processes of the machine.
const args = process.argv.slice(2);
process.title = "sessions";
// What Node has to say about the libraries is not for people at a terminal.
process.noDeprecation = true;

process.exit(await run(args, process.env));
