import type { MetadataMode } from "../../../gen/sessions/v1/resources.js";
import type { Call } from "../../domain/call.js";
import type { JsonObject } from "../../domain/json.js";
import { indexTerms } from "../../domain/metadata-terms.js";
import type { SessionRecord } from "../../domain/records.js";
import type { MetadataChange } from "../../domain/session.js";
import { metadataUpdate, storedMetadata } from "../convert.js";

/** A session's metadata as it is stored, with what it can be found by. */
export function findableMetadata(
  project: string,
  metadata: JsonObject,
): Pick<SessionRecord, "metadata" | "terms"> & {
  metadata: Uint8Array | undefined;
  terms: readonly string[] | undefined;
} {
  const bytes = storedMetadata(metadata);
  return { metadata: bytes, terms: bytes && indexTerms(project, metadata) };
}

/** How the update in a field changes a session's metadata; undefined when there is none. */
export function sessionMetadataChange(
  { project }: Call,
  field: string,
  update: JsonObject | undefined,
  mode: MetadataMode,
): MetadataChange | undefined {
  const apply = metadataUpdate(update, mode, field);
  return apply && ((current) => findableMetadata(project, apply(current)));
}
