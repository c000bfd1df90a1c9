import { once } from "node:events";
import { createServer, type Http2Session, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";
import { status as codes } from "@grpc/grpc-js";
import { onTestFinished } from "vitest";
import type { Any } from "../../gen/google/protobuf/any.js";
import { ErrorInfo, RetryInfo } from "../../gen/google/rpc/error_details.js";
import { Status } from "../../gen/google/rpc/status.js";

/** Who is called in place of a service, so that the test sees what a client sends, and says what it gets. */
export interface RecordingPeer {
  readonly address: string;
  /** In the order in which they came. */
  readonly calls: readonly RecordedCall[];
}

export interface RecordedCall {
  readonly path: string;
  readonly authorization: string | undefined;
}

export interface Answer {
  readonly code: keyof typeof codes;
  readonly reason?: string;
  readonly metadata?: Record<string, string>;
  readonly retryDelayMs?: number;
  /** Messages that come before the status. */
  readonly messages?: readonly Uint8Array[];
  /** In place of a status. */
  readonly breaks?: boolean;
}

/** Lives as long as the test. `answer` is given the number of the call, from 0. */
export async function startRecordingPeer(answer: (n: number) => Answer): Promise<RecordingPeer> {
  const calls: RecordedCall[] = [];
  const connections = new Set<Http2Session>();
  const server = createServer();
  server.on("session", (session) => connections.add(session.on("error", () => {})));
  server.on("stream", (stream, headers) => {
    stream.on("error", () => {});
    calls.push({ path: String(headers[":path"]), authorization: headers.authorization });
    give(stream, answer(calls.length - 1));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    for (const session of connections) session.destroy();
    server.close();
  });
  return { address: `127.0.0.1:${(server.address() as AddressInfo).port}`, calls };
}

function give(stream: ServerHttp2Stream, { messages = [], breaks, ...status }: Answer): void {
  stream.respond({ ":status": 200, "content-type": "application/grpc+proto" }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers(trailersOf(status)));
  for (const message of messages) stream.write(framed(message));
  if (breaks) stream.write(Buffer.alloc(0), () => setImmediate(() => stream.session?.destroy()));
  else stream.end();
}

function framed(message: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

function trailersOf({ code, reason, metadata = {}, retryDelayMs }: Answer): Record<string, string> {
  const details: Any[] = [];
  const add = (name: string, value: Uint8Array) =>
    details.push({ typeUrl: `type.googleapis.com/google.rpc.${name}`, value: Buffer.from(value) });
  if (reason) add("ErrorInfo", ErrorInfo.encode({ reason, domain: "sessions.v1", metadata }).finish());
  if (retryDelayMs !== undefined) {
    const retryDelay = { seconds: 0, nanos: retryDelayMs * 1e6 };
    add("RetryInfo", RetryInfo.encode({ retryDelay }).finish());
  }
  const bytes = Status.encode({ code: codes[code], message: code, details }).finish();
  return {
    "grpc-status": String(codes[code]),
    "grpc-message": code,
    "grpc-status-details-bin": Buffer.from(bytes).toString("base64"),
  };
}
