import { readFileSync } from "node:fs";
import type { TokenRules } from "../auth/tokens.js";
import { ROLES, type Role } from "../domain/principal.js";

/** What callers may show. */
export interface AuthSettings {
  /** API keys, and the first admin's secret if there is one. */
  readonly keys: { readonly adminKey: string | undefined } | undefined;
  readonly tokens: TokenRules | undefined;
}

/** Reads one variable; undefined, and noted, when it is a mistake. */
type Read = <T>(name: string, fallback: string, parse: (text: string) => T) => T;

const ADMIN_KEY_FILE = "SESSIONS_ADMIN_KEY_FILE";
const SECRET_FILE = "SESSIONS_JWT_SECRET_FILE";
const JWKS_URL = "SESSIONS_JWKS_URL";

/** What each kind of credential is set by. Without that kind it says nothing, and whoever has set it is mistaken. */
const BELONGS_TO: Readonly<Record<"keys" | "jwt", readonly string[]>> = {
  keys: [ADMIN_KEY_FILE],
  jwt: [
    SECRET_FILE,
    JWKS_URL,
    "SESSIONS_JWT_ISSUER",
    "SESSIONS_JWT_AUDIENCE",
    "SESSIONS_JWT_CLAIM_PROJECT",
    "SESSIONS_JWT_CLAIM_ROLE",
    "SESSIONS_JWT_CLAIM_USER",
    "SESSIONS_JWT_DEFAULT_ROLE",
    "SESSIONS_JWT_ALLOW_ETERNAL",
  ],
};

/**
 * Who may call; undefined for whoever reaches the service. `hosts` are those that it listens on: for more than this machine
 * somebody has to say who may.
 */
export function readAuth(
  env: Readonly<Record<string, string | undefined>>,
  hosts: readonly string[],
  read: Read,
  mistakes: string[],
): AuthSettings | undefined {
  const isSet = (name: string): boolean => (env[name] ?? "") !== "";
  const kinds = read("SESSIONS_AUTH", "none", kindsOf) ?? [];
  const allowAnonymous = read("SESSIONS_ALLOW_ANONYMOUS", "false", flag);

  for (const kind of ["keys", "jwt"] as const) {
    if (kinds.includes(kind)) continue;
    for (const name of BELONGS_TO[kind].filter(isSet)) {
      mistakes.push(`${name}: means nothing unless SESSIONS_AUTH has ${kind}.`);
    }
  }
  if (kinds.length > 0) {
    if (allowAnonymous) mistakes.push("SESSIONS_ALLOW_ANONYMOUS=true: nobody is anonymous with SESSIONS_AUTH.");
    return {
      keys: kinds.includes("keys") ? { adminKey: read(ADMIN_KEY_FILE, "", adminKeyIn) } : undefined,
      tokens: kinds.includes("jwt") ? readTokenRules(isSet, read, mistakes) : undefined,
    };
  }
  const open = hosts.find((host) => !isLoopback(host));
  if (open !== undefined && !allowAnonymous && (env.SESSIONS_AUTH ?? "none") === "none") {
    mistakes.push(
      `SESSIONS_AUTH: required to listen on ${open}, where others than this machine can call: keys, jwt or keys,jwt. SESSIONS_ALLOW_ANONYMOUS=true lets everybody read and erase everything.`,
    );
  }
  return undefined;
}

export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "[::1]" || /^127(\.\d{1,3}){3}$/.test(host);
}

function readTokenRules(isSet: (name: string) => boolean, read: Read, mistakes: string[]): TokenRules {
  if (isSet(SECRET_FILE) && isSet(JWKS_URL)) {
    mistakes.push(
      `${SECRET_FILE} and ${JWKS_URL}: set one of them, for tokens are signed with a secret or with the issuer's own keys.`,
    );
  } else if (!isSet(SECRET_FILE) && !isSet(JWKS_URL)) {
    mistakes.push(`SESSIONS_AUTH: jwt takes ${SECRET_FILE} or ${JWKS_URL}, to know by whom tokens must be signed.`);
  }
  const secret = read(SECRET_FILE, "", secretIn);
  const jwksUrl = read(JWKS_URL, "", keySetUrl);
  const text = (name: string, fallback: string): string => read(name, fallback, (value) => value);
  return {
    signedBy: secret ? { secret } : { jwksUrl: jwksUrl ?? "" },
    issuer: text("SESSIONS_JWT_ISSUER", "") || undefined,
    audience: text("SESSIONS_JWT_AUDIENCE", "") || undefined,
    claims: {
      project: text("SESSIONS_JWT_CLAIM_PROJECT", "") || "project",
      role: text("SESSIONS_JWT_CLAIM_ROLE", "") || "role",
      user: text("SESSIONS_JWT_CLAIM_USER", "") || "user_id",
    },
    defaultRole: read("SESSIONS_JWT_DEFAULT_ROLE", "reader", role),
    allowEternal: read("SESSIONS_JWT_ALLOW_ETERNAL", "false", flag),
  };
}

function kindsOf(text: string): readonly ("keys" | "jwt")[] {
  const kinds = {
    none: [],
    keys: ["keys"],
    jwt: ["jwt"],
    "keys,jwt": ["keys", "jwt"],
    "jwt,keys": ["keys", "jwt"],
  } as const;
  if (!Object.hasOwn(kinds, text)) throw new Error(`one of ${Object.keys(kinds).join("; ")}.`);
  return kinds[text as keyof typeof kinds];
}

function flag(text: string): boolean {
  if (text !== "true" && text !== "false" && text !== "") throw new Error("true or false.");
  return text === "true";
}

function role(text: string): Role {
  if (!(ROLES as readonly string[]).includes(text)) throw new Error(`one of ${ROLES.join(", ")}.`);
  return text as Role;
}

const MIN_SECRET = 32;

function adminKeyIn(path: string): string | undefined {
  if (path === "") return undefined;
  const text = contentOf(path).toString();
  // It has to go through the headers of a call.
  if (!/^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(text))
    throw new Error("holds more than one line of printable ASCII.");
  if (text.length < MIN_SECRET) throw new Error(`holds ${text.length} characters; at least ${MIN_SECRET}.`);
  return text;
}

function secretIn(path: string): Uint8Array | undefined {
  if (path === "") return undefined;
  const secret = contentOf(path);
  if (secret.length < MIN_SECRET)
    throw new Error(`holds ${secret.length} bytes; at least ${MIN_SECRET}, as HS256 takes.`);
  return secret;
}

/** A file without the newline that editors put at its end. */
function contentOf(path: string): Buffer {
  let content: Buffer;
  try {
    content = readFileSync(path);
  } catch (error) {
    throw new Error(`cannot be read: ${(error as NodeJS.ErrnoException).code}.`);
  }
  const end = content.at(-1) === 0x0a ? (content.at(-2) === 0x0d ? 2 : 1) : 0;
  return content.subarray(0, content.length - end);
}

/** Whoever can change the key set on its way can make tokens. */
function keySetUrl(text: string): string | undefined {
  if (text === "") return undefined;
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const isSafe = url?.protocol === "https:" || (url?.protocol === "http:" && isLoopback(url.hostname));
  if (!isSafe) throw new Error("an https:// URL, or an http:// one of this machine.");
  // No fetch takes such a URL, and what it says of it holds the password.
  if (url?.username || url?.password) throw new Error("a URL without a user and a password.");
  return text;
}
