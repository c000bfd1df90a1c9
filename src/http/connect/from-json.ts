import { type DescMessage, fromJson, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { invalidFields, type Violation } from "../../domain/errors.js";
import { isObject, type JsonObject, type JsonValue, setKey } from "../../domain/json.js";
import { MAX_MESSAGES_PER_CALL, MAX_REQUEST_BYTES } from "../../domain/limits.js";
import { depthOf } from "../../domain/metadata.js";
import { DEPTH_LIMIT, encodeStruct } from "../../domain/struct.js";
import { metadataFault } from "../../services/checks.js";
import { sentence, tooLarge } from "./faults.js";
import { type Field, fieldsOf } from "./fields.js";

/**
 * A request in JSON → the bytes that the same request has as protobuf, which then go the way of all others. Throws all that is wrong
 * with it at once.
 *
 * A field that the message does not have is a fault, as protobuf's JSON mapping has it: whoever types `sessionID` wants to be told,
 * and a newer client must not believe that a field was heeded which this version does not know.
 */
export function* fromJsonBytes(message: DescMessage, body: Uint8Array): Generator<void, Uint8Array> {
  const out: Out = { writer: new BinaryWriter(), faults: [], isLarge: body.length > LARGE_BYTES };
  yield* writeMessage(out, message, parse(body), "");
  if (out.faults.length > 0) throw invalidFields(out.faults);
  const bytes = out.writer.finish();
  if (bytes.length > MAX_REQUEST_BYTES) throw tooLarge();
  return bytes;
}

interface Out {
  readonly writer: BinaryWriter;
  readonly faults: Violation[];
  readonly isLarge: boolean;
}

/**
 * Metadata that is not fit is judged with the rest of the request, where that is small. As protobuf it can be five times as large,
 * and of a large request none that will be refused anyway is to be turned into that.
 */
const LARGE_BYTES = 1024 * 1024;

const utf8 = new TextDecoder("utf-8", { fatal: true });

function parse(body: Uint8Array): JsonValue {
  let text: string;
  try {
    text = utf8.decode(body);
  } catch {
    throw invalidFields([{ field: "request", description: "Not UTF-8, as JSON has to be." }]);
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw invalidFields([{ field: "request", description: `Not JSON: ${shortened((error as Error).message)}.` }]);
  }
}

function* writeMessage(
  out: Out,
  message: DescMessage,
  value: JsonValue | undefined,
  path: string,
): Generator<void, void> {
  const { writer, faults, isLarge } = out;
  const fail = (field: string, description: string): void => {
    faults.push({ field: field || "request", description });
  };
  if (!isObject(value)) {
    fail(path, `Not a JSON object: ${shown(value)}.`);
    return;
  }
  const { byName } = fieldsOf(message);
  const plain: JsonObject = {};
  const parts = new Map<Field, JsonValue>();
  for (const [key, child] of Object.entries(value)) {
    const field = byName.get(key);
    if (!field) {
      const names = message.fields.map(({ jsonName }) => jsonName).join(", ");
      fail(within(path, key), `There is no such field. There are: ${names}.`);
    } else if (child === null) {
      // As good as left out.
    } else if (Array.isArray(child) && child.length > MAX_MESSAGES_PER_CALL) {
      fail(within(path, field.desc.name), `${child.length} entries; send at most ${MAX_MESSAGES_PER_CALL}.`);
    } else if (parts.has(field)) {
      fail(within(path, field.desc.name), "Named twice.");
    } else if (field.part.kind === "plain") {
      setKey(plain, key, child);
    } else {
      parts.set(field, child);
    }
  }
  writePlain(writer, message, plain, (field, description) => fail(within(path, field), description));
  for (const [{ desc, part }, child] of parts) {
    const childPath = within(path, desc.name);
    if (part.kind === "struct") {
      const fault = structFault(child, isLarge);
      if (fault) fail(childPath, fault);
      else writer.tag(desc.number, WireType.LengthDelimited).bytes(encodeStruct(child as JsonObject));
    } else if (part.kind === "message") {
      writer.tag(desc.number, WireType.LengthDelimited).fork();
      yield* writeMessage(out, part.message, child, childPath);
      writer.join();
    } else if (part.kind === "messages") {
      if (!Array.isArray(child)) {
        fail(childPath, `Not a JSON array: ${shown(child)}.`);
        continue;
      }
      for (const [n, element] of child.entries()) {
        writer.tag(desc.number, WireType.LengthDelimited).fork();
        yield* writeMessage(out, part.message, element, `${childPath}[${n}]`);
        writer.join();
        yield;
      }
    }
  }
}

/** Fields that the library reads. When it refuses them, each is tried alone, for it stops at the first that is wrong. */
function writePlain(
  writer: BinaryWriter,
  message: DescMessage,
  plain: JsonObject,
  fail: (field: string, description: string) => void,
): void {
  const keys = Object.keys(plain);
  if (keys.length === 0) return;
  const { byName } = fieldsOf(message);
  try {
    writer.raw(toBinary(message, fromJson(message, plain)));
  } catch (error) {
    let found = false;
    for (const key of keys) {
      try {
        fromJson(message, { [key]: plain[key] as JsonValue });
      } catch (fault) {
        found = true;
        fail(byName.get(key)?.desc.name ?? key, faultOf(fault));
      }
    }
    if (!found) fail("", faultOf(error));
  }
}

/** What the library has against a value, without where it was: the path says that. */
function faultOf(error: unknown): string {
  const why = (error instanceof Error ? error.message : String(error)).replace(/^.* from JSON: /s, "");
  return sentence(shortened(why));
}

function structFault(value: JsonValue, isLarge: boolean): string | undefined {
  if (!isObject(value)) return `Not a JSON object: ${shown(value)}.`;
  const isDeep = depthOf(value, DEPTH_LIMIT + 1) > DEPTH_LIMIT;
  const fault = isLarge || isDeep ? metadataFault(value) : undefined;
  return fault ?? (isWellFormed(value) ? undefined : "Half a surrogate pair is no text.");
}

/** Whether all of its text can be UTF-8. */
function isWellFormed(value: JsonValue): boolean {
  if (typeof value === "string") return !LONE_SURROGATE.test(value);
  if (Array.isArray(value)) return value.every(isWellFormed);
  return !isObject(value) || Object.entries(value).every(([key, child]) => isWellFormed(key) && isWellFormed(child));
}

const LONE_SURROGATE = /\p{Cs}/u;

const within = (path: string, name: string): string => (path && name ? `${path}.${name}` : path || name);

/** A value as a message can show it. */
function shown(value: JsonValue | undefined): string {
  return Array.isArray(value) ? "an array" : isObject(value) ? "an object" : shortened(JSON.stringify(value));
}

function shortened(text: string): string {
  const start = [...text.slice(0, 2 * SHOWN)].slice(0, SHOWN).join("");
  return start.length < text.length ? `${start}…` : text;
}

const SHOWN = 160;
