import { BinaryReader, type BinaryWriter, BinaryWriter as Writer } from "@bufbuild/protobuf/wire";
import { isObject, type JsonObject, type JsonValue, setKey } from "./json.js";

/**
 * `google.protobuf.Struct` between its wire format and plain JSON values. The generated stubs import it in place of the
 * code that ts-proto makes, which loses keys such as `__proto__` and fails on deep nesting.
 *
 * What is stored is the wire format, so a read hands the bytes on as they are: wherever a message is to be encoded, its
 * metadata may be a `JsonObject` or the bytes of one.
 */

/**
 * Deeper values are read as empty ones: the reader must not recurse without bound on hostile input, and metadata that
 * reaches this depth is refused by its validation anyway.
 */
export const DEPTH_LIMIT = 64;

export function encodeStruct(value: JsonObject): Uint8Array {
  return writeStruct(value, new Writer()).finish();
}

export function decodeStruct(bytes: Uint8Array): JsonObject {
  const reader = new BinaryReader(bytes);
  return readStruct(reader, reader.len, 1);
}

/** The shape that the generated stubs call. */
export const Struct = {
  encode(value: JsonObject | Uint8Array, writer: BinaryWriter): BinaryWriter {
    return value instanceof Uint8Array ? writer.raw(value) : writeStruct(value, writer);
  },
  decode(reader: BinaryReader, length: number): JsonObject {
    return readStruct(reader, endOf(reader, length), 1);
  },
  wrap(value: JsonObject | Uint8Array): JsonObject | Uint8Array {
    return value;
  },
  unwrap(value: JsonObject): JsonObject {
    return value;
  },
};

function writeStruct(object: JsonObject, writer: BinaryWriter): BinaryWriter {
  for (const key of Object.keys(object)) {
    const value = object[key];
    if (value === undefined) continue;
    writer.uint32(10).fork().uint32(10).string(key);
    writeValue(value, writer.uint32(18).fork()).join();
    writer.join();
  }
  return writer;
}

function writeValue(value: JsonValue, writer: BinaryWriter): BinaryWriter {
  switch (typeof value) {
    case "number":
      return writer.uint32(17).double(value);
    case "string":
      return writer.uint32(26).string(value);
    case "boolean":
      return writer.uint32(32).bool(value);
    case "object":
      break;
    default:
      throw new TypeError(`a ${typeof value} is not a JSON value`);
  }
  if (value === null) return writer.uint32(8).int32(0);
  if (isObject(value)) return writeStruct(value, writer.uint32(42).fork()).join();
  writer.uint32(50).fork();
  for (const element of value) writeValue(element, writer.uint32(10).fork()).join();
  return writer.join();
}

/** Into one that has been begun, for a message may come in pieces: each adds to those before. */
function readStruct(reader: BinaryReader, end: number, depth: number, object: JsonObject = {}): JsonObject {
  readFields(reader, end, (tag) => {
    if (tag !== 10) return false;
    let key = "";
    let value: JsonValue = null;
    readFields(reader, endOf(reader, reader.uint32()), (entryTag) => {
      if (entryTag === 10) key = reader.string();
      else if (entryTag === 18) value = readValue(reader, endOf(reader, reader.uint32()), depth, value);
      else return false;
      return true;
    });
    setKey(object, key, value);
    return true;
  });
  return object;
}

function readValue(reader: BinaryReader, end: number, depth: number, before: JsonValue = null): JsonValue {
  let value = before;
  readFields(reader, end, (tag) => {
    if (tag === 8) {
      reader.int32();
      value = null;
    } else if (tag === 17) value = reader.double();
    else if (tag === 26) value = reader.string();
    else if (tag === 32) value = reader.bool();
    else if (tag === 42) value = nested(reader, depth, isObject(value) ? value : {}, readStruct);
    else if (tag === 50) value = nested(reader, depth, Array.isArray(value) ? value : [], readList);
    else return false;
    return true;
  });
  return value;
}

function readList(reader: BinaryReader, end: number, depth: number, list: JsonValue[]): JsonValue[] {
  readFields(reader, end, (tag) => {
    if (tag !== 10) return false;
    list.push(readValue(reader, endOf(reader, reader.uint32()), depth));
    return true;
  });
  return list;
}

function nested<T extends JsonValue>(
  reader: BinaryReader,
  depth: number,
  before: T,
  read: (reader: BinaryReader, end: number, depth: number, into: T) => T,
): T {
  const end = endOf(reader, reader.uint32());
  if (depth < DEPTH_LIMIT) return read(reader, end, depth + 1, before);
  reader.pos = end;
  return before;
}

/** Reads fields up to `end`; `read` takes the ones it knows, the others are skipped. */
function readFields(reader: BinaryReader, end: number, read: (tag: number) => boolean): void {
  while (reader.pos < end) {
    const [field, wireType] = reader.tag();
    if (!read((field << 3) | wireType)) reader.skip(wireType, field);
  }
  if (reader.pos !== end) throw new RangeError("a field of a Struct reaches past its end");
}

function endOf(reader: BinaryReader, length: number): number {
  const end = reader.pos + length;
  if (end > reader.len) throw new RangeError("a Struct reaches past the end of the message");
  return end;
}
