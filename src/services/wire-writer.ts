/**
 * Writes one protobuf message into one buffer. As proto3 has it, a field that has its default value is left out. The generated
 * encoders do the same from strings and objects, and take several times as long.
 */
export class WireWriter {
  #bytes: Buffer;
  #end = 0;

  /** Grows when more is written than was expected. */
  constructor(expectedBytes: number) {
    this.#bytes = Buffer.allocUnsafe(expectedBytes + MARGIN);
  }

  /** An integer, an enum or a bool. */
  integer(field: number, value: number): void {
    if (value === 0) return;
    this.#reserve(2 * MAX_VARINT);
    this.#varint(field * 8);
    this.#varint(value);
  }

  double(field: number, value: number): void {
    if (value === 0) return;
    this.#reserve(MAX_VARINT + DOUBLE_BYTES);
    this.#varint(field * 8 + FIXED_64);
    this.#bytes.writeDoubleLE(value, this.#end);
    this.#end += DOUBLE_BYTES;
  }

  /** A string or bytes; of a string its UTF-8. */
  bytes(field: number, value: Uint8Array): void {
    if (value.length > 0) this.encoded(field, value);
  }

  text(field: number, value: string): void {
    if (value !== "") this.encoded(field, Buffer.from(value));
  }

  /** A string of some bytes and what follows them, which is ASCII. */
  joined(field: number, value: Uint8Array, ascii: string): void {
    const length = value.length + ascii.length;
    this.#reserve(2 * MAX_VARINT + length);
    this.#varint(field * 8 + LENGTH_DELIMITED);
    this.#varint(length);
    this.#copy(value);
    for (let index = 0; index < ascii.length; index++) this.#bytes[this.#end++] = ascii.charCodeAt(index);
  }

  /** A `google.protobuf.Timestamp`, or a `google.protobuf.Duration`, which has the same fields. */
  time(field: number, milliseconds: number): void {
    this.#reserve(5 * MAX_VARINT);
    this.#varint(field * 8 + LENGTH_DELIMITED);
    const prefix = this.#end++;
    const seconds = Math.floor(milliseconds / 1000);
    this.integer(1, seconds);
    this.integer(2, (milliseconds - seconds * 1000) * 1e6);
    // At most 22 bytes, so its length takes one.
    this.#bytes[prefix] = this.#end - prefix - 1;
  }

  /** A message that is encoded already, or one of a list of strings: an empty one too. */
  encoded(field: number, value: Uint8Array): void {
    this.#reserve(2 * MAX_VARINT + value.length);
    this.#varint(field * 8 + LENGTH_DELIMITED);
    this.#varint(value.length);
    this.#copy(value);
  }

  /** A message of about so many bytes. */
  message(field: number, expectedBytes: number, write: () => void): void {
    this.#reserve(2 * MAX_VARINT + expectedBytes);
    this.#varint(field * 8 + LENGTH_DELIMITED);
    const prefix = this.#end;
    const start = prefix + varintBytes(expectedBytes);
    this.#end = start;
    write();
    const length = this.#end - start;
    const shift = prefix + varintBytes(length) - start;
    if (shift !== 0) {
      this.#reserve(MAX_VARINT);
      this.#bytes.copyWithin(start + shift, start, this.#end);
    }
    this.#end = prefix;
    this.#varint(length);
    this.#end += length;
  }

  /** Fields that are encoded already. */
  fields(value: Uint8Array): void {
    this.#reserve(value.length);
    this.#copy(value);
  }

  /** How many bytes have been written. */
  get size(): number {
    return this.#end;
  }

  finish(): Buffer {
    return this.#bytes.subarray(0, this.#end);
  }

  #copy(value: Uint8Array): void {
    if (value.length > MANY_BYTES) {
      this.#bytes.set(value, this.#end);
      this.#end += value.length;
    } else {
      for (let index = 0; index < value.length; index++) this.#bytes[this.#end++] = value[index] as number;
    }
  }

  #varint(value: number): void {
    if (value < 0) {
      this.#negative(value);
      return;
    }
    let rest = value;
    // Bitwise operations are quicker, but have 32 bits.
    for (; rest > 0x7fffffff; rest = Math.floor(rest / 0x80)) this.#bytes[this.#end++] = (rest % 0x80) | 0x80;
    for (; rest > 0x7f; rest >>>= 7) this.#bytes[this.#end++] = (rest & 0x7f) | 0x80;
    this.#bytes[this.#end++] = rest;
  }

  /** As 64 bits, whatever the type of the field. */
  #negative(value: number): void {
    let rest = BigInt.asUintN(64, BigInt(value));
    while (rest > 0x7fn) {
      this.#bytes[this.#end++] = Number(rest & 0x7fn) + 0x80;
      rest >>= 7n;
    }
    this.#bytes[this.#end++] = Number(rest);
  }

  #reserve(more: number): void {
    if (this.#end + more <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(2 * (this.#end + more));
    this.#bytes.copy(larger, 0, 0, this.#end);
    this.#bytes = larger;
  }
}

/** From here on a copy in one go is worth its cost. */
const MANY_BYTES = 48;

const FIXED_64 = 1;
const LENGTH_DELIMITED = 2;
const DOUBLE_BYTES = 8;
const MAX_VARINT = 10;
const MARGIN = 64;

export function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest > 0x7f; rest = Math.floor(rest / 0x80)) bytes += 1;
  return bytes;
}
