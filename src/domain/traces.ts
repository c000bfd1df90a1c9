/**
 * Follows calls through the house, for whoever wants to see where their time goes; see observability/traces.ts. It is told what is done, never
 * what is said or about whom: no content, no metadata, no ids. Where nobody wants to see it there is none, and nothing is done for it.
 *
 * What is begun while a call is `run` is that call's, however many others are under way.
 */
export interface Traces {
  /** Follows a call from now on, as a part of what its headers say that it is a part of. */
  call(call: FollowedCall): CallTrace;
  /** Notes that the call that is run joins others in what is done for all of them together. Undefined when no call is. */
  join(work: string): Place | undefined;
  /** Runs what is done for all that have joined. */
  together<T>(work: string, places: readonly (Place | undefined)[], run: () => Promise<T>): Promise<T>;
  /** Notes that a command is sent to the database. What it returns is to be called with the outcome. Undefined when no call is run. */
  command(command: Command): ((failure?: unknown) => void) | undefined;
}

export interface FollowedCall {
  /** `/sessions.v1.SessionService/GetSession` */
  readonly path: string;
  /** In what it is called: a protocol of the API's own, or a route of HTTP that comes down to such a call. */
  readonly protocol: "grpc" | "connect" | HttpRoute;
  /** What its caller has sent beside the request. */
  header(name: string): string | undefined;
}

export interface HttpRoute {
  readonly method: string;
  /** With names in place of what differs from call to call: `/api/v1/sessions/:sessionId` */
  readonly route: string;
  /** How an answer with this code is told. */
  status(code: string): number;
}

export interface CallTrace {
  run<T>(act: () => T): T;
  /** With the code of its answer. */
  end(code: string): void;
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
