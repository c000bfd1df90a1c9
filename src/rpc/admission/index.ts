import { type Metadata, ServerInterceptingCall, type ServerInterceptor } from "@grpc/grpc-js";
import type { Logger } from "pino";
import { overloaded, rateLimited, requestTooSlow, type SessionsError } from "../../domain/errors.js";
import { MAX_REQUEST_BYTES } from "../../domain/limits.js";
import { ANYBODY } from "../../domain/principal.js";
import { type Caller, whoIs } from "../authentication.js";
import type { Decoded } from "../decoding.js";
import type { Presence } from "./presence.js";
import { createRates } from "./rates.js";
import { createRefusalLog, refuse, streamOf } from "./refusals.js";
import { createShares, type Shares } from "./shares.js";

/** How much a process takes on at a time. */
export interface AdmissionLimits {
  /** Unary calls in flight. */
  readonly maxCalls: number;
  /** Listings in flight, which live as long as their readers want. */
  readonly maxStreams: number;
  /** Bytes of the requests of all calls in flight. */
  readonly maxRequestBytes: number;
}

/**
 * How long each part of a request may take to arrive, the first from its call's beginning and each other from the one before:
 * what has arrived takes memory. The whole may take longer, as 8 MiB do on a slow line, and 160 s at most.
 */
const ARRIVAL_MS = 10_000;
const ARRIVAL_PART_BYTES = 512 * 1024;

/** What comes with a request on its way. */
const FRAME_BYTES = 1024;

export interface AdmissionOptions {
  readonly limits: AdmissionLimits;
  /** How many calls a second one project may make; undefined for as many as it likes. */
  readonly projectRate: number | undefined;
  /** Whether there can be more than one project, who then have to share. */
  readonly isShared: boolean;
  readonly presence: Presence;
  /** Whether a method counts: probes, say, must come through. */
  readonly isSubject: (path: string) => boolean;
  /** Who calls, by the metadata of their call. */
  readonly callerOf: (metadata: Metadata) => Caller;
  readonly log: Logger;
}

/**
 * For how long a refusal is held back, which is about when it is worth to try again; and of how many calls at a time, for what has
 * arrived of each stays in its connection's window meanwhile.
 */
const HOLD_MS = 1_000;
const MAX_HELD = 1_000;

/** What is kept for those who hold little: one part in so many. */
const KEPT_PART = 8;

/**
 * Refuses what is more than the process can do, calls even before their requests have been read: who waits without end is
 * served no sooner, and what waits takes memory. What there is is shared by the projects.
 */
export function admission(options: AdmissionOptions): ServerInterceptor {
  const { limits, isSubject, callerOf, presence, log } = options;
  const sharesOf = (max: number, atLeast: number): Shares =>
    createShares({ max, atLeast, kept: options.isShared ? Math.floor(max / KEPT_PART) : 0 });
  const places = { calls: sharesOf(limits.maxCalls, 1), streams: sharesOf(limits.maxStreams, 1) };
  const room = sharesOf(limits.maxRequestBytes, MAX_REQUEST_BYTES + FRAME_BYTES);
  const rates = options.projectRate === undefined ? undefined : createRates(options.projectRate);
  const logRefusal = createRefusalLog(log);
  let held = 0;

  return ({ path, responseStream }, call) => {
    if (!isSubject(path)) return new ServerInterceptingCall(call);
    const kind = responseStream ? "streams" : "calls";
    const max = responseStream ? limits.maxStreams : limits.maxCalls;
    const stream = streamOf(call);
    const turnAway = (error: SessionsError): void => {
      logRefusal(error, { method: path.slice(1), ...whoIs(principal) });
      isRefused = true;
      endArrival();
      refuse(call, error);
    };
    /** The same, but later where others are there: who is told at once asks again at once, and answering that takes their time. */
    const turnAwayLater = (error: SessionsError): void => {
      if (projects === 1 || held >= MAX_HELD) {
        turnAway(error);
        return;
      }
      held += 1;
      release = setTimeout(() => {
        endHold();
        turnAway(error);
      }, HOLD_MS);
    };
    const endHold = (): void => {
      if (release === undefined) return;
      clearTimeout(release);
      release = undefined;
      held -= 1;
    };
    let release: NodeJS.Timeout | undefined;
    let principal = ANYBODY;
    let projects = 1;
    let arrival: NodeJS.Timeout | undefined;
    let isIn = false;
    let isRefused = false;
    let bytes = 0;
    /** Counts what a request takes. False when that is too much, and the call has been refused. */
    const take = (more: number): boolean => {
      if (!room.take(principal.project, more, projects)) {
        turnAway(overloaded("request bytes", limits.maxRequestBytes));
        return false;
      }
      bytes += more;
      return true;
    };
    const partsArrived = () => Math.floor(bytes / ARRIVAL_PART_BYTES);
    const arrive = (chunk: Buffer): void => {
      const before = partsArrived();
      // Behind the message nothing is to come but the end.
      if (take(chunk.length) && !isIn && partsArrived() > before) arrival?.refresh();
    };
    const endArrival = (): void => {
      clearTimeout(arrival);
      arrival = undefined;
      stream?.off("data", arrive);
    };
    return new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata(metadata, pass) {
            principal = callerOf(metadata).principal;
            const { project } = principal;
            projects = presence.note(project);
            const waitMs = rates?.take(project) ?? 0;
            if (waitMs > 0) {
              turnAwayLater(rateLimited(project, options.projectRate ?? 0, waitMs));
              return;
            }
            if (!places[kind].fits(project, 1, projects)) {
              turnAwayLater(overloaded(kind, max));
              return;
            }
            stream?.on("data", arrive);
            arrival = setTimeout(() => turnAway(requestTooSlow(ARRIVAL_PART_BYTES, ARRIVAL_MS)), ARRIVAL_MS);
            pass(metadata);
          },
          onReceiveMessage(message: Decoded<unknown>, pass) {
            // A second one is a fault that grpc-js answers; it must not take a second place.
            if (isIn) {
              pass(message);
              return;
            }
            // What was packed is larger than what has arrived.
            if (message.bytes > bytes && !take(message.bytes - bytes)) return;
            // Only now: calls that never send a request must not take the places of those that do.
            if (!places[kind].take(principal.project, 1, projects)) {
              turnAway(overloaded(kind, max));
              return;
            }
            isIn = true;
            pass(message);
          },
          onReceiveHalfClose(pass) {
            // The rest of a request may just have come when it was refused. Nothing is done before this has been passed on.
            if (isRefused) return;
            endArrival();
            pass();
          },
          // Comes once, at the end of every call, however it ended.
          onCancel() {
            endHold();
            endArrival();
            if (isIn) places[kind].give(principal.project, 1);
            room.give(principal.project, bytes);
          },
        }),
    });
  };
}
