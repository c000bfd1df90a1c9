/**
 * Follows calls through the house, for whoever wants to see where their time goes; see observability/traces.ts. It is told what is done, never
 * what is said or about whom: no content, no metadata, no ids. Where nobody wants to see it there is none, and nothing is done for it.
 *
 * What is begun while a call is `run` is that call's, however many others are under way.
 */
export interface Traces {
  /** Follows a call from now on, as a part of what its headers say that it is a part of. */
  call(name: CallName, header: (name: string) => string | undefined): CallTrace;
  /** Notes that the call that is run joins others in what is done for all of them together. Undefined when no call is. */
  join(work: string): Place | undefined;
  /** Runs what is done for all that have joined. */
  together<T>(work: string, places: readonly (Place | undefined)[], run: () => Promise<T>): Promise<T>;
  /** Notes that a command is sent to the database. What it returns is to be called with the outcome. Undefined when no call is run. */
  command(command: Command): ((failure?: unknown) => void) | undefined;
}

/** A method of the API, by the protocol that it is called in, or a route of HTTP. */
export type CallName =
  | { readonly protocol: "grpc" | "connect"; readonly path: string }
  | { readonly protocol: "http"; readonly method: string; readonly route: string };

export interface CallTrace {
  run<T>(act: () => T): T;
  /** With the name of the code of its answer, or the status of HTTP. */
  end(code: string | number): void;
}

/** One of those who have joined. */
export interface Place {
  /** Runs what is done for this one alone. */
  run<T>(act: () => T): T;
  leave(): void;
}

export interface Command {
  readonly name: string;
  readonly database: string;
  /** Undefined when it is about none. */
  readonly collection: string | undefined;
  /** The server's, host and port. */
  readonly address: string;
}
