import { createHash, createSecretKey } from "node:crypto";
import {
  createRemoteJWKSet,
  errors,
  type JWTPayload,
  type JWTVerifyGetKey,
  type JWTVerifyOptions,
  jwtVerify,
} from "jose";
import { keySetUnavailable, overloaded, SessionsError, unauthenticated } from "../domain/errors.js";
import { idFault } from "../domain/ids.js";
import { DEFAULT_PROJECT } from "../domain/keys.js";
import { isProject, PROJECT_RULE, type Principal, ROLES, type Role } from "../domain/principal.js";

/** How JWTs are read: by whom they must be signed, and what their claims say. */
export interface TokenRules {
  /** A shared secret (HS256), or where the issuer publishes its public keys. */
  readonly signedBy: { readonly secret: Uint8Array } | { readonly jwksUrl: string };
  readonly issuer: string | undefined;
  readonly audience: string | undefined;
  /** The names of the claims. */
  readonly claims: { readonly project: string; readonly role: string; readonly user: string };
  /** The role of tokens that say none. */
  readonly defaultRole: Role;
  /** Whether a token need not expire. */
  readonly allowEternal: boolean;
}

/** Never both kinds at a time: a public key must not be taken for a secret that tokens are signed with. */
const SECRET_ALGORITHMS = ["HS256"];
const PUBLIC_KEY_ALGORITHMS = ["RS256", "ES256", "EdDSA"];

/** By how much the clocks of issuer and service may differ. */
const CLOCK_SECONDS = 5;

/**
 * Whom a token speaks for. Throws UNAUTHENTICATED when it is not valid, UNAVAILABLE when nobody can tell. `maxWaiting` is how many
 * may wait for the issuer's answer at a time: with invented keys anybody can wait for it, and must leave room for those who need not.
 */
export function createTokenReader(rules: TokenRules, maxWaiting: number): (token: string) => Promise<Principal> {
  const { signedBy, issuer, audience, allowEternal } = rules;
  const isSecret = "secret" in signedBy;
  const key = isSecret ? createSecretKey(signedBy.secret) : publishedKeys(signedBy.jwksUrl, maxWaiting);
  const options: JWTVerifyOptions = {
    algorithms: isSecret ? SECRET_ALGORITHMS : PUBLIC_KEY_ALGORITHMS,
    clockTolerance: CLOCK_SECONDS,
    requiredClaims: allowEternal ? [] : ["exp"],
    ...(issuer !== undefined && { issuer }),
    ...(audience !== undefined && { audience }),
  };
  return async (token) => {
    const { payload } = await jwtVerify(token, key as JWTVerifyGetKey, options).catch((error: unknown) => {
      if (error instanceof SessionsError) throw error;
      throw unauthenticated("token", `The token is not valid: ${faultOf(error)}`, error);
    });
    return principalOf(payload, rules);
  };
}

function principalOf(payload: JWTPayload, { claims, defaultRole }: TokenRules): Principal {
  // One that is there and says nothing, as null does, must not open what is everybody's.
  const project = claim(payload, claims.project, DEFAULT_PROJECT);
  const role = claim(payload, claims.role, defaultRole);
  const user = claim(payload, claims.user);
  if (!isText(project) || !isProject(project)) throw badClaim(claims.project, PROJECT_RULE);
  if (!isText(role) || !isRole(role)) throw badClaim(claims.role, ROLES.join(", "));
  const token = nameOf(payload);
  if (user === undefined) return { project, role, token };
  if (!isText(user) || idFault(user)) throw badClaim(claims.user, "a user's id");
  if (role === "admin") throw badClaim(claims.role, "reader or writer in a token that is bound to a user");
  return { project, role, user, token };
}

/** What can be kept of a token for ever: whom it is about may be a person's name, or their address. */
function nameOf({ sub }: JWTPayload): string {
  return isText(sub) ? `token:${createHash("sha256").update(sub).digest("hex")}` : "token";
}

