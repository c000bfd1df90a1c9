import { createHash } from "node:crypto";
import { invalidCursor } from "./errors.js";

/**
 * A position in a listing: the sort key of the last item that was sent. For listings by time that is the time in
 * milliseconds and the item's key; for messages it is the sequence, and the uid of the session in which it means something. For what
 * watchers are told see watching/position.ts.
 */
export type Position = readonly (number | string)[];

/**
 * Cursors are opaque to callers and bound to their listing: `listing` names all that decides what is listed in which
 * order, and only its hash, with that of the position, is in the cursor.
 */
export function encodeCursor(listing: unknown, position: Position): string {
  return Buffer.from(JSON.stringify([VERSION, fingerprint(listing, position), ...position])).toString("base64url");
}

/** The position in a cursor; none for the empty one. Throws INVALID_CURSOR for all that was not made for this listing. */
export function decodeCursor<P extends Position>(
  listing: unknown,
  cursor: string,
  isPosition: (position: unknown[]) => position is [...P],
  invalid: () => Error = invalidCursor,
): P | undefined {
  if (cursor === "") return undefined;
  const [version, hash, ...position] = parse(cursor) ?? [];
  if (version !== VERSION || !isPosition(position) || hash !== fingerprint(listing, position)) throw invalid();
  // Decoding base64 and JSON forgives what encoding never makes; a cursor is either ours to the letter or none.
  if (encodeCursor(listing, position) !== cursor) throw invalid();
  return position;
}

export const isTimePosition = (position: unknown[]): position is [number, string] =>
  position.length === 2 && isTime(position[0]) && typeof position[1] === "string";

export const isSequencePosition = (position: unknown[]): position is [number, string] =>
  position.length === 2 && Number.isSafeInteger(position[0]) && typeof position[1] === "string";

/** Milliseconds that a Date can hold. */
const isTime = (value: unknown): boolean => Number.isInteger(value) && Math.abs(value as number) <= 8.64e15;

const VERSION = 1;

/** Longer ones than any that we make are not even parsed. */
const MAX_CHARACTERS = 8192;

function parse(cursor: string): unknown[] | undefined {
  if (cursor.length > MAX_CHARACTERS) return undefined;
  try {
    const value: unknown = JSON.parse(Buffer.from(cursor, "base64url").toString());
    if (Array.isArray(value)) return value;
  } catch {
    // Not JSON.
  }
  return undefined;
}

function fingerprint(listing: unknown, position: Position): string {
  return createHash("sha256")
    .update(JSON.stringify([listing, position]))
    .digest("base64url")
    .slice(0, 16);
}
