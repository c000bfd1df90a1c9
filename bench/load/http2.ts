import { once } from "node:events";
import { type ClientHttp2Session, connect, type IncomingHttpHeaders } from "node:http2";

/**
 * gRPC on bare HTTP/2. A grpc-js client costs more than the server that it loads; here a call is a stream, bytes that were
 * encoded before, and a look at the status.
 */
export interface Connections {
  /** Makes a call and passes over the response, but for whether it is OK. */
  unary(path: string, request: Uint8Array): Promise<void>;
  /** Makes a call and hands on each chunk of bytes as it arrives. */
  stream(path: string, request: Uint8Array, onData: (chunk: Buffer) => void): StreamCall;
  close(): void;
}

export interface StreamCall {
  readonly done: Promise<void>;
  pause(): void;
  resume(): void;
}

/** Wide enough that the flow control of HTTP/2 is not what is measured. */
const WINDOW_BYTES = 4 * 1024 * 1024;

/** `credential` is a key or a token that every call shows. */
export async function openConnections(address: string, count: number, credential?: string): Promise<Connections> {
  const shown = credential === undefined ? undefined : { authorization: `Bearer ${credential}` };
  const sessions = await Promise.all(Array.from({ length: count }, () => open(address)));
  let turn = 0;
  const next = (): ClientHttp2Session => sessions[turn++ % sessions.length] as ClientHttp2Session;

  const start = (path: string, request: Uint8Array, onData: ((chunk: Buffer) => void) | undefined) => {
    const stream = next().request({
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
      ...shown,
    });
    const done = new Promise<void>((resolve, reject) => {
      let ending: IncomingHttpHeaders = {};
      const note = (headers: IncomingHttpHeaders): void => {
        if (headers["grpc-status"] !== undefined) ending = headers;
      };
      stream.on("response", note);
      stream.on("trailers", note);
      stream.on("error", reject);
      stream.on("close", () => {
        if (ending["grpc-status"] === "0") resolve();
        else reject(new Error(`${path}: ${statusOf(ending)}`));
      });
    });
    if (onData) {
      stream.on("data", (chunk: Buffer) => {
        try {
          onData(chunk);
        } catch (error) {
          stream.destroy(error as Error);
        }
      });
    } else stream.resume();
    stream.end(request);
    return { done, stream };
  };

  return {
    unary: (path, request) => start(path, request, undefined).done,
    stream(path, request, onData) {
      const { done, stream } = start(path, request, onData);
      return { done, pause: () => stream.pause(), resume: () => stream.resume() };
    },
    close() {
      for (const session of sessions) session.destroy();
    },
  };
}

async function open(address: string): Promise<ClientHttp2Session> {
  const session = connect(`http://${address}`, { settings: { initialWindowSize: WINDOW_BYTES } });
  await once(session, "connect");
  session.setLocalWindowSize(WINDOW_BYTES);
  // What becomes of a connection shows in its calls.
  session.on("error", () => {});
  return session;
}

function statusOf(headers: IncomingHttpHeaders): string {
  if (headers["grpc-status"] === undefined) return "ended without a status";
  return `status ${headers["grpc-status"]}: ${decodeURIComponent(String(headers["grpc-message"] ?? ""))}`;
}
