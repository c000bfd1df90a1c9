import type { Document } from "mongodb";
import type { SessionRecord } from "../../domain/records.js";

/**
 * A change may be decided on what is known of a session, without reading it first, as long as its write holds on to what it was
 * decided on: another process may have changed the session since.
 */

/**
 * The update that sets these fields of a session, and changes nothing when one of those differs that adding to its memory depends on.
 * As a pipeline, because a filter with more than `_id` costs the database twice as much: it has to be planned.
 */
export function setIfAsKnown(known: SessionRecord, fields: Partial<SessionRecord>): Document[] {
  const holds = [
    ...(["epoch", "lastSequence", "messageCount"] as const).map((name) => ({
      $eq: [`$${name}`, { $literal: known[name] }],
    })),
    { $eq: ["$deleted", false] },
    { $eq: [{ $type: "$purging" }, "missing"] },
    // What is added moves the moment at which the session expires by this.
    known.idleTtlMs === undefined
      ? { $eq: [{ $type: "$idleTtlMs" }, "missing"] }
      : { $eq: ["$idleTtlMs", { $literal: known.idleTtlMs }] },
  ];
  return [
    { $replaceWith: { $cond: [{ $and: holds }, { $mergeObjects: ["$$ROOT", { $literal: fields }] }, "$$ROOT"] } },
  ];
}

/** Whether {@link setIfAsKnown} would set them. */
export function isAsKnown(known: SessionRecord, stored: SessionRecord | undefined): boolean {
  return (
    stored !== undefined &&
    stored.epoch === known.epoch &&
    stored.lastSequence === known.lastSequence &&
    stored.messageCount === known.messageCount &&
    stored.idleTtlMs === known.idleTtlMs &&
    !stored.deleted &&
    !stored.purging
  );
}
