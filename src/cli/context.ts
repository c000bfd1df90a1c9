import type { Readable } from "node:stream";
import type { RetryOptions, SessionsClient } from "../client/index.js";
import type { ExitCode } from "./exit-codes.js";

/** What a command has of the process that it runs in. */
export interface Context {
  /** A client for the address of the command line; closed when the command has ended. */
  connect(retries?: Partial<RetryOptions>): SessionsClient;
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stderr: NodeJS.WriteStream;
  /** Resolves when there is room for more. */
  print(text: string): Promise<void>;
  complain(line: string): void;
  /** Aborted by an interrupt; every call ends with it. */
  readonly signal: AbortSignal;
  /** As an interrupt does, for prompts that take the key themselves. */
  interrupt(): void;
  /** For commands that go on after a failure. */
  setExitCode(code: ExitCode): void;
}
