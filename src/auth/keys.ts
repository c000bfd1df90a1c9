import { hash, randomBytes } from "node:crypto";

/**
 * The secret of an API key: `sk_`, 256 random bits in base62, and a checksum of them. The prefix lets scanners find keys that were
 * published by mistake; the checksum tells a mistyped or invented one from a key without asking anybody.
 */
const PREFIX = "sk_";
const RANDOM_BYTES = 32;
const RANDOM_CHARACTERS = 43;
const CHECKSUM_CHARACTERS = 6;
const FORM = new RegExp(`^${PREFIX}[0-9A-Za-z]{${RANDOM_CHARACTERS + CHECKSUM_CHARACTERS}}$`);

export function newSecret(): string {
  const random = base62(BigInt(`0x${randomBytes(RANDOM_BYTES).toString("hex")}`), RANDOM_CHARACTERS);
  return `${PREFIX}${random}${checksum(random)}`;
}

export function looksLikeKey(text: string): boolean {
  return text.startsWith(PREFIX);
}

/** Whether this service can have made it. */
export function isWellFormed(secret: string): boolean {
  const random = secret.slice(PREFIX.length, -CHECKSUM_CHARACTERS);
  return FORM.test(secret) && secret.endsWith(checksum(random));
}

/** What is stored of a secret, and what it is looked up by. */
export function hashOf(secret: string): string {
  return hash("sha256", secret, "base64url");
}

function checksum(text: string): string {
  return base62(BigInt(`0x${hash("sha256", text, "hex").slice(0, 8)}`), CHECKSUM_CHARACTERS);
}

const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

function base62(value: bigint, characters: number): string {
  let text = "";
  for (let rest = value; text.length < characters; rest /= 62n) text = DIGITS.charAt(Number(rest % 62n)) + text;
  return text;
}
