import type { Http2Server } from "node:http2";
import type { Server } from "@grpc/grpc-js";

/**
 * Has a server that listens take deadlines that are further away than a timer reaches, 24.8 days, as none at all. grpc-js counts their
 * milliseconds in 32 bits (as of 1.14.7), so that many of them have passed before they have begun. It reads the header before
 * anything of ours is called, and then drops it: what must not be counted has to be gone before.
 */
export function takeLongDeadlinesAsNone(server: Server): void {
  const { http2Servers } = server as unknown as { readonly http2Servers?: unknown };
  // All that could change with grpc-js: without them its own ways are kept, short deadlines are as exact as ever, and the tests of
  // long ones fail.
  if (!(http2Servers instanceof Map)) return;
  for (const http2Server of http2Servers.keys() as Iterable<Http2Server>) {
    http2Server.prependListener("stream", (_stream, headers) => {
      if (isBeyondTimers(headers["grpc-timeout"])) delete headers["grpc-timeout"];
    });
  }
}

function isBeyondTimers(timeout: unknown): boolean {
  const [, amount, unit] = TIMEOUT.exec(String(timeout)) ?? [];
  return Number(amount) * (LONG_UNITS_MS[unit ?? ""] ?? 0) > MAX_TIMER_MS;
}

/** As grpc-js looks for it, so that it finds nothing to cut that was not found here. */
const TIMEOUT = /(\d{1,8})\s*([HMSmun])/;

/** Of the others eight digits, which is all that there may be, are less. */
const LONG_UNITS_MS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000 };

const MAX_TIMER_MS = 0x7fffffff;
