import { type Logger, pino } from "pino";
import pretty from "pino-pretty";
import type { LogLevel } from "../config.js";

/** Lines for programs are written together, for a write a line costs more than the line; none waits longer than this. */
const FLUSH_MS = 50;
const BUFFER_BYTES = 8 * 1024;

/** What was logged is out when the process ends by itself, and at most 50 ms later otherwise. */
export function createLog(options: { level: LogLevel; format: "pretty" | "json" }): Logger {
  const settings = { level: options.level, base: undefined, timestamp: pino.stdTimeFunctions.isoTime };
  if (options.format === "pretty") {
    return pino(settings, pretty({ sync: true, ignore: "pid,hostname", translateTime: "SYS:HH:MM:ss.l" }));
  }
  const destination = pino.destination({ dest: 1, sync: true, minLength: BUFFER_BYTES });
  setInterval(() => destination.flushSync(), FLUSH_MS).unref();
  process.on("exit", () => destination.flushSync());
  return pino(settings, destination);
}
