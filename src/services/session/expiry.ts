import type { Duration } from "../../../gen/google/protobuf/duration.js";
import type { Timestamp } from "../../../gen/google/protobuf/timestamp.js";
import { type Expiry, NOT_AHEAD } from "../../domain/expiry.js";
import { MAX_IDLE_TTL_MS, MAX_TIME_MS } from "../../domain/limits.js";
import { type Checks, durationMs } from "../checks.js";

/** What requests say of when a session is to expire. */
export type ExpiryField =
  | { readonly $case: "expireTime"; readonly value: Timestamp }
  | { readonly $case: "idleTtl"; readonly value: Duration }
  | undefined;

/** With `now`, a moment has to be later. */
export function checkExpiry(checks: Checks, expiry: ExpiryField, now?: Date): void {
  if (expiry?.$case === "expireTime") {
    if (checks.time("expire_time", expiry.value) && now && expireTimeOf(expiry.value) <= now)
      checks.fail("expire_time", NOT_AHEAD);
  } else if (expiry && checks.duration("idle_ttl", expiry.value)) {
    const ms = durationMs(expiry.value);
    if (ms === 0) checks.fail("idle_ttl", "Is 0: send more, or no expiry at all.");
    if (ms > MAX_IDLE_TTL_MS) checks.fail("idle_ttl", `At most ${MAX_IDLE_TTL_MS / 1000} seconds.`);
  }
}

/** Parts of a millisecond count as whole ones: nothing expires before it was to. */
export function expiryOf(field: ExpiryField): Expiry | undefined {
  if (field === undefined) return undefined;
  return field.$case === "expireTime" ? { time: expireTimeOf(field.value) } : { idleMs: durationMs(field.value) };
}

function expireTimeOf({ seconds, nanos }: Timestamp): Date {
  return new Date(Math.min(seconds * 1000 + Math.ceil(nanos / 1e6), MAX_TIME_MS));
}
