import { type Logger, pino } from "pino";
import pretty from "pino-pretty";
import type { LogLevel } from "../config.js";

/** Writes synchronously: a line that was logged is out, also when the process ends right after. */
export function createLog(options: { level: LogLevel; format: "pretty" | "json" }): Logger {
  const settings = { level: options.level, base: undefined, timestamp: pino.stdTimeFunctions.isoTime };
  return options.format === "pretty"
    ? pino(settings, pretty({ sync: true, ignore: "pid,hostname", translateTime: "SYS:HH:MM:ss.l" }))
    : pino(settings, pino.destination({ dest: 1, sync: true }));
}
