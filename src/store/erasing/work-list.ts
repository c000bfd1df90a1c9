import type { UpdateFilter } from "mongodb";
import type { RetiredEpoch, SessionRecord } from "../../domain/records.js";

/** A session's work list after a step. When it is empty, a deleted session may go: the TTL index erases it at its time. */
export function withWorkList(
  { deleted, purging, purgeTime }: Pick<SessionRecord, "deleted" | "purging" | "purgeTime">,
  rest: readonly RetiredEpoch[],
): UpdateFilter<SessionRecord> {
  if (rest.length > 0) return { $set: { retired: rest } };
  const mayGo = deleted && !purging && purgeTime;
  return { $unset: { retired: true }, ...(mayGo && { $set: { expireAt: purgeTime } }) };
}
