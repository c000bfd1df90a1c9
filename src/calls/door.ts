/** A way into the service for those who call it. */
export interface Door {
  /** Where it listens, with the port that it really has. */
  readonly address: string;
  /** Takes no more calls. Resolves when those under way are over. */
  drain(): Promise<void>;
  /** Ends what is left. */
  close(): void;
}

export interface Address {
  readonly host: string;
  readonly port: number;
}
