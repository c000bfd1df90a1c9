import type { Logger } from "pino";
import type { SessionsError } from "../domain/errors.js";

/** Refusals come in thousands; the log tells their number this often. */
const LOG_PERIOD_MS = 1_000;

/** Logs refusals: the first at once, and those that follow together, with how many they are and more about the newest of them. */
export function createRefusalLog(log: Logger): (error: SessionsError, about: object) => void {
  let refused = 0;
  let tellNewest = (): void => {};
  let period: NodeJS.Timeout | undefined;
  const tell = (): void => {
    period = undefined;
    if (refused === 0) return;
    tellNewest();
    refused = 0;
    period = setTimeout(tell, LOG_PERIOD_MS).unref();
  };
  return (error, about) => {
    refused += 1;
    tellNewest = () => log.warn({ refused, reason: error.reason, ...about }, `refused: ${error.message}`);
    if (!period) tell();
  };
}
