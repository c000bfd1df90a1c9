import { type Logger, pino } from "pino";
import pretty from "pino-pretty";
import type { LogLevel } from "../config/index.js";

/** Lines for programs are written beside the work, several at a time; whatever is left is out when the process ends by itself. */
export function createLog(options: {
  level: LogLevel;
  format: "pretty" | "json";
  /** What else is to be in each line. */
  more?: (() => object) | undefined;
}): Logger {
  const settings = {
    level: options.level,
    base: undefined,
    timestamp: pino.stdTimeFunctions.isoTime,
    ...(options.more && { mixin: options.more }),
  };
  if (options.format === "pretty") {
    return pino(settings, pretty({ sync: true, ignore: "pid,hostname", translateTime: "SYS:HH:MM:ss.l" }));
  }
  const destination = pino.destination({ dest: 1, sync: false });
  process.on("exit", () => destination.flushSync());
  return pino(settings, destination);
}
