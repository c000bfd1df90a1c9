import { hasKey, type JsonObject, setKey } from "../../domain/json.js";

/**
 * An update of metadata without what is reserved in it: the legacy server keeps the top-level key `system` for what it finds out itself,
 * so that no PATCH of a session or a message changes it.
 */
export function withoutSystem(metadata: JsonObject | undefined): JsonObject | undefined {
  if (metadata === undefined || !hasKey(metadata, "system")) return metadata;
  const rest: JsonObject = {};
  for (const [key, value] of Object.entries(metadata)) if (key !== "system") setKey(rest, key, value);
  return rest;
}
