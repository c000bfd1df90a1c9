import { createHash } from "node:crypto";

/**
 * The legacy API calls its messages by UUIDs. A message whose id is one, in lower case as UUIDs are written, has that; ids that are no
 * UUIDs come from callers of the other APIs, and their messages are shown under one that follows from the id (version 5).
 */
export function uuidOf(messageId: string): string {
  return UUID.test(messageId) ? messageId : derivedUuid(messageId);
}

/** A UUID as it is written, out of all that the legacy server takes for one (with or without hyphens, in braces, as a URN). */
export function canonicalUuid(text: string): string | undefined {
  const bare = text
    .toLowerCase()
    .replace(/^urn:uuid:/, "")
    .replace(/^\{(.*)\}$/, "$1");
  const uuid = /^[0-9a-f]{32}$/.test(bare) ? hyphenated(bare) : bare;
  return UUID.test(uuid) ? uuid : undefined;
}

/** Whether a UUID may stand for an id that is none. */
export function mayBeDerived(uuid: string): boolean {
  return uuid[14] === "5";
}

/** A UUID that always follows from the same text. */
export function derivedUuid(text: string): string {
  const digits = createHash("sha1").update(NAMESPACE).update(text).digest("hex");
  const variant = ((Number.parseInt(digits.charAt(16), 16) & 0x3) | 0x8).toString(16);
  return hyphenated(`${digits.slice(0, 12)}5${digits.slice(13, 16)}${variant}${digits.slice(17, 32)}`);
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** Any one that nobody else uses. */
const NAMESPACE = Buffer.from("5e0fba1d52a94a2f9d0c6a27f3a41c11", "hex");

function hyphenated(digits: string): string {
  return [digits.slice(0, 8), digits.slice(8, 12), digits.slice(12, 16), digits.slice(16, 20), digits.slice(20)].join(
    "-",
  );
}
