import type { Http2Server } from "node:http2";
import { constants, gzip } from "node:zlib";
import type { Server, ServerInterceptingCallInterface } from "@grpc/grpc-js";

/** Packs large responses for those who take them so. grpc-js (1.14.7) does not, so its calls' own methods are wrapped. */
export interface CompressedResponses {
  /** For a server that listens: notes which calls take packed responses. grpc-js drops the header before anything of ours is called. */
  follow(server: Server): void;
  /** For a call as grpc-js has it, before any interceptor. */
  prepare(call: ServerInterceptingCallInterface): void;
}

/** Beyond this there is little to be won, and much to be paid for it. */
const LEVEL = constants.Z_BEST_SPEED;

const WORTH_PART = 0.9;

/** Those of so many bytes or more are packed. */
export function createCompressedResponses(fromBytes: number): CompressedResponses {
  const takers = new WeakSet<object>();
  return {
    follow(server) {
      const { http2Servers } = server as unknown as { readonly http2Servers?: unknown };
      // All that could change with grpc-js: without it nothing is packed, and the tests of it fail.
      if (!(http2Servers instanceof Map)) return;
      for (const http2Server of http2Servers.keys() as Iterable<Http2Server>) {
        http2Server.prependListener("stream", (stream, headers) => {
          if (takesGzip(headers["grpc-accept-encoding"])) takers.add(stream);
        });
      }
    },
    prepare(call) {
      const { stream } = call as Sending;
      if (stream !== undefined && takers.has(stream)) packResponses(call as Sending, fromBytes);
    },
  };
}

type Sending = ServerInterceptingCallInterface & {
  readonly stream?: object;
  /** Makes the frame of a message. */
  serializeMessage?(message: unknown): Buffer;
};

const takesGzip = (accepted: unknown): boolean =>
  String(accepted)
    .split(",")
    .some((encoding) => encoding.trim() === "gzip");

function packResponses(call: Sending, fromBytes: number): void {
  if (typeof call.serializeMessage !== "function") return;
  /** What is packed, until it is in its frame. */
  let packed: Buffer | undefined;
  /** What is to follow what is being packed. */
  let next: (() => void) | undefined;
  let isPacking = false;

  const sendMetadata = call.sendMetadata.bind(call);
  call.sendMetadata = (metadata) => {
    // Small ones go as they are all the same: each frame says of itself what it is.
    metadata.set("grpc-encoding", "gzip");
    sendMetadata(metadata);
  };

  const serialize = call.serializeMessage.bind(call);
  call.serializeMessage = (message) => {
    const frame = serialize(message);
    if (message === packed) frame.writeUInt8(1, 0);
    packed = undefined;
    return frame;
  };

  const sendMessage = call.sendMessage.bind(call);
  call.sendMessage = (message: unknown, callback) => {
    if (!Buffer.isBuffer(message) || message.length < fromBytes) {
      sendMessage(message, callback);
      return;
    }
    isPacking = true;
    gzip(message, { level: LEVEL }, (error, bytes) => {
      isPacking = false;
      // What hardly becomes smaller, such as pictures, goes as it is.
      if (!error && bytes.length <= WORTH_PART * message.length) packed = bytes;
      sendMessage(packed ?? message, callback);
      next?.();
    });
  };

  const sendStatus = call.sendStatus.bind(call);
  call.sendStatus = (status) => {
    if (isPacking) next ??= () => sendStatus(status);
    else sendStatus(status);
  };
}
