/** What every operation knows of the call on whose behalf it runs. */
export interface Call {
  /** The project whose data the call may touch. */
  readonly project: string;
  /** Aborted when the client has gone or the server stops. */
  readonly signal: AbortSignal;
  /** When the answer has to be there, in milliseconds since 1970; Infinity without a deadline. */
  readonly deadline: number;
  /** Names the call in the log, and in an INTERNAL error. */
  readonly requestId: string;
}
