import { randomBytes } from "node:crypto";

/** A short random id for epochs and tokens: 96 bits, without characters that mean something in keys or to the database. */
export function newId(): string {
  return randomBytes(12).toString("base64url");
}
