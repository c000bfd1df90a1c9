/** What of a message its search needs. */
export interface SearchableMessage {
  /** Whatever names its session among those of the scope. */
  readonly session: string;
  readonly sequence: number;
  /** Which state of the message this is: another number after each change of it. */
  readonly version: number;
  readonly role: string;
  readonly roleType: number;
  readonly content: string;
  /** In milliseconds since 1970. */
  readonly createTime: number;
  /** Terms of its metadata, or whatever else a filter may ask for. They are not part of the text. */
  readonly terms?: readonly string[];
}

/** Which messages may be hits. Those that may not still count as context of others. */
export interface Filter {
  /** Any of these; empty or undefined for all. */
  readonly roleTypes?: readonly number[];
  /** In milliseconds since 1970, itself excluded. */
  readonly createdAfter?: number;
  /** In milliseconds since 1970, itself excluded. */
  readonly createdBefore?: number;
  /** The message has all of these among its `terms`, or the one that stands for any. */
  readonly terms?: readonly string[];
  readonly anyTerm?: string;
}

export interface Hit {
  readonly session: string;
  readonly sequence: number;
  /** Larger is better. Comparable within one answer only; 0 when there was no text to compare with. */
  readonly score: number;
  /** The sequences of the messages next to it in its session, oldest first. */
  readonly before: readonly number[];
  readonly after: readonly number[];
}
