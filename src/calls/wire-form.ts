import { BinaryWriter } from "@bufbuild/protobuf/wire";
import type { MessageType } from "./message-types.js";

/**
 * Looks over the bytes of a message for what generated code takes as it comes: tags that there cannot be, integers that a double does
 * not hold, and messages that come in several pieces, of which it would take the last for the whole.
 */

/** A fault of one field, or of the message as a whole. */
export class WireFault extends Error {
  /** Its path, as the proto spells it; empty for the message as a whole. */
  readonly field: string;

  constructor(field: string, message: string) {
    super(message);
    this.field = field;
  }
}

/**
 * The same message with each field that is one message in one piece. What has no faults of the kind is given back as it is. Where it is
 * cut off nothing is said: whoever decodes it comes to that.
 */
export function inOnePiece(bytes: Uint8Array, type: MessageType): Uint8Array {
  return isInPieces(bytes, 0, bytes.length, type) ? joined(bytes, type) : bytes;
}

/** Throws a WireFault. */
function isInPieces(bytes: Uint8Array, start: number, end: number, type: MessageType): boolean {
  let counts: number[] | undefined;
  let found = false;
  const at = new Cursor(bytes, start, end);
  while (at.next()) {
    const field = type.fields[at.number];
    if (field === undefined) continue;
    if (field.isWide && at.wireType === VARINT && at.end - at.start >= UNSAFE_VARINT && !isSafe(bytes, at.start)) {
      throw new WireFault(field.name, `Lies beyond ±${Number.MAX_SAFE_INTEGER}, further than this service counts.`);
    }
    if (field.message === undefined || at.wireType !== LENGTH_DELIMITED) continue;
    counts ??= [];
    const count = (counts[at.number] ?? 0) + 1;
    counts[at.number] = count;
    if (count > MAX_MESSAGES) throw new WireFault(field.name, `Comes more than ${MAX_MESSAGES} times.`);
    if (count > 1 && !field.isList) found = true;
    try {
      if (isInPieces(bytes, at.start, at.end, field.message)) found = true;
    } catch (fault) {
      throw fault instanceof WireFault && fault.field !== ""
        ? new WireFault(`${field.name}${field.isList ? `[${count - 1}]` : ""}.${fault.field}`, fault.message)
        : fault;
    }
  }
  // The decoder would go on behind the end of a message within another, and take what follows for a part of it.
  if (start > 0 && at.tag !== end) throw new WireFault("", "a field is cut off");
  return found;
}

/** Protobuf has it that the pieces of a message, one behind the other, are the message that they make together. */
function joined(bytes: Uint8Array, type: MessageType): Uint8Array {
  const parts: (Uint8Array | Part)[] = [];
  /** The piece to which others are added. */
  const open = new Map<number, Part>();
  const at = new Cursor(bytes, 0, bytes.length);
  /** Where what goes as it is begins: there can be millions of fields. */
  let from = 0;
  while (at.next()) {
    const { number } = at;
    const field = type.fields[number];
    if (field?.oneof !== undefined) close(open, type, field.oneof, number);
    if (field?.message === undefined || at.wireType !== LENGTH_DELIMITED) continue;
    if (from < at.tag) parts.push(bytes.subarray(from, at.tag));
    from = at.end;
    const piece = bytes.subarray(at.start, at.end);
    const before = field.isList ? undefined : open.get(number);
    if (before) {
      before.pieces.push(piece);
      continue;
    }
    const part = { message: field.message, number, pieces: [piece] };
    parts.push(part);
    open.set(number, part);
  }
  // With what cannot be read any further.
  parts.push(bytes.subarray(from));
  return Buffer.concat(
    parts.flatMap((part) => {
      if (part instanceof Uint8Array) return [part];
      const whole = inOnePiece(Buffer.concat(part.pieces), part.message);
      return [varint(part.number * 8 + LENGTH_DELIMITED), varint(whole.length), whole];
    }),
  );
}

interface Part {
  readonly message: MessageType;
  readonly number: number;
  readonly pieces: Uint8Array[];
}

