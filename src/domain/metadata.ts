import { isDeepStrictEqual } from "node:util";
import { hasKey, isObject, type JsonObject, type JsonValue, setKey } from "./json.js";

/** How an update applies the metadata that it carries; see `sessions.v1.MetadataMode`. */
export type MetadataMode = "merge" | "merge-patch" | "replace";

/** The metadata after an update. Neither argument is changed. */
export function applyMetadata(current: JsonObject, update: JsonObject, mode: MetadataMode): JsonObject {
  if (mode === "replace") return update;
  return merge(current, update, mode === "merge-patch");
}

/** Objects merge key by key, all else is replaced. As a patch (RFC 7396), null removes the key. */
function merge(current: JsonValue | undefined, update: JsonObject, nullRemoves: boolean): JsonObject {
  const merged: JsonObject = {};
  if (isObject(current)) for (const key of Object.keys(current)) setKey(merged, key, current[key] as JsonValue);
  for (const key of Object.keys(update)) {
    const value = update[key] as JsonValue;
    if (value === null && nullRemoves) delete merged[key];
    else if (isObject(value)) {
      setKey(merged, key, merge(hasKey(merged, key) ? merged[key] : undefined, value, nullRemoves));
    } else setKey(merged, key, value);
  }
  return merged;
}

/**
 * Whether `value` contains `part`: an object contains another when it has each of its keys with a value that contains the
 * other's, an array when for each element of the other it has one that contains it, a scalar when they are equal. Callers
 * read this rule at `sessions.v1.ListSessionsRequest.metadata`.
 */
export function contains(value: JsonValue, part: JsonValue): boolean {
  if (isObject(part)) {
    return (
      isObject(value) &&
      Object.keys(part).every((key) => hasKey(value, key) && contains(value[key] as JsonValue, part[key] as JsonValue))
    );
  }
  if (Array.isArray(part)) {
    return Array.isArray(value) && part.every((element) => value.some((candidate) => contains(candidate, element)));
  }
  return value === part;
}

/** Whether two metadata say the same, whatever the order of their keys. */
export function sameMetadata(a: JsonObject, b: JsonObject): boolean {
  return isDeepStrictEqual(a, b);
}

/** Its JSON with sorted keys: the same for the same metadata, in whatever order a client has sent it. */
export function canonicalJson(value: JsonValue): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (!isObject(value)) return JSON.stringify(value);
  const entries = Object.keys(value).sort();
  return `{${entries.map((key) => `${JSON.stringify(key)}:${canonicalJson(value[key] as JsonValue)}`).join(",")}}`;
}

/** How many levels of objects and arrays a value has; a scalar has none. Counts no further than to `enough`. */
export function depthOf(value: JsonValue, enough: number): number {
  if (value === null || typeof value !== "object" || enough === 0) return 0;
  let deepest = 0;
  for (const inner of Object.values(value)) deepest = Math.max(deepest, depthOf(inner, enough - 1));
  return deepest + 1;
}

/** Whether every number in it is one that JSON can write: neither NaN nor infinite. */
export function isFiniteJson(value: JsonValue): boolean {
  if (typeof value === "number") return Number.isFinite(value);
  if (value === null || typeof value !== "object") return true;
  return Object.values(value).every(isFiniteJson);
}
