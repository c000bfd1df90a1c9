import { InvalidArgumentError } from "commander";
import type { JsonObject } from "../client/index.js";

/** Values of the command line. */

const UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

const DURATION = /^(\d{1,9})(ms|s|m|h|d)$/;

export function durationMs(text: string): number {
  const [, amount, unit] = DURATION.exec(text) ?? [];
  if (!amount || !unit) throw new InvalidArgumentError("A whole number and one of ms, s, m, h, d, such as 30d.");
  return Number(amount) * UNITS[unit as keyof typeof UNITS];
}

/** With its zone: what a time without one means differs from machine to machine. */
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/;

export const timeAhead = (text: string): Date => timeOrAway(text, 1);

export const timeAgo = (text: string): Date => timeOrAway(text, -1);

function timeOrAway(text: string, direction: 1 | -1): Date {
  const date = DURATION.test(text)
    ? new Date(Date.now() + direction * durationMs(text))
    : new Date(TIME.test(text) ? text : Number.NaN);
  if (Number.isNaN(date.getTime())) {
    throw new InvalidArgumentError("A time such as 2030-01-31T12:00:00Z, or a duration such as 90d.");
  }
  return date;
}

export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max)) throw new InvalidArgumentError(`A whole number from ${min} to ${max}.`);
    return value;
  };
}

export const MAX_INT32 = 2 ** 31 - 1;

export function jsonObject(text: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new InvalidArgumentError('Not JSON. In a shell quote it: \'{"key": "value"}\'.');
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new InvalidArgumentError("Not a JSON object.");
  }
  return value as JsonObject;
}
