import { randomUUID } from "node:crypto";
import type { Call } from "../domain/call.js";
import type { Expiry } from "../domain/expiry.js";
import type { JsonObject } from "../domain/json.js";
import { keyOf } from "../domain/keys.js";
import { indexTerms } from "../domain/metadata-terms.js";
import { newId } from "../domain/new-id.js";
import type { SessionRecord } from "../domain/records.js";
import type { NewSession } from "../domain/session.js";
import { storedMetadata } from "./convert.js";
import { ownerFor } from "./reach.js";

/** Makes what is needed to create a session, for all that may create one. */
export type MakeSession = (
  call: Call,
  sessionId: string,
  says: {
    readonly userId: string | undefined;
    readonly metadata: JsonObject | undefined;
    /** Undefined: what sessions get that say nothing. */
    readonly expiry: Expiry | undefined;
  },
) => NewSession;

export function createMakeSession(defaultIdleTtlMs: number | undefined): MakeSession {
  const defaultExpiry = defaultIdleTtlMs === undefined ? undefined : { idleMs: defaultIdleTtlMs };
  return (call, sessionId, { userId, metadata = {}, expiry = defaultExpiry }) => {
    const { project } = call;
    const owner = ownerFor(call, userId);
    return {
      key: keyOf(project, sessionId),
      project,
      uid: randomUUID(),
      epoch: newId(),
      user: owner === undefined ? undefined : keyOf(project, owner),
      ...findableMetadata(project, metadata),
      expiry,
    };
  };
}

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