/** Another of those of which only one is set takes the place of what was there. */
function close(open: Map<number, Part>, type: MessageType, oneof: string, number: number): void {
  for (const other of open.keys()) if (other !== number && type.fields[other]?.oneof === oneof) open.delete(other);
}

/** Goes through the fields of a message, one after the other. */
class Cursor {
  readonly #bytes: Uint8Array;
  readonly #end: number;
  #position: number;
  number = 0;
  wireType = 0;
  /** Where the field begins; behind the last one, where what is left begins. */
  tag: number;
  /** Where what it holds begins and ends, without its length. */
  start = 0;
  end = 0;

  constructor(bytes: Uint8Array, start: number, end: number) {
    this.#bytes = bytes;
    this.#position = start;
    this.#end = end;
    this.tag = start;
  }

  /** False when there are no more, or the next is cut off. */
  next(): boolean {
    this.tag = this.#position;
    if (this.#position >= this.#end || !this.#readTag()) return false;
    if (this.wireType === END_GROUP) throw new WireFault("", "a group ends that has not begun");
    this.start = this.#position;
    return this.wireType === START_GROUP ? this.#skipGroup() : this.#skipValue();
  }

  #readTag(): boolean {
    const tag = this.#varint();
    if (tag === undefined) return false;
    this.number = Math.floor(tag / 8);
    this.wireType = tag % 8;
    if (this.number === 0 || this.number > MAX_NUMBER || this.wireType > FIXED32) {
      throw new WireFault("", `there is no field of number ${this.number} and wire type ${this.wireType}`);
    }
    return true;
  }

  #skipValue(): boolean {
    if (this.wireType === VARINT) {
      for (;;) {
        if (this.#position >= this.#end) return false;
        if ((this.#bytes[this.#position++] as number) < 0x80) break;
      }
    } else if (this.wireType === LENGTH_DELIMITED) {
      const length = this.#varint();
      if (length === undefined) return false;
      this.start = this.#position;
      this.#position += length;
    } else {
      this.#position += this.wireType === FIXED64 ? 8 : 4;
    }
    this.end = this.#position;
    return this.end <= this.#end;
  }

  #skipGroup(): boolean {
    const { number, start } = this;
    const open = [number];
    while (open.length > 0) {
      if (this.#position >= this.#end || open.length > MAX_GROUPS || !this.#readTag()) return false;
      if (this.wireType === START_GROUP) open.push(this.number);
      else if (this.wireType !== END_GROUP) {
        if (!this.#skipValue()) return false;
      } else if (open.pop() !== this.number) throw new WireFault("", "a group ends as another one");
    }
    this.number = number;
    this.wireType = START_GROUP;
    this.start = start;
    this.end = this.#position;
    return true;
  }

  /** A tag or a length. Undefined when it is cut off. */
  #varint(): number | undefined {
    let value = 0;
    for (let scale = 1; scale <= LAST_SCALE; scale *= 0x80) {
      if (this.#position >= this.#end) return undefined;
      const byte = this.#bytes[this.#position++] as number;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    throw new WireFault("", "a tag or a length has more bytes than there can be");
  }
}

function isSafe(bytes: Uint8Array, start: number): boolean {
  let value = 0n;
  for (let index = start, shift = 0n; shift < 70n; index++, shift += 7n) {
    const byte = bytes[index] as number;
    value |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) break;
  }
  return Number.isSafeInteger(Number(BigInt.asIntN(64, value)));
}

function varint(value: number): Uint8Array {
  return new BinaryWriter().uint32(value).finish();
}

const VARINT = 0;
const FIXED64 = 1;
const LENGTH_DELIMITED = 2;
const START_GROUP = 3;
const END_GROUP = 4;
const FIXED32 = 5;
const MAX_NUMBER = 2 ** 29 - 1;

/** Far more messages in one field than any request may have. */
const MAX_MESSAGES = 10_000;

/** Of the fifth byte of a varint: what has more is no tag and no length. */
const LAST_SCALE = 0x80 ** 4;

/** From so many bytes on a varint can be more than a double holds: each has 7 of its bits. */
const UNSAFE_VARINT = 8;

/** As many as the decoder goes down. */
const MAX_GROUPS = 100;
