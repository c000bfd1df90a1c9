import type { Session } from "../../gen/sessions/v1/resources.js";
import { millis, timestamp } from "./contract.js";

/** What requests and sessions have of an expiry, in milliseconds. */

export const expireTime = (ms: number) => ({ $case: "expireTime" as const, value: timestamp(ms) });

/** A span of time has the fields of a time. */
export const idleTtl = (ms: number) => ({ $case: "idleTtl" as const, value: timestamp(ms) });

export const expiresAt = (session: Session | undefined): number | undefined =>
  session?.expiresAt && millis(session.expiresAt);
