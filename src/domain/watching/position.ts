import { createHash } from "node:crypto";
import type { LogTime } from "./changes.js";
import { EVENT_KINDS, type EventKind } from "./events.js";

/** How far somebody has been told: all up to a time, or of what was committed at that time only a part. */
export interface Position {
  readonly time: LogTime;
  readonly within?: Within;
}

/** Up to which event, and how many of its parts. */
export interface Within extends Place {
  readonly parts: number;
}

/** The place of an event among those of one time. It is found anew from what was committed, so it is the same at every process. */
export interface Place {
  readonly rank: string;
  readonly kind: number;
}

/** Sessions that were changed together are told of in an order that depends on nothing but their keys. */
export function placeOf({ session, kind }: { readonly session: string; readonly kind: EventKind }): Place {
  const rank = createHash("sha256").update(session).digest("base64url").slice(0, RANK_CHARACTERS);
  return { rank, kind: EVENT_KINDS.indexOf(kind) };
}

export function comparePlaces(a: Place, b: Place): number {
  if (a.rank !== b.rank) return a.rank < b.rank ? -1 : 1;
  return a.kind - b.kind;
}

/** How many parts of an event somebody has been told already who has been told up to a position; undefined for all of them. */
export function partsTold({ time, within }: Position, at: LogTime, place: Place): number | undefined {
  if (at !== time) return at > time ? 0 : undefined;
  if (!within) return undefined;
  const order = comparePlaces(place, within);
  if (order !== 0) return order > 0 ? 0 : undefined;
  return within.parts;
}

/** As it is in a token. */
export type StoredPosition = readonly [string, ...(string | number)[]];

export function storedPosition({ time, within }: Position): StoredPosition {
  return within ? [time.toString(), within.rank, within.kind, within.parts] : [time.toString()];
}

export function isStoredPosition(stored: unknown[]): stored is [...StoredPosition] {
  const [time, rank, kind, parts] = stored;
  if (typeof time !== "string" || !/^\d{1,20}$/.test(time) || BigInt(time) > MAX_TIME) return false;
  if (stored.length === 1) return true;
  return (
    stored.length === 4 &&
    typeof rank === "string" &&
    rank.length === RANK_CHARACTERS &&
    isCount(kind, EVENT_KINDS.length - 1) &&
    isCount(parts, Number.MAX_SAFE_INTEGER)
  );
}

export function loadedPosition([time, rank, kind, parts]: StoredPosition): Position {
  if (rank === undefined) return { time: BigInt(time) };
  return { time: BigInt(time), within: { rank: String(rank), kind: Number(kind), parts: Number(parts) } };
}

const isCount = (value: unknown, max: number): boolean =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) <= max;

const RANK_CHARACTERS = 12;
/** A time of the log has 64 bits, with a sign. */
const MAX_TIME = 2n ** 63n - 1n;
