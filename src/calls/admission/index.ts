import type { Logger } from "pino";
import { overloaded, rateLimited, requestTooSlow, type SessionsError } from "../../domain/errors.js";
import { MAX_REQUEST_BYTES } from "../../domain/limits.js";
import type { Principal } from "../../domain/principal.js";
import { whoIs } from "../authentication.js";
import { createRefusalLog } from "../refusal-log.js";
import type { Presence } from "./presence.js";
import { createRates } from "./rates.js";
import { createShares, type Shares } from "./shares.js";

/** How much a process takes on at a time. */
export interface AdmissionLimits {
  /** Unary calls in flight. */
  readonly maxCalls: number;
  /** Listings in flight, which live as long as their readers want. */
  readonly maxStreams: number;
  /** Those who watch, which they may do for days. */
  readonly maxWatchers: number;
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
  readonly log: Logger;
  readonly onRefused?: ((path: string, error: SessionsError) => void) | undefined;
}

export interface Admission {
  /**
   * A call whose caller is known begins to arrive. `turnAway` is called at most once, now or later, when there is no room for it: then
   * it is to be answered with the error, and nothing else is to be done for it. `leave` has to follow in any case.
   */
  begin(call: Arriving, turnAway: (error: SessionsError) => void): Arrival;
  /** Bytes of the requests of all calls in flight. */
  readonly requestBytes: number;
}

export interface Arriving {
  readonly path: string;
  /** Whether it is a listing, or one that has no end of its own. */
  readonly streams: boolean;
  readonly endless?: boolean | undefined;
  readonly principal: Principal;
}

/** A call on its way in. */
export interface Arrival {
  /** Whether it has been turned away, or is about to be: then nothing more is to be read of it. */
  readonly isRefused: boolean;
  /** More of its request has arrived. */
  arrived(bytes: number): void;
  /** Its message is there, unpacked. False when it has been turned away, or has left. */
  enter(messageBytes: number): boolean;
  /** All has arrived. */
  complete(): void;
  /** It is over, however it ended. */
  leave(): void;
}

/**
 * For how long a refusal is held back, which is about when it is worth to try again; and of how many calls at a time, for what has
 * arrived of each is kept meanwhile.
 */
const HOLD_MS = 1_000;
const MAX_HELD = 1_000;

/** What is kept for those who hold little: one part in so many. */
const KEPT_PART = 8;

/**
 * Refuses what is more than the process can do, calls even before their requests have been read: who waits without end is
 * served no sooner, and what waits takes memory. What there is is shared by the projects.
 */
export function createAdmission({
  limits,
  projectRate,
  isShared,
  presence,
  log,
  onRefused,
}: AdmissionOptions): Admission {
  const sharesOf = (max: number, atLeast: number): Shares =>
    createShares({ max, atLeast, kept: isShared ? Math.floor(max / KEPT_PART) : 0 });
  const maxOf = { calls: limits.maxCalls, streams: limits.maxStreams, watchers: limits.maxWatchers };
  const places = {
    calls: sharesOf(maxOf.calls, 1),
    streams: sharesOf(maxOf.streams, 1),
    watchers: sharesOf(maxOf.watchers, 1),
  };
  const room = sharesOf(limits.maxRequestBytes, MAX_REQUEST_BYTES + FRAME_BYTES);
  const rates = projectRate === undefined ? undefined : createRates(projectRate);
  const logRefusal = createRefusalLog(log);
  let held = 0;

  return {
    get requestBytes() {
      return room.total;
    },
    begin({ path, streams, endless, principal }, turnAway) {
      const { project } = principal;
      const kind = endless ? "watchers" : streams ? "streams" : "calls";
      const max = maxOf[kind];
      const projects = presence.note(project);
      let isRefused = false;
      let isIn = false;
      let isOver = false;
      let bytes = 0;
      let timer: NodeJS.Timeout | undefined;
      let release: NodeJS.Timeout | undefined;

      const endArrival = (): void => {
        clearTimeout(timer);
        timer = undefined;
      };
      const endHold = (): void => {
        if (release === undefined) return;
        clearTimeout(release);
        release = undefined;
        held -= 1;
      };
      const refuse = (error: SessionsError): void => {
        logRefusal(error, { method: path.slice(1), ...whoIs(principal) });
        onRefused?.(path, error);
        isRefused = true;
        endArrival();
        turnAway(error);
      };
      /** The same, but later where others are there: who is told at once asks again at once, and answering that takes their time. */
      const refuseLater = (error: SessionsError): void => {
        if (projects === 1 || held >= MAX_HELD) {
          refuse(error);
          return;
        }
        isRefused = true;
        held += 1;
        release = setTimeout(() => {
          endHold();
          refuse(error);
        }, HOLD_MS);
      };
      /** Counts what a request takes. False when that is too much, and the call has been turned away. */
      const take = (more: number): boolean => {
        if (!room.take(project, more, projects)) {
          refuse(overloaded("request bytes", limits.maxRequestBytes));
          return false;
        }
        bytes += more;
        return true;
      };
      const partsArrived = () => Math.floor(bytes / ARRIVAL_PART_BYTES);

      const waitMs = rates?.take(project) ?? 0;
      if (waitMs > 0) refuseLater(rateLimited(project, projectRate ?? 0, waitMs));
      else if (!places[kind].fits(project, 1, projects)) refuseLater(overloaded(kind, max));
      else timer = setTimeout(() => refuse(requestTooSlow(ARRIVAL_PART_BYTES, ARRIVAL_MS)), ARRIVAL_MS);

      return {
        get isRefused() {
          return isRefused;
        },
        arrived(more) {
          if (isRefused || isOver) return;
          const before = partsArrived();
          // Behind the message nothing is to come but the end.
          if (take(more) && !isIn && partsArrived() > before) timer?.refresh();
        },
        enter(messageBytes) {
          if (isRefused || isOver) return false;
          // What was packed is larger than what has arrived.
          if (messageBytes > bytes && !take(messageBytes - bytes)) return false;
          // Only now: calls that never send a request must not take the places of those that do.
          if (!places[kind].take(project, 1, projects)) {
            refuse(overloaded(kind, max));
            return false;
          }
          isIn = true;
          return true;
        },
        complete: endArrival,
        leave() {
          // What still comes of it, as the rest of a request that has its answer, is not counted: nobody would give that back.
          isOver = true;
          endHold();
          endArrival();
          if (isIn) places[kind].give(project, 1);
          room.give(project, bytes);
          isIn = false;
          bytes = 0;
        },
      };
    },
  };
}
