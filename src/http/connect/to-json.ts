import { type DescMessage, fromBinary, toJson } from "@bufbuild/protobuf";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { decodeStruct } from "../../domain/struct.js";
import { type Field, fieldsOf } from "./fields.js";

/** The bytes of a message → its JSON, in pieces. Fields that are unset or have their default are left out, as protobuf's mapping has it. */
export function* toJsonBytes(message: DescMessage, bytes: Uint8Array): Generator<void, readonly Uint8Array[]> {
  const out = createText();
  yield* writeMessage(out, message, bytes);
  return out.finish();
}

function* writeMessage(out: Text, message: DescMessage, bytes: Uint8Array): Generator<void, void> {
  const { plain, parts } = takeApart(message, bytes);
  const own =
    plain.length === 0 ? "{" : JSON.stringify(toJson(message, fromBinary(message, joined(plain)))).slice(0, -1);
  out.write(own);
  let separator = own === "{" ? "" : ",";
  for (const [{ desc, part }, values] of parts) {
    out.write(`${separator}"${desc.jsonName}":`);
    separator = ",";
    if (part.kind === "struct") {
      out.write(JSON.stringify(decodeStruct(joined(values))));
    } else if (part.kind === "message") {
      yield* writeMessage(out, part.message, joined(values));
    } else if (part.kind === "messages") {
      let before = "[";
      for (const value of values) {
        out.write(before);
        yield* writeMessage(out, part.message, value);
        before = ",";
        yield;
      }
      out.write("]");
    }
  }
  out.write("}");
}

/** The bytes of the fields that the library writes, and of each of the others their contents. */
function takeApart(message: DescMessage, bytes: Uint8Array) {
  const { byNumber } = fieldsOf(message);
  const plain: Uint8Array[] = [];
  const parts = new Map<Field, Uint8Array[]>();
  const reader = new BinaryReader(bytes);
  let plainFrom = 0;
  while (reader.pos < reader.len) {
    const from = reader.pos;
    const [number, wireType] = reader.tag();
    const field = byNumber.get(number);
    if (!field || field.part.kind === "plain" || wireType !== WireType.LengthDelimited) {
      reader.skip(wireType, number);
      continue;
    }
    if (from > plainFrom) plain.push(bytes.subarray(plainFrom, from));
    const content = reader.bytes();
    const contents = parts.get(field);
    if (contents) contents.push(content);
    else parts.set(field, [content]);
    plainFrom = reader.pos;
  }
  if (reader.len > plainFrom) plain.push(bytes.subarray(plainFrom));
  return { plain, parts };
}

/** What has come in several pieces means what it means in one. */
function joined(parts: readonly Uint8Array[]): Uint8Array {
  const [only] = parts;
  return only && parts.length === 1 ? only : Buffer.concat(parts);
}

interface Text {
  write(text: string): void;
  finish(): readonly Uint8Array[];
}

/** Encoded piece by piece: answers have up to 64 MiB. */
function createText(): Text {
  const pieces: Uint8Array[] = [];
  let text = "";
  const encode = (): void => {
    pieces.push(Buffer.from(text));
    text = "";
  };
  return {
    write(more) {
      text += more;
      if (text.length >= PIECE_CHARACTERS) encode();
    },
    finish() {
      if (text !== "") encode();
      return pieces;
    },
  };
}

const PIECE_CHARACTERS = 64 * 1024;
