import { MetadataMode } from "../../gen/sessions/v1/resources.js";
import type { RequestOf, UnaryName } from "./methods.js";

/**
 * Which calls are tried again after UNAVAILABLE, when nobody can tell whether the first try took effect. (After OVERLOADED
 * and RATE_LIMITED it is known that nothing was done, and all are.) A call is, when
 * doing it twice (1) has the effect of doing it once, (2) answers as doing it once, and (3) touches nothing but what the
 * call itself names, should somebody else have written in between.
 *
 * | Call | Tried again | Why |
 * |---|---|---|
 * | every get, batchGet, list and search | yes | reads; a listing resumes after its last chunk |
 * | addMemory with messages | yes | every message has an id, and the service knows a repetition |
 * | addMemory without messages | no | nothing to know a repetition by; could undelete what was deleted in between |
 * | updateSession, updateUser, updateMessage | merge and merge-patch without etag | after a success that got lost, the etag is no longer the current one; replace would drop keys that others merged in between |
 * | setSummary | yes | the latest one counts, and one that reaches further stays |
 * | deleteSession | with allowMissing | else the repetition is NOT_FOUND |
 * | createSession, createUser | no | the repetition is ALREADY_EXISTS |
 * | forkSession | no | the repetition is ALREADY_EXISTS, or, without an id of the caller's own, another session |
 * | undeleteSession, undeleteUser | no | the repetition is ALREADY_EXISTS |
 * | deleteMessage, deleteUser, purgeSession, purgeUser | no | the repetition is NOT_FOUND |
 * | rewindMemory | no | the repetition does not find what was taken away, and answers without it; could take away what was added in between |
 * | clearMemory | no | would clear what was added in between, for good |
 * | purgeDeleted | with dryRun | else the counts are lost, and what was deleted in between could go |
 * | createKey | no | the repetition is another key |
 * | revokeKey | yes | a key that is revoked already stays as it is |
 */
export interface Policy<Request> {
  readonly retries: (request: Request) => boolean;
  /** Whether the work grows with what is stored, so that the client's default deadline does not apply. */
  readonly unbounded?: true;
}

/** Whatever is in the request. */
export const always = () => true;
const never = () => false;

const onlyMerges = ({ etag = "", metadataMode }: { etag?: string; metadataMode: MetadataMode }) =>
  etag === "" && metadataMode !== MetadataMode.METADATA_MODE_REPLACE;

export const POLICIES: { readonly [Name in UnaryName]: Policy<RequestOf<Name>> } = {
  createSession: { retries: never },
  getSession: { retries: always },
  batchGetSessions: { retries: always },
  updateSession: { retries: onlyMerges },
  deleteSession: { retries: ({ allowMissing }) => allowMissing },
  undeleteSession: { retries: never, unbounded: true },
  purgeSession: { retries: never, unbounded: true },
  forkSession: { retries: never, unbounded: true },

  addMemory: { retries: ({ messages }) => messages.length > 0 && messages.every(({ messageId }) => messageId) },
  getMemory: { retries: always },
  getMessage: { retries: always },
  updateMessage: { retries: onlyMerges },
  deleteMessage: { retries: never },
  rewindMemory: { retries: never },
  clearMemory: { retries: never },
  setSummary: { retries: always },
  searchMemory: { retries: always },

  createUser: { retries: never },
  getUser: { retries: always },
  updateUser: { retries: onlyMerges },
  deleteUser: { retries: never, unbounded: true },
  undeleteUser: { retries: never, unbounded: true },
  purgeUser: { retries: never, unbounded: true },

  purgeDeleted: { retries: ({ dryRun }) => dryRun, unbounded: true },

  createKey: { retries: never },
  revokeKey: { retries: always },
};
