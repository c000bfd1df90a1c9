import { once } from "node:events";
import { type ClientHttp2Session, type ClientHttp2Stream, connect, type IncomingHttpHeaders } from "node:http2";
import { Metadata, type ServiceError } from "@grpc/grpc-js";
import { decodeFailure, type Failure } from "./api.js";

/**
 * gRPC without a gRPC client: what is sent is exactly what the test says, and what arrives is what the server said. A stock
 * client would refuse to send most of it, and answers deadlines by itself.
 */
export interface RawClient {
  call(path: string, options: RawCall): Promise<RawAnswer>;
  /** The stream itself, nothing sent yet but its headers. */
  open(path: string, headers?: Readonly<Record<string, string>>): ClientHttp2Stream;
  close(): void;
}

export interface RawCall {
  /** The request's bytes; put into one frame as they are. */
  readonly message?: Uint8Array;
  readonly compressed?: boolean;
  /** In place of `message`: what goes over the wire, frames and all. */
  readonly wire?: Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface RawAnswer {
  /** The status and its details; undefined when the call succeeded. */
  readonly failure: Failure | undefined;
  readonly code: number;
  /** The size of the header block that brought the status, as HTTP/2 counts it. */
  readonly statusBytes: number;
  /** The bytes of the responses, frames and all. */
  readonly body: Buffer;
  /** What came before them; undefined when there was nothing but a status. */
  readonly headers: IncomingHttpHeaders | undefined;
  /** What the status came with. */
  readonly trailers: IncomingHttpHeaders;
}

export function rawClient(address: string): RawClient {
  const session: ClientHttp2Session = connect(`http://${address}`);
  session.on("error", () => {});
  const open = (path: string, headers: Readonly<Record<string, string>> = {}): ClientHttp2Stream =>
    session.request({
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
      ...headers,
    });
  return {
    open,
    async call(path, { message = new Uint8Array(), compressed = false, wire = frame(message, compressed), headers }) {
      const stream = open(path, headers);
      let trailers: IncomingHttpHeaders = {};
      let beginning: IncomingHttpHeaders | undefined;
      const note = (received: IncomingHttpHeaders): void => {
        if (received["grpc-status"] !== undefined) trailers = received;
        else beginning = received;
      };
      stream.on("response", note);
      stream.on("trailers", note);
      const chunks: Buffer[] = [];
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.end(wire);
      await once(stream, "close");
      return { ...statusOf(trailers), body: Buffer.concat(chunks), headers: beginning, trailers };
    },
    close: () => session.destroy(),
  };
}

/** One gRPC message as it goes over the wire. */
export function frame(message: Uint8Array, compressed = false): Buffer {
  return Buffer.concat([frameHead(message.length, compressed), message]);
}

/** What comes before a message of so many bytes. */
export function frameHead(length: number, compressed = false): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt8(compressed ? 1 : 0, 0);
  head.writeUInt32BE(length, 1);
  return head;
}

function statusOf(ending: IncomingHttpHeaders): Pick<RawAnswer, "code" | "statusBytes" | "failure"> {
  const code = Number(ending["grpc-status"]);
  const statusBytes = Object.entries(ending).reduce(
    (sum, [name, value]) => sum + name.length + String(value).length + 32,
    0,
  );
  const details = decodeURIComponent(String(ending["grpc-message"] ?? ""));
  const error = { code, details, metadata: Metadata.fromHttp2Headers(ending) } as ServiceError;
  return { code, statusBytes, failure: code === 0 ? undefined : decodeFailure(error) };
}
