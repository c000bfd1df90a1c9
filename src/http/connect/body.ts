import { Code, ConnectError } from "@connectrpc/connect";
import {
  type Compression,
  compressionNegotiate,
  createAsyncIterable,
  pipe,
  transformDecompressEnvelope,
  transformSplitEnvelope,
  type UniversalServerRequest,
} from "@connectrpc/connect/protocol";
import { compressionBrotli, compressionGzip } from "@connectrpc/connect-node";
import { unimplemented } from "../../domain/errors.js";
import { MAX_REQUEST_BYTES } from "../../domain/limits.js";
import type { Dialect } from "./dialects.js";
import { badRequest, sentence, tooLarge } from "./faults.js";

/** Requests may come compressed. Answers go out as they are, for that would take longer than to make them. */
const COMPRESSIONS: Compression[] = [compressionGzip, compressionBrotli];

/** The byte and the length before a message. */
const ENVELOPE_BYTES = 5;

/** The one message of a request, unpacked. Throws the fault to answer with. */
export async function readMessage(
  { body, header }: UniversalServerRequest,
  { isEnveloped, headers }: Dialect,
): Promise<Uint8Array> {
  const packed = await readAll(
    body as AsyncIterable<Uint8Array>,
    MAX_REQUEST_BYTES + (isEnveloped ? ENVELOPE_BYTES : 0),
  );
  const { request: compression, error } = compressionNegotiate(
    COMPRESSIONS,
    header.get(headers.encoding),
    "identity",
    headers.encoding,
  );
  if (error) throw unimplemented(sentence(error.rawMessage));
  try {
    if (!isEnveloped) return compression ? await compression.decompress(packed, MAX_REQUEST_BYTES) : packed;
    return await onlyMessage(packed, compression);
  } catch (fault) {
    throw faultOf(fault);
  }
}

/**
 * All of a body, first of all: to look for messages in it with each of its parts, as the library does, takes as long as the square of
 * their number, and a client can send it byte by byte.
 */
async function readAll(body: AsyncIterable<Uint8Array>, maxBytes: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  const iterator = body[Symbol.asyncIterator]();
  for (let next = await iterator.next(); !next.done; next = await iterator.next()) {
    parts.push(next.value);
    bytes += next.value.length;
    // To end the iteration would end the connection, and nobody would get to know why.
    if (bytes > maxBytes) throw tooLarge();
  }
  const [only] = parts;
  return only && parts.length === 1 ? only : Buffer.concat(parts, bytes);
}

async function onlyMessage(packed: Uint8Array, compression: Compression | null): Promise<Uint8Array> {
  const messages: Uint8Array[] = [];
  const envelopes = pipe(
    createAsyncIterable([packed]),
    transformSplitEnvelope(MAX_REQUEST_BYTES),
    transformDecompressEnvelope(compression, MAX_REQUEST_BYTES),
  );
  for await (const { data } of envelopes) {
    messages.push(data);
    if (messages.length > 1) break;
  }
  const [only] = messages;
  if (!only || messages.length > 1)
    throw badRequest(`${only ? "More than one message" : "No whole message"}: send one.`);
  return only;
}

/** What the library has against what was sent, whatever code it gives that. */
function faultOf(error: unknown): unknown {
  if (!(error instanceof ConnectError)) return error;
  return error.code === Code.ResourceExhausted ? tooLarge() : badRequest(sentence(error.rawMessage));
}
