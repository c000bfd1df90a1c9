import type { MessageRecord } from "../../domain/records.js";
import type { RawDocument } from "../../store/raw.js";

/** A message that was found, with those next to it. */
export interface Found {
  readonly score: number;
  readonly message: RawDocument<MessageRecord>;
  /** Oldest first. */
  readonly before: readonly RawDocument<MessageRecord>[];
  readonly after: readonly RawDocument<MessageRecord>[];
}
