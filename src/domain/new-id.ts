import { createHash, randomBytes } from "node:crypto";

const ID_BYTES = 12;

/** Random bytes for some hundred ids: asked for one by one they cost ten times as much. */
let pool = Buffer.alloc(0);

/** A short random id for epochs and tokens: 96 bits, without characters that mean something in keys or to the database. */
export function newId(): string {
  if (pool.length === 0) pool = randomBytes(256 * ID_BYTES);
  const id = pool.toString("base64url", 0, ID_BYTES);
  pool = pool.subarray(ID_BYTES);
  return id;
}

/** An id in the form of a UUID (version 8: made by a rule of one's own) that always follows from the same two. */
export function derivedId(from: string, index: number): string {
  const hash = createHash("sha256").update(`${index}/${from}`).digest("hex");
  return [
    hash.slice(0, 8),
    hash.slice(8, 12),
    `8${hash.slice(13, 16)}`,
    `8${hash.slice(17, 20)}`,
    hash.slice(20, 32),
  ].join("-");
}
