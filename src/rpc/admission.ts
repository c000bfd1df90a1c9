import { ServerInterceptingCall, type ServerInterceptor } from "@grpc/grpc-js";
import type { Logger } from "pino";
import { overloaded, requestTooSlow, type SessionsError } from "../domain/errors.js";
import type { Decoded } from "./decoding.js";
import { createRefusalLog, refuse, streamOf } from "./refusals.js";

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

/**
 * Refuses what is more than the process can do, calls even before their requests have been read: who waits without end is
 * served no sooner, and what waits takes memory. `isSubject` tells which methods count; probes, say, must come through.
 */
export function admission(
  limits: AdmissionLimits,
  isSubject: (path: string) => boolean,
  log: Logger,
): ServerInterceptor {
  const inFlight = { calls: 0, streams: 0, bytes: 0 };
  const logRefusal = createRefusalLog(log);

  return ({ path, responseStream }, call) => {
    if (!isSubject(path)) return new ServerInterceptingCall(call);
    const kind = responseStream ? "streams" : "calls";
    const max = responseStream ? limits.maxStreams : limits.maxCalls;
    const stream = streamOf(call);
    const turnAway = (error: SessionsError): void => {
      logRefusal(error, {});
      isRefused = true;
      endArrival();
      refuse(call, error);
    };
    let arrival: NodeJS.Timeout | undefined;
    let isIn = false;
    let isRefused = false;
    let bytes = 0;
    /** Counts what a request takes. False when that is too much, and the call has been refused. */
    const take = (more: number): boolean => {
      if (inFlight.bytes + more > limits.maxRequestBytes) {
        turnAway(overloaded("request bytes", limits.maxRequestBytes));
        return false;
      }
      bytes += more;
      inFlight.bytes += more;
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
            if (inFlight[kind] >= max) {
              turnAway(overloaded(kind, max));
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
            if (inFlight[kind] >= max) {
              turnAway(overloaded(kind, max));
              return;
            }
            isIn = true;
            inFlight[kind] += 1;
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
            endArrival();
            if (isIn) inFlight[kind] -= 1;
            inFlight.bytes -= bytes;
          },
        }),
    });
  };
}
