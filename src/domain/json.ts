/** The values that JSON has. Numbers are doubles, as in `google.protobuf.Value`. */
export type JsonValue = null | boolean | number | string | JsonValue[] | JsonObject;

/**
 * A JSON object. Any string is a legal key to a caller, `__proto__` included, so objects are built with {@link setKey} and
 * read only through their own keys.
 */
export interface JsonObject {
  [key: string]: JsonValue;
}

/** Sets a key as an own property. Plain assignment of `__proto__` would change the prototype and lose the key. */
export function setKey(object: JsonObject, key: string, value: JsonValue): void {
  if (key === "__proto__") {
    Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
  } else {
    object[key] = value;
  }
}

export function hasKey(object: JsonObject, key: string): boolean {
  return Object.hasOwn(object, key);
}

export function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
