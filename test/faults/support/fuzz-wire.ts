import { BinaryWriter } from "@bufbuild/protobuf/wire";
import type { Random } from "./random.js";

/** Protobuf by hand: fields that no generated code would write, and what becomes of bytes that were damaged. */

/** A length-delimited field: text, bytes or a message. */
export function field(number: number, value: Uint8Array | string): Uint8Array {
  const bytes = typeof value === "string" ? Buffer.from(value) : value;
  return new BinaryWriter()
    .uint32((number << 3) | 2)
    .bytes(bytes)
    .finish();
}

/** A varint field with 64 bits, as int32, int64, enum and bool have them on the wire. */
export function varint(number: number, value: number | string): Uint8Array {
  return new BinaryWriter()
    .uint32(number << 3)
    .int64(value)
    .finish();
}

export const NOT_UTF8 = Buffer.from([0x61, 0xff, 0xfe]);

/** A Struct of one entry that holds this Value. */
function structWith(value: Uint8Array, key: Uint8Array | string = "k"): Uint8Array {
  return field(1, Buffer.concat([field(1, key), field(2, value)]));
}

const number = (value: number): Uint8Array => new BinaryWriter().uint32(17).double(value).finish();

/** A Struct in a Struct in a Struct; or lists, every other level. */
export function deepStruct(levels: number, withLists = false): Uint8Array {
  let inner: Uint8Array = new Uint8Array();
  for (let level = 1; level < levels; level++) {
    const value = field(5, inner);
    inner = structWith(withLists && level % 2 === 0 ? field(6, field(1, value)) : value);
  }
  return inner;
}

/** Deep without the quadratic cost: each level is put before the ones within. */
export function bottomlessStruct(levels: number): Uint8Array {
  const parts: Uint8Array[] = [];
  let length = 0;
  const before = (bytes: Uint8Array): void => {
    parts.push(bytes);
    length += bytes.length;
  };
  const head = (fieldNumber: number): Uint8Array =>
    new BinaryWriter()
      .uint32((fieldNumber << 3) | 2)
      .uint32(length)
      .finish();
  for (let level = 1; level < levels; level++) {
    before(head(5));
    before(head(2));
    before(field(1, "k"));
    before(head(1));
  }
  return Buffer.concat(parts.reverse());
}

const tooLarge = structWith(field(3, "x".repeat(65 * 1024)));
const tooWide = Buffer.concat(Array.from({ length: 9_000 }, (_, n) => structWith(number(n), `key-${n}`)));

/** Structs that no method takes. */
export const BAD_STRUCTS: readonly Uint8Array[] = [
  structWith(number(Number.NaN)),
  structWith(number(Number.POSITIVE_INFINITY)),
  structWith(field(6, field(1, number(Number.NEGATIVE_INFINITY)))),
  structWith(field(3, NOT_UTF8)),
  structWith(number(1), NOT_UTF8),
  structWith(field(3, Buffer.from([0xed, 0xa0, 0x80]))),
  deepStruct(33),
  deepStruct(60, true),
  deepStruct(80),
  // They reach past their end.
  Buffer.from([0x0a, 0x05, 0x0a]),
  Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
];

/** The same, but large. */
export const HUGE_STRUCTS: readonly Uint8Array[] = [bottomlessStruct(5_000), tooLarge, tooWide];

/** Bytes that are no message of any type, and remain none whatever is before them. */
export const BROKEN_TAILS: readonly Uint8Array[] = [
  Buffer.from([0x8a]),
  Buffer.from([0x00, 0x01]),
  Buffer.from([0x0e]),
  Buffer.from([0x0f, 0x01]),
  Buffer.from([0xfa, 0x3f, 0xff, 0xff, 0xff, 0xff, 0x0f]),
  Buffer.from([0xfa, 0x3f, 0x7f, 0x61]),
  Buffer.from([0x53, 0x08, 0x01]),
  Buffer.alloc(20, 0xff),
  Buffer.alloc(500, 0x53),
  Buffer.from([0xf9, 0x3f, 1, 2, 3]),
  Buffer.from([0xfd, 0x3f, 1]),
];

const EXTREMES = ["0", "-1", "1", "2147483647", "2147483648", "-2147483648", "4294967295", "4294967301"].concat([
  "9007199254740991",
  "9007199254740992",
  "-9007199254740992",
  "9223372036854775807",
  "-9223372036854775808",
  "253402300799",
  "253402300800",
  "-62135596801",
]);

/** A Timestamp or a Duration with extreme parts. */
export function extremeTime(random: Random): Uint8Array {
  return Buffer.concat([varint(1, random.pick(EXTREMES)), varint(2, random.pick(EXTREMES))]);
}

/** The bytes after damage of some kind. */
export function mutated(bytes: Uint8Array, other: Uint8Array, random: Random): Uint8Array {
  let result: Uint8Array = bytes;
  for (let times = 1 + random.below(3); times > 0; times--) result = damaged(result, other, random);
  return result;
}

function damaged(bytes: Uint8Array, other: Uint8Array, random: Random): Uint8Array {
  const at = random.below(bytes.length + 1);
  const copy = Buffer.from(bytes);
  const before = copy.subarray(0, at);
  const after = copy.subarray(at);
  const fieldNumber = 1 + random.below(12);
  switch (random.below(12)) {
    case 0:
      if (at < copy.length) copy[at] = (copy[at] as number) ^ (1 << random.below(8));
      return copy;
    case 1:
      if (at < copy.length) copy[at] = random.below(256);
      return copy;
    case 2:
      return before;
    case 3:
      return Buffer.concat([before, random.bytes(1 + random.below(8)), after]);
    case 4:
      return Buffer.concat([before, after.subarray(Math.min(after.length, 1 + random.below(4)))]);
    case 5:
      return Buffer.concat([copy, other]);
    case 6:
      return Buffer.concat([before, other.subarray(random.below(other.length + 1))]);
    // Known fields once more, in another type or with a value of no sense.
    case 7:
      return Buffer.concat([copy, varint(fieldNumber, random.pick(EXTREMES))]);
    case 8:
      return Buffer.concat([copy, field(fieldNumber, random.bytes(random.below(12)))]);
    case 9:
      return Buffer.concat([copy, field(fieldNumber, random.pick(BAD_STRUCTS))]);
    case 10:
      return Buffer.concat([copy, field(fieldNumber, extremeTime(random))]);
    default:
      return Buffer.concat([
        copy,
        new BinaryWriter()
          .uint32((fieldNumber << 3) | random.pick([1, 5]))
          .raw(random.bytes(random.pick([4, 8])))
          .finish(),
      ]);
  }
}
