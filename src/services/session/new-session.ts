import { randomUUID } from "node:crypto";
import type { Call } from "../../domain/call.js";
import type { Expiry } from "../../domain/expiry.js";
import type { JsonObject } from "../../domain/json.js";
import { keyOf } from "../../domain/keys.js";
import { newId } from "../../domain/new-id.js";
import type { NewSession } from "../../domain/session.js";
import { ownerFor } from "../reach.js";
import { findableMetadata } from "./session-metadata.js";

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
