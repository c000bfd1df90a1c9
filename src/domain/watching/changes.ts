/** What the database's log tells of a change, as far as it says what has happened to sessions. */

/** A place in the database's log: that of the one commit that is there. */
export type LogTime = bigint;

/** All that was committed at one time. */
export interface Moment {
  readonly time: LogTime;
  /** The same by the clock, in milliseconds since 1970. */
  readonly clock: number;
  /** What was committed together: on a replica set there is one at a time. */
  readonly transactions: readonly (readonly Change[])[];
}

export type Change = SessionChange | MessageAdded | MessageChanged;

/** Of a session's document. */
export type SessionChange =
  | { readonly kind: "session inserted"; readonly session: string; readonly deleted: boolean }
  | {
      readonly kind: "session updated";
      readonly session: string;
      /** The fields that have another value now, and those that are gone. */
      readonly set: ReadonlySet<string>;
      readonly unset: ReadonlySet<string>;
      /** The new value, where it has one. */
      readonly deleted: boolean | undefined;
    }
  | { readonly kind: "session removed"; readonly session: string };

export interface MessageAdded extends MessageRef {
  readonly kind: "message added";
  readonly session: string;
  readonly sequence: number;
}

/** A message's document does not say whose it is when it changes: its epoch does. */
export interface MessageChanged extends MessageRef {
  readonly kind: "message updated" | "message deleted";
}

export interface MessageRef {
  readonly epoch: string;
  readonly messageId: string;
  /** About how much it is on the wire, where that is known. */
  readonly bytes: number;
}
