/** What happens in this room, for whoever counts it. */
export interface StoreObserver {
  /** A group of calls has been at the database together for so many seconds. */
  groupEnded(kind: GroupKind, calls: number, seconds: number): void;
  /**
   * Something was asked of what this process knows: of sessions their newest messages, or how a change may be decided; of scopes their
   * indexes.
   */
  cacheAsked(of: "memory" | "state" | "index", outcome: CacheOutcome, times: number): void;
  erased(kind: "sessions" | "messages" | "users", count: number): void;
}

export type GroupKind = "commit" | "memory_read" | "session_read" | "search";

/** Partial: it was right as far as it went. Stale: the database has shown that it was so no more. */
export type CacheOutcome = "hit" | "partial" | "stale" | "miss";

export const UNOBSERVED: StoreObserver = {
  groupEnded() {},
  cacheAsked() {},
  erased() {},
};
