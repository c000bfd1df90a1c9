/** The five bytes before each message of gRPC: not compressed, and its length. */
const HEAD_BYTES = 5;

/** One message as it goes over the wire. */
export function frame(message: Uint8Array): Buffer {
  const framed = Buffer.alloc(HEAD_BYTES + message.length);
  framed.writeUInt32BE(message.length, 1);
  framed.set(message, HEAD_BYTES);
  return framed;
}

/** Cuts a stream of bytes into messages again. */
export function frameReader(onMessage: (message: Buffer) => void): (chunk: Buffer) => void {
  let left: Buffer = Buffer.alloc(0);
  return (chunk) => {
    left = left.length === 0 ? chunk : Buffer.concat([left, chunk]);
    let from = 0;
    while (left.length - from >= HEAD_BYTES) {
      const end = from + HEAD_BYTES + left.readUInt32BE(from + 1);
      if (end > left.length) break;
      onMessage(left.subarray(from + HEAD_BYTES, end));
      from = end;
    }
    left = left.subarray(from);
  };
}

const VARINT = 0;
const BYTES = 2;
const ITEM_TAG = (1 << 3) | BYTES;

/**
 * How many items a message has that lists some: field 1 of each of them. Counted without being decoded, for what a client makes
 * of them is not ours to measure.
 */
export function countItems(message: Buffer): number {
  let at = 0;
  let items = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = message[at++] ?? 0;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
  };
  while (at < message.length) {
    const tag = varint();
    const type = tag & 7;
    if (type !== VARINT && type !== BYTES) throw new Error(`a message with items has a field with tag ${tag}`);
    if (tag === ITEM_TAG) items += 1;
    const value = varint();
    if (type === BYTES) at += value;
  }
  return items;
}
