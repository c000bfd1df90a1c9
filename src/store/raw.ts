import { BSON } from "mongodb";

/**
 * A record as its bytes came from the database: texts are their UTF-8, times are milliseconds since 1970. Most of what is
 * read is only passed on, and turning every text into a string and back costs more than all else that a read does here.
 */
export type Raw<R> = { readonly [K in keyof R as R[K] extends List ? never : K]: RawValue<R[K]> };

type List = readonly unknown[] | undefined;

type RawValue<V> = V extends string
  ? Buffer
  : V extends Date
    ? number
    : V extends Uint8Array
      ? Buffer
      : V extends object
        ? Raw<V>
        : V;

/** For `find`: documents come as their bytes, whatever the driver's types say, for {@link readRaw}. */
export const RAW = { raw: true } as const;

/** Reads a document's fields. Lists are left out: nothing that is read in this way needs one. */
export function readRaw<R extends object>(document: R): Raw<R> {
  const { buffer, byteOffset, byteLength } = document as unknown as Uint8Array;
  return fieldsOf(Buffer.from(buffer, byteOffset, byteLength)) as Raw<R>;
}

/** How large a document is that has come as its bytes. */
export function byteLength(document: object): number {
  return (document as Uint8Array).byteLength;
}

function fieldsOf(bytes: Buffer): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  let position = 0;
  for (const [type, nameAt, nameLength, at, length] of BSON.onDemand.parseToElements(bytes)) {
    const name = nameOf(bytes, nameAt, nameLength, position);
    position += 1;
    if (type !== TYPES.array) fields[name] = readValue(bytes, type, at, length);
  }
  return fields;
}

const TYPES = { double: 1, string: 2, object: 3, array: 4, binary: 5, boolean: 8, date: 9, int32: 16 } as const;

function readValue(bytes: Buffer, type: number, at: number, length: number): unknown {
  switch (type) {
    case TYPES.string:
      // Its length comes before it, and a zero behind it.
      return bytes.subarray(at + 4, at + length - 1);
    case TYPES.int32:
      return bytes.readInt32LE(at);
    case TYPES.date:
      return bytes.readUInt32LE(at) + bytes.readInt32LE(at + 4) * 2 ** 32;
    case TYPES.double:
      return bytes.readDoubleLE(at);
    case TYPES.boolean:
      return bytes[at] === 1;
    case TYPES.binary:
      // Its length and its subtype come before it.
      return bytes.subarray(at + 5, at + length);
    case TYPES.object:
      return fieldsOf(bytes.subarray(at, at + length));
    default:
      throw new TypeError(`BSON type ${type} is none that this service stores`);
  }
}

/** The name that a field at this place had when one was last read: documents of a collection are much alike. */
const lastNames: string[] = [];

/** A field's name, which is ASCII. To compare it with the one that is likely is quicker than to make a string of it. */
function nameOf(bytes: Buffer, at: number, length: number, position: number): string {
  const likely = lastNames[position];
  if (likely !== undefined && isAt(bytes, at, length, likely)) return likely;
  const name = bytes.toString("latin1", at, at + length);
  lastNames[position] = name;
  return name;
}

function isAt(bytes: Buffer, at: number, length: number, name: string): boolean {
  if (length !== name.length) return false;
  for (let index = 0; index < length; index++) if (bytes[at + index] !== name.charCodeAt(index)) return false;
  return true;
}
