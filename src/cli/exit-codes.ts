import { type ErrorCode, SessionsClientError } from "../client/index.js";

/** What the process ends with. */
export const EXIT = { ok: 0, failed: 1, usage: 2, notFound: 3, interrupted: 130 } as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

export const EXIT_CODES_HELP = `
Exit codes:
  0    done
  1    failed, or some lines of an import did
  2    the command line, or a value in it, is not valid
  3    no such session, message or key
  130  interrupted
`;

/** A mistake in the command line that the parser cannot see. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

const BY_CODE: Partial<Record<ErrorCode, ExitCode>> = {
  INVALID_ARGUMENT: EXIT.usage,
  NOT_FOUND: EXIT.notFound,
};

export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof UsageError) return EXIT.usage;
  return (error instanceof SessionsClientError && BY_CODE[error.code]) || EXIT.failed;
}

/** One line for people. A call that did not come through is told with the address, which is what is wrong most often. */
export function describe(error: unknown, address: string): string {
  const message = (error instanceof Error ? error.message : String(error)).split("\n", 1)[0] ?? "";
  if (error instanceof SessionsClientError && error.code === "UNAVAILABLE" && error.reason === undefined) {
    // grpc-js ends this message with a note that is empty as a rule.
    return `cannot reach the service at ${address}: ${message.replace(/\.? Resolution note: *$/, "")}`;
  }
  if (error instanceof SessionsClientError && error.metadata.credential === "none") {
    return "the service takes calls with a key only: give --key-file, or SESSIONS_KEY";
  }
  return message;
}
