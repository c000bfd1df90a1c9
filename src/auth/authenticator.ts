import { timingSafeEqual } from "node:crypto";
import { unauthenticated } from "../domain/errors.js";
import { idOf } from "../domain/keys.js";
import { ANYBODY, type Principal } from "../domain/principal.js";
import type { KeyRecord } from "../domain/records.js";
import type { KeyCache } from "./key-cache.js";
import { hashOf, isWellFormed, looksLikeKey } from "./keys.js";

/**
 * Who calls, by what they show: all values of `authorization` that a call has. At once, where nobody has to be asked. Throws, or
 * rejects with, UNAUTHENTICATED, or UNAVAILABLE when nobody can tell.
 */
export type Authenticate = (authorization: readonly string[]) => Principal | Promise<Principal>;

export interface Credentials {
  /** What API keys are looked up in; undefined where none are taken. */
  readonly keys: KeyCache | undefined;
  /** The first admin's secret. */
  readonly adminKey: string | undefined;
  /** Whom a token speaks for; undefined where none are taken. */
  readonly readToken: ((token: string) => Promise<Principal>) | undefined;
  /** About what the database's clock says. */
  readonly now: () => Date;
}

/** No key and no sensible token is longer; what is longer is not even looked at. */
const MAX_CHARACTERS = 8 * 1024;

/** What the log calls the one key that is no document. */
export const ADMIN_KEY_ID = "admin-key-file";

export function createAuthenticator({ keys, adminKey, readToken, now }: Credentials): Authenticate {
  const admin = adminKey === undefined ? undefined : Buffer.from(hashOf(adminKey));

  const principalOf = (key: KeyRecord | undefined): Principal => {
    if (!key) throw unauthenticated("key", "This key is unknown.");
    const { _id, project, role, user } = key;
    const keyId = idOf(_id);
    const fault = key.revokeTime
      ? "was revoked"
      : key.expireTime && key.expireTime <= now()
        ? "has expired"
        : undefined;
    if (fault) throw unauthenticated("key", `This key ${fault}.`, { key_id: keyId, project });
    return { project, role, keyId, ...(user !== undefined && { user }) };
  };

  const byKey = (secret: string, hash: string, cache: KeyCache): Principal | Promise<Principal> => {
    // To check its sum takes longer than to know it again.
    if (!cache.has(hash) && !isWellFormed(secret))
      throw unauthenticated("key", "This is not a key of this service: some of it is missing or mistyped.");
    const found = cache.get(hash);
    return found instanceof Promise ? found.then(principalOf) : principalOf(found);
  };

  return (authorization) => {
    const shown = credentialIn(authorization);
    const hash = hashOf(shown);
    if (admin && timingSafeEqual(Buffer.from(hash), admin)) return { ...ANYBODY, keyId: ADMIN_KEY_ID };
    if (keys && looksLikeKey(shown)) return byKey(shown, hash, keys);
    if (readToken && TOKEN.test(shown)) return readToken(shown);
    throw unauthenticated(
      looksLikeKey(shown) ? "key" : "token",
      "This credential is of no kind that this service takes.",
    );
  };
}

/** Three parts in base64url. A key has no dots, so neither can be taken for the other. */
const TOKEN = /^[\w-]+\.[\w-]+\.[\w-]+$/;

function credentialIn(authorization: readonly string[]): string {
  const [value, ...more] = authorization;
  if (value === undefined) {
    throw unauthenticated(
      "none",
      "This call takes a credential: send the metadata authorization: Bearer <key or token>.",
    );
  }
  const [, credential] = value.length > MAX_CHARACTERS ? [] : (/^bearer +(.*\S) *$/i.exec(value) ?? []);
  if (credential === undefined || more.length > 0) {
    throw unauthenticated("none", "The metadata authorization is not, once, Bearer <key or token>.");
  }
  return credential;
}
