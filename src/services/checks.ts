import type { Duration } from "../../gen/google/protobuf/duration.js";
import type { Timestamp } from "../../gen/google/protobuf/timestamp.js";
import { invalidFields, type Violation } from "../domain/errors.js";
import { codePoints, idFault } from "../domain/ids.js";
import type { JsonObject } from "../domain/json.js";
import * as limits from "../domain/limits.js";
import { depthOf, isFiniteJson } from "../domain/metadata.js";

/**
 * Checks of a request's fields. Every fault is noted, and `done` throws all of them at once, before anything is touched.
 * Fields are named as the proto spells them.
 */
export interface Checks {
  id(field: string, value: string): void;
  optionalId(field: string, value: string | undefined): void;
  text(field: string, value: string | undefined): void;
  etag(field: string, value: string): void;
  content(field: string, value: string): void;
  payload(field: string, value: Uint8Array): void;
  metadata(field: string, value: JsonObject | undefined): void;
  /** A count: an integer that is not negative. */
  count(field: string, value: number | undefined): void;
  size(field: string, length: number, range: { min: number; max: number }): void;
  oneOf(field: string, value: number, values: Readonly<Record<string, number>>): void;
  /** Answers whether it is one. */
  time(field: string, value: Timestamp | undefined, latest?: Date): boolean;
  /** Not negative. Answers whether it is one. */
  duration(field: string, value: Duration): boolean;
  fail(field: string, description: string): void;
  done(): void;
}

export function createChecks(): Checks {
  const violations: Violation[] = [];
  const fail = (field: string, description: string): void => {
    violations.push({ field, description });
  };
  const id = (field: string, value: string): void => {
    const fault = idFault(value);
    if (fault) fail(field, fault);
  };
  return {
    id,
    optionalId(field, value) {
      if (value?.trim() === "") fail(field, "An id is not blank: leave the field unset to name none.");
      else if (value !== undefined) id(field, value);
    },
    text(field, value = "") {
      if (codePoints(value, limits.MAX_TEXT_CODE_POINTS) > limits.MAX_TEXT_CODE_POINTS) {
        fail(field, `At most ${limits.MAX_TEXT_CODE_POINTS} code points.`);
      }
    },
    etag(field, value) {
      if (value.length > limits.MAX_ETAG_CHARACTERS) fail(field, "Not an etag: send one back as it was received.");
    },
    content(field, value) {
      const bytes = Buffer.byteLength(value);
      if (bytes > limits.MAX_CONTENT_BYTES)
        fail(field, `${bytes} bytes of UTF-8; at most ${limits.MAX_CONTENT_BYTES}.`);
    },
    payload(field, { length }) {
      if (length > limits.MAX_PAYLOAD_BYTES) fail(field, `${length} bytes; at most ${limits.MAX_PAYLOAD_BYTES}.`);
    },
    metadata(field, value) {
      const fault = value && metadataFault(value);
      if (fault) fail(field, fault);
    },
    count(field, value = 0) {
      if (value < 0) fail(field, `${value} is negative: send 0 or more.`);
    },
    size(field, length, { min, max }) {
      if (length < min || length > max) fail(field, `${length} entries; send ${min} to ${max}.`);
    },
    oneOf(field, value, values) {
      if (!Object.values(values).includes(value)) fail(field, `${value} is not a value of this enum.`);
    },
    time(field, value, latest) {
      if (value === undefined) return true;
      if (!isTimestamp(value)) fail(field, "Not a valid google.protobuf.Timestamp, from year 1 to 9999.");
      else if (latest && millisecondsOf(value) > latest.getTime()) fail(field, "Lies in the future.");
      else return true;
      return false;
    },
    duration(field, { seconds, nanos }) {
      if (seconds <= 0 && nanos <= 0 && seconds + nanos < 0) fail(field, "Is negative: send 0 or more.");
      else if (seconds < 0 || nanos < 0 || seconds > MAX_SECONDS || nanos > 999_999_999)
        fail(field, "Not a valid google.protobuf.Duration.");
      else return true;
      return false;
    },
    fail,
    done() {
      if (violations.length > 0) throw invalidFields(violations);
    },
  };
}

/** What is wrong with metadata; undefined when nothing is. */
export function metadataFault(value: JsonObject): string | undefined {
  const { MAX_METADATA_DEPTH: maxDepth } = limits;
  if (depthOf(value, maxDepth + 1) > maxDepth) return `More than ${maxDepth} levels deep.`;
  if (!isFiniteJson(value)) return "NaN and infinities are no JSON numbers.";
  const bytes = Buffer.byteLength(JSON.stringify(value));
  if (bytes > limits.MAX_METADATA_BYTES) return `${bytes} bytes as JSON; at most ${limits.MAX_METADATA_BYTES}.`;
  return undefined;
}

export function millisecondsOf({ seconds, nanos }: Timestamp): number {
  return seconds * 1000 + Math.floor(nanos / 1e6);
}

/** A part of a millisecond counts as a whole one. */
export function durationMs({ seconds, nanos }: Duration): number {
  return seconds * 1000 + Math.ceil(nanos / 1e6);
}

/** The largest number of seconds that a google.protobuf.Duration may hold: about 10,000 years. */
const MAX_SECONDS = 315_576_000_000;

function isTimestamp({ seconds, nanos }: Timestamp): boolean {
  return seconds >= -62_135_596_800 && seconds <= 253_402_300_799 && nanos >= 0 && nanos <= 999_999_999;
}
