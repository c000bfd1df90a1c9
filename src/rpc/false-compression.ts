import type { ServerInterceptingCallInterface } from "@grpc/grpc-js";
import { invalidFields, unknownCompression } from "../domain/errors.js";
import { toStatus } from "./status.js";

/**
 * Refuses messages that say of themselves what cannot be: to be compressed where the call names no compression, which grpc-js (1.14.7)
 * takes as they are; and answers a compression that it does not know as gRPC has it, with those that there are.
 */
export function refuseFalseCompression(call: ServerInterceptingCallInterface): void {
  const inner = call as Unpacking;
  // All that could change with grpc-js: without it its own ways are kept, and the tests of it fail.
  if (typeof inner.decompressMessage !== "function") return;
  const decompress = inner.decompressMessage.bind(call);
  inner.decompressMessage = (message, encoding) => {
    const isPacked = message[0] !== 0;
    if (!isPacked) return decompress(message, encoding);
    if (message[0] !== PACKED) return refused(badRequest(`Its compressed flag is ${message[0]}, and can be 0 or 1.`));
    if (encoding === "identity")
      return refused(badRequest("It is said to be compressed, but not how: send grpc-encoding."));
    if (!KNOWN.has(encoding)) return refused(unknownCompression(encoding), { "grpc-accept-encoding": ACCEPTED });
    return decompress(message, encoding);
  };
}

type Unpacking = ServerInterceptingCallInterface & {
  decompressMessage?(message: Buffer, encoding: string): Buffer | Promise<Buffer>;
};

/** grpc-js answers with what this rejects with. */
function refused(error: unknown, headers: Readonly<Record<string, string>> = {}): Promise<never> {
  const status = toStatus(error, "");
  for (const [name, value] of Object.entries(headers)) status.metadata.set(name, value);
  return Promise.reject(status);
}

const badRequest = (description: string) => invalidFields([{ field: "request", description }]);

const PACKED = 1;
const KNOWN: ReadonlySet<string> = new Set(["gzip", "deflate"]);
const ACCEPTED = "identity,deflate,gzip";
