import { invalidFields, type Violation } from "../../domain/errors.js";
import { isObject, type JsonObject, type JsonValue, setKey } from "../../domain/json.js";

/**
 * The fields of a JSON object that a caller has sent. Absent and null are the same, as to the legacy server; what has another type
 * is noted, and `done` throws all such faults at once.
 */
export interface Fields {
  text(name: string): string | undefined;
  integer(name: string): number | undefined;
  number(name: string): number | undefined;
  object(name: string): JsonObject | undefined;
  /** The objects of a list, each with its own fields. */
  list(name: string): Fields[];
  has(name: string): boolean;
  fail(name: string, description: string): void;
  done(): void;
}

/** Metadata may have 32 levels, and the objects around it a few more. What is deeper is not even looked at: to do so takes a stack. */
const MAX_DEPTH = 64;

/** The object in a body. Throws INVALID_ARGUMENT when it is none; nothing at all, or null, is taken for an empty one where allowed. */
export function readBody(bytes: Uint8Array): JsonObject {
  const value = parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString());
  if (value === null) return {};
  if (!isObject(value)) throw invalidBody("Not a JSON object.");
  return value;
}

/** `path` is what comes before the names of its fields. */
export function fieldsOf(object: JsonObject, path = ""): Fields {
  return fieldsAt(object, path, []);
}

function fieldsAt(object: JsonObject, path: string, violations: Violation[]): Fields {
  const fail = (name: string, description: string): void => {
    violations.push({ field: `${path}${name}`, description });
  };
  const read = <T extends JsonValue>(
    name: string,
    isOfType: (value: JsonValue) => value is T,
    type: string,
  ): T | undefined => {
    const value = Object.hasOwn(object, name) ? object[name] : undefined;
    if (value === undefined || value === null) return undefined;
    if (isOfType(value)) return value;
    fail(name, `Not ${type}.`);
    return undefined;
  };
  return {
    text: (name) => read(name, isText, "a string"),
    integer: (name) => read(name, isInteger, "a whole number of 32 bits"),
    number: (name) => read(name, isNumber, "a number"),
    object: (name) => read(name, isObject, "an object"),
    list(name) {
      const items = read(name, isList, "a list") ?? [];
      return items.map((item, index) => {
        if (!isObject(item) && item !== null) fail(`${name}[${index}]`, "Not an object.");
        return fieldsAt(isObject(item) ? item : {}, `${path}${name}[${index}].`, violations);
      });
    },
    has: (name) => Object.hasOwn(object, name),
    fail,
    done() {
      if (violations.length > 0) throw invalidFields(violations);
    },
  };
}

function parse(text: string): JsonValue {
  let value: JsonValue;
  try {
    value = JSON.parse(text) as JsonValue;
  } catch (error) {
    // What the parser says quotes the text, and has the line breaks of it.
    throw invalidBody(text === "" ? "Empty: send JSON." : `Not JSON: ${(error as Error).message.replace(/\s+/g, " ")}`);
  }
  if (isDeeperThan(value, MAX_DEPTH)) throw invalidBody(`More than ${MAX_DEPTH} levels deep.`);
  return LONE_SURROGATE.test(text) ? wellFormed(value) : value;
}

/** As JSON can write them, and UTF-8 cannot: stored, such a text would be another one than was sent. */
const LONE_SURROGATE = /\\u[dD][89a-fA-F]/;

/** With U+FFFD in the place of halves of characters, as the database would store them. */
function wellFormed(value: JsonValue): JsonValue {
  if (typeof value === "string") return Buffer.from(value).toString();
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map(wellFormed);
  const object: JsonObject = {};
  for (const key of Object.keys(value))
    setKey(object, Buffer.from(key).toString(), wellFormed(value[key] as JsonValue));
  return object;
}

function isDeeperThan(value: JsonValue, levels: number): boolean {
  if (value === null || typeof value !== "object") return false;
  return levels === 0 || Object.values(value).some((inner) => isDeeperThan(inner, levels - 1));
}

const isText = (value: JsonValue): value is string => typeof value === "string";

const isNumber = (value: JsonValue): value is number => typeof value === "number";

const isList = (value: JsonValue): value is JsonValue[] => Array.isArray(value);

const isInteger = (value: JsonValue): value is number =>
  typeof value === "number" && Number.isInteger(value) && Math.abs(value) <= 0x7fffffff;

const invalidBody = (description: string) => invalidFields([{ field: "body", description }]);
