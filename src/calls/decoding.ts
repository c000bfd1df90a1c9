import { BinaryReader } from "@bufbuild/protobuf/wire";
import { invalidFields, type SessionsError, type Violation } from "../domain/errors.js";
import type { MessageType } from "./message-types.js";
import { inOnePiece, WireFault } from "./wire-form.js";

/** A request as it came off the wire, or what is wrong with it: a deserializer that throws would be answered with INTERNAL. */
export type Decoded<Request> = { readonly bytes: number } & (
  | { readonly request: Request }
  | { readonly error: SessionsError }
);

/** Wraps a generated deserializer, which takes a reader as well as bytes. `type` is that of the request. */
export function decoding<Request>(
  decode: (reader: Buffer) => Request,
  type: MessageType,
): (bytes: Uint8Array) => Decoded<Request> {
  return (bytes) => {
    try {
      const reader = new BinaryReader(inOnePiece(bytes, type), decodeUtf8);
      const request = decode(reader as unknown as Buffer);
      if (reader.pos !== reader.len) throw new RangeError("bytes are left over");
      return { bytes: bytes.length, request };
    } catch (error) {
      return { bytes: bytes.length, error: invalidFields([faultOf(error)]) };
    }
  };
}

function faultOf(error: unknown): Violation {
  if (error instanceof WireFault && error.field !== "") return { field: error.field, description: error.message };
  const why = error instanceof Error ? error.message : String(error);
  return { field: "request", description: `Not a valid protobuf message: ${why}.` };
}

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Proto3 strings are UTF-8; replacing what is not would make two different ids one. */
const decodeUtf8 = (bytes: Uint8Array): string => strict.decode(bytes);
