import type { UpdateFilter } from "mongodb";

/** The update that turns one record into another: the fields that differ, and nothing else. Undefined when none does. */
export function changes<R extends object>(before: R, after: R): UpdateFilter<R> | undefined {
  const set: Record<string, unknown> = {};
  const unset: Record<string, true> = {};
  for (const key of new Set([...Object.keys(before), ...Object.keys(after)]) as Set<keyof R & string>) {
    if (Object.is(before[key], after[key])) continue;
    if (after[key] === undefined) unset[key] = true;
    else set[key] = after[key];
  }
  const update = {
    ...(Object.keys(set).length > 0 && { $set: set }),
    ...(Object.keys(unset).length > 0 && { $unset: unset }),
  };
  return Object.keys(update).length > 0 ? (update as UpdateFilter<R>) : undefined;
}
