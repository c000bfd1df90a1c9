import { BinaryReader } from "@bufbuild/protobuf/wire";
import { invalidFields, type SessionsError } from "../domain/errors.js";

/** A request as it came off the wire, or what is wrong with it: a deserializer that throws would be answered with INTERNAL. */
export type Decoded<Request> = { readonly bytes: number } & (
  | { readonly request: Request }
  | { readonly error: SessionsError }
);

/** Wraps a generated deserializer, which takes a reader as well as bytes. */
export function decoding<Request>(decode: (reader: Buffer) => Request): (bytes: Uint8Array) => Decoded<Request> {
  return (bytes) => {
    const reader = new BinaryReader(bytes, decodeUtf8);
    try {
      const request = decode(reader as unknown as Buffer);
      if (reader.pos !== reader.len) throw new RangeError("bytes are left over");
      return { bytes: bytes.length, request };
    } catch (error) {
      return { bytes: bytes.length, error: invalidFields([{ field: "request", description: faultOf(error) }]) };
    }
  };
}

/** The generated code reads an int64 as a double, and throws when that would not be exact. */
function faultOf(error: unknown): string {
  const why = error instanceof Error ? error.message : String(error);
  return why.includes("SAFE_INTEGER")
    ? `An integer lies beyond ±${Number.MAX_SAFE_INTEGER}, further than this service counts.`
    : `Not a valid protobuf message: ${why}.`;
}

const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Proto3 strings are UTF-8; replacing what is not would make two different ids one. */
const decodeUtf8 = (bytes: Uint8Array): string => strict.decode(bytes);
