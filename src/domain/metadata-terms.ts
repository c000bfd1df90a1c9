import { createHash } from "node:crypto";
import { isObject, type JsonObject, type JsonValue } from "./json.js";

/**
 * Terms make "metadata contains this" a lookup in an index: an object is turned into short hashes, one for each scalar
 * and each object or array in it, with the path that leads there. Whatever contains another has all of its terms. The
 * reverse does not hold (two elements of one array share their paths, and hashes can collide), so what is found by terms is
 * checked with `contains`.
 */

/** Stands for metadata with too many terms to index: what has such is a candidate for every filter. */
export const ANY_TERM = "*";

/** Bounds what a session or a message costs in an index, which holds one entry a term. */
const MAX_TERMS = 256;

/** 72 bits: collisions only cost a check. */
const TERM_CHARACTERS = 12;

/** The terms to index for a session or a message of this project with this metadata. */
export function indexTerms(project: string, metadata: JsonObject): string[] {
  const paths = pathsOf(metadata);
  return paths.length > MAX_TERMS ? [ANY_TERM] : paths.map((path) => hashOf(project, path));
}

/** The terms that a session must have to match this filter, the most telling ones; none when every session matches. */
export function filterTerms(project: string, filter: JsonObject): string[] {
  // Scalars tell more than the objects around them, and one query needs no more than a few.
  return pathsOf(filter)
    .slice(-8)
    .map((path) => hashOf(project, path));
}

/** Where there is what in a metadata object, however much. */
function pathsOf(metadata: JsonObject): string[] {
  const containers = new Set<string>();
  const scalars = new Set<string>();
  const walk = (path: string, value: JsonValue): void => {
    if (isObject(value)) {
      containers.add(`${path}{}`);
      for (const key of Object.keys(value)) walk(`${path}.${JSON.stringify(key)}`, value[key] as JsonValue);
    } else if (Array.isArray(value)) {
      containers.add(`${path}[]`);
      for (const element of value) walk(`${path}[]`, element);
    } else scalars.add(`${path}=${JSON.stringify(Object.is(value, -0) ? 0 : value)}`);
  };
  for (const key of Object.keys(metadata)) walk(JSON.stringify(key), metadata[key] as JsonValue);
  return [...containers, ...scalars];
}

const hashOf = (project: string, path: string): string =>
  createHash("sha256").update(`${project}\n${path}`).digest("base64url").slice(0, TERM_CHARACTERS);