const claim = (payload: JWTPayload, name: string, absent?: string): unknown =>
  Object.hasOwn(payload, name) ? payload[name] : absent;
const isText = (value: unknown): value is string => typeof value === "string";
const isRole = (value: string): value is Role => (ROLES as readonly string[]).includes(value);

const badClaim = (name: string, rule: string) =>
  unauthenticated("token", `The token is not valid: its claim ${JSON.stringify(name)} is not one of these: ${rule}.`);

function faultOf(error: unknown): string {
  if (error instanceof errors.JWTExpired) return "it has expired.";
  if (error instanceof errors.JWTClaimValidationFailed) {
    return error.reason === "missing"
      ? `it has no claim ${JSON.stringify(error.claim)}.`
      : `its claim ${JSON.stringify(error.claim)} is not the one that this service takes, or not yet.`;
  }
  if (error instanceof errors.JOSEAlgNotAllowed) return "it is signed in a way that this service does not take.";
  if (error instanceof errors.JWSSignatureVerificationFailed) return "its signature is not the issuer's.";
  if (error instanceof errors.JWKSNoMatchingKey) return "its issuer has no such key.";
  if (error instanceof errors.JWKSMultipleMatchingKeys) return "its header does not say which key has signed it.";
  return "it is not well-formed.";
}

/** How often the issuer's keys are read anew, so that those that it has withdrawn lose their worth. */
const REFRESH_MS = 60_000;
/** The least time between an answer, or none, and the next question for the sake of keys that are not known: anybody can name any. */
const PAUSE_MS = 1_000;
const FETCH_MS = 5_000;

/**
 * The issuer's public keys. Those that are known go on to be used while the issuer cannot be asked; an unknown one is worth a
 * question, for it may be new. Only `maxWaiting` wait for the answer at a time.
 */
function publishedKeys(url: string, maxWaiting: number): JWTVerifyGetKey {
  const keys = createRemoteJWKSet(new URL(url), {
    timeoutDuration: FETCH_MS,
    // When the issuer is asked is decided below: by itself it would be asked at once again when what it says is no key set.
    cooldownDuration: Number.POSITIVE_INFINITY,
    // By age alone the keys would go when the issuer cannot be asked.
    cacheMaxAge: Number.POSITIVE_INFINITY,
  });
  let answer = Promise.resolve();
  let isAsking = false;
  let answeredAt = Number.NEGATIVE_INFINITY;
  let waiting = 0;

  /** What the issuer says now, or has said not longer ago than that. */
  const ask = (atMostMs: number): Promise<void> => {
    if (isAsking || performance.now() - answeredAt < atMostMs) return answer;
    isAsking = true;
    answer = keys.reload().finally(() => {
      isAsking = false;
      answeredAt = performance.now();
    });
    answer.catch(() => {});
    return answer;
  };
  const askForUnknown = async (): Promise<void> => {
    if (waiting >= maxWaiting) throw overloaded("unknown keys", maxWaiting);
    waiting += 1;
    try {
      await ask(PAUSE_MS);
    } catch (error) {
      throw keySetUnavailable(error);
    } finally {
      waiting -= 1;
    }
  };

  // Else all who call first would wait.
  void ask(0);
  return async (header, token) => {
    if (!keys.fresh) await askForUnknown();
    else void ask(REFRESH_MS);
    try {
      return await keys(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw ofToken(error);
    }
    await askForUnknown();
    return keys(header, token).catch((error: unknown) => {
      throw ofToken(error);
    });
  };
}

/** What is not the token's fault is that of what the issuer publishes. */
function ofToken(error: unknown): unknown {
  return ABOUT_THE_TOKEN.some((type) => error instanceof type) ? error : keySetUnavailable(error);
}

const ABOUT_THE_TOKEN = [errors.JWKSNoMatchingKey, errors.JWKSMultipleMatchingKeys, errors.JOSENotSupported];
