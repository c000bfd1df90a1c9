import { invalidFields } from "../../../domain/errors.js";
import { isObject, type JsonObject, type JsonValue } from "../../../domain/json.js";
import { exists } from "./evaluate.js";
import { parsePath } from "./parse.js";
import { type Path, PathFault, type Work } from "./path.js";

/** Which metadata a filter lets through. */
export type Matches = (metadata: JsonObject) => boolean;

const FIELD = "metadata.where";

/** More conditions than a person has. */
const MAX_PATHS = 100;

/** What looking at the metadata of one message may take: some ten milliseconds at most. */
const MAX_WORK = 250_000;

/**
 * The filter of a legacy search: `{"jsonpath": …}`, `{"and": […]}` and `{"or": […]}`, which may be nested, and of which all that are in
 * one object have to hold. undefined when it asks for nothing. Throws INVALID_ARGUMENT.
 */
export function readWhere(where: JsonValue): Matches | undefined {
  let paths = 0;
  const condition = read(where, FIELD, () => {
    paths += 1;
    if (paths > MAX_PATHS) throw fault(FIELD, `More than ${MAX_PATHS} paths.`);
  });
  if (!condition) return undefined;
  return (metadata) => {
    // What has no metadata has nothing that could be looked at, not even whether something is not there.
    if (Object.keys(metadata).length === 0) return false;
    return holds(condition, metadata, boundedWork());
  };
}

type Condition =
  | { readonly kind: "path"; readonly path: Path }
  | { readonly kind: "and" | "or"; readonly of: readonly Condition[] };

function read(where: JsonValue, field: string, count: () => void): Condition | undefined {
  if (where === null) return undefined;
  if (!isObject(where)) throw fault(field, 'Not an object with "jsonpath", "and" or "or".');
  const all: Condition[] = [];
  for (const [key, value] of Object.entries(where)) {
    if (value === null) continue;
    const at = `${field}.${key.slice(0, 40)}`;
    if (key === "jsonpath") {
      count();
      all.push({ kind: "path", path: pathIn(value, at) });
    } else if (key === "and" || key === "or") {
      if (!Array.isArray(value)) throw fault(at, "Not a list.");
      const of = value.flatMap((one, index) => read(one, `${at}[${index}]`, count) ?? []);
      if (of.length > 0) all.push({ kind: key, of });
    } else throw fault(at, 'Not known: there are "jsonpath", "and" and "or".');
  }
  return all.length === 0 ? undefined : { kind: "and", of: all };
}

function pathIn(value: JsonValue, field: string): Path {
  if (typeof value !== "string") throw fault(field, "Not a string.");
  try {
    return parsePath(value);
  } catch (error) {
    if (error instanceof PathFault) throw fault(field, error.message);
    throw error;
  }
}

function holds(condition: Condition, metadata: JsonObject, work: Work): boolean {
  if (condition.kind === "path") return exists(condition.path, metadata, work);
  if (condition.kind === "and") return condition.of.every((one) => holds(one, metadata, work));
  return condition.of.some((one) => holds(one, metadata, work));
}

function boundedWork(): Work {
  let left = MAX_WORK;
  return {
    did(steps) {
      left -= steps;
      if (left < 0) throw fault(FIELD, "Takes too long for the metadata of some messages: look for less at a time.");
    },
  };
}

const fault = (field: string, description: string) => invalidFields([{ field, description }]);
