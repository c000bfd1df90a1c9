import { connect, type Socket } from "node:net";

/** HTTP/2 by hand, for what no library would send; and for a client that can be told not to read. */

export const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

const TYPES = { data: 0, headers: 1, rst: 3, settings: 4, ping: 6, window: 8, continuation: 9 } as const;

export function http2Frame(type: keyof typeof TYPES, flags: number, stream: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(TYPES[type], 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

const END_STREAM = 1;
const END_HEADERS = 4;
const ACK = 1;
const INITIAL_WINDOW_SIZE = 4;
const LARGEST_WINDOW = 2 ** 31 - 1;

const uint32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

/** What a client says first. This one takes as much as the server likes to send. */
export function greeting(): Buffer {
  const window = Buffer.concat([Buffer.from([0, INITIAL_WINDOW_SIZE]), uint32(LARGEST_WINDOW)]);
  return Buffer.concat([
    PREFACE,
    http2Frame("settings", 0, 0, window),
    http2Frame("window", 0, 0, uint32(LARGEST_WINDOW - 65_535)),
    http2Frame("settings", ACK, 0, Buffer.alloc(0)),
  ]);
}

/** A gRPC call in two frames. */
export function callFrames(stream: number, path: string, body: Uint8Array): Buffer {
  return Buffer.concat([openFrame(stream, path), http2Frame("data", END_STREAM, stream, body)]);
}

/** Its headers alone. */
export function openFrame(stream: number, path: string): Buffer {
  const block = headerBlock({
    ":method": "POST",
    ":scheme": "http",
    ":path": path,
    ":authority": "service",
    "content-type": "application/grpc",
    te: "trailers",
  });
  return http2Frame("headers", END_HEADERS, stream, block);
}

export const cancelFrame = (stream: number): Buffer => http2Frame("rst", 0, stream, uint32(8));

/** HPACK without its tables: each header as it is. */
export function headerBlock(headers: Readonly<Record<string, string>>): Buffer {
  const text = (value: string): Buffer => {
    const bytes = Buffer.from(value);
    return Buffer.concat([length(bytes.length), bytes]);
  };
  return Buffer.concat(Object.entries(headers).flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]));
}

/** An integer with a prefix of seven bits. */
function length(value: number): Buffer {
  if (value < 127) return Buffer.from([value]);
  const bytes = [127];
  for (let left = value - 127; ; left = Math.floor(left / 128)) {
    if (left < 128) return Buffer.from([...bytes, left]);
    bytes.push((left % 128) + 128);
  }
}

/** A connection whose end, whatever kind it is, disturbs nobody. Reads only when it is told to. */
export function openSocket(address: string): Socket {
  const [host, port] = address.split(":");
  const socket = connect({ host, port: Number(port) });
  socket.on("error", () => {});
  return socket;
}
