import { randomBytes } from "node:crypto";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  GetMemoryRequest,
  GetMemoryResponse,
  ListMessagesRequest,
  ListMessagesResponse,
  MemoryServiceService,
} from "../../gen/sessions/v1/memory_service.js";
import { SessionServiceService } from "../../gen/sessions/v1/session_service.js";
import { type RawAnswer, type RawClient, rawClient } from "../support/raw-grpc.js";
import { startService, type TestService } from "../support/service.js";

const ABOVE = 10_000;
const MESSAGES = 600;

let packing: TestService;
let plain: TestService;
let clients: readonly [packing: RawClient, plain: RawClient];
beforeAll(async () => {
  packing = await startService({ compressAbove: ABOVE });
  plain = await startService({ databaseName: packing.database.db.databaseName });
  clients = [rawClient(packing.address), rawClient(plain.address)];
  const messages = Array.from({ length: MESSAGES }, (_, index) => ({
    content: `${index} ${"lorem ipsum ".repeat(80)}`,
  }));
  await packing.memory.addMemory({ sessionId: "large", messages });
  await packing.memory.addMemory({ sessionId: "random", messages: [{ payload: randomBytes(4 * ABOVE) }] });
});
afterAll(async () => {
  for (const client of clients) client.close();
  await plain.stop();
  await packing.stop();
});

/** What a frame says of itself, and what is in it. */
interface Frame {
  readonly isPacked: boolean;
  readonly size: number;
  readonly message: Buffer;
}

function framesIn(body: Buffer): Frame[] {
  const frames: Frame[] = [];
  for (let at = 0; at < body.length; ) {
    const size = body.readUInt32BE(at + 1);
    const bytes = body.subarray(at + 5, at + 5 + size);
    const isPacked = body.readUInt8(at) === 1;
    frames.push({ isPacked, size, message: isPacked ? gunzipSync(bytes) : bytes });
    at += 5 + size;
  }
  return frames;
}

const ACCEPTS = { "grpc-accept-encoding": "identity, deflate,gzip" };

async function call(client: RawClient, path: string, message: Uint8Array, accepts: Readonly<Record<string, string>>) {
  const answer: RawAnswer = await client.call(path, { message, headers: { "grpc-timeout": "60S", ...accepts } });
  expect(answer.code).toBe(0);
  return { encoding: answer.headers?.["grpc-encoding"], frames: framesIn(answer.body) };
}

const getMemory = (client: RawClient, sessionId: string, lastN: number, accepts: Readonly<Record<string, string>>) =>
  call(
    client,
    MemoryServiceService.getMemory.path,
    GetMemoryRequest.encode(GetMemoryRequest.fromPartial({ sessionId, lastN })).finish(),
    accepts,
  );

test("a large response is packed for whoever takes it so, and is the same", async () => {
  const whole = await getMemory(clients[1], "large", 100, {});
  const packed = await getMemory(clients[0], "large", 100, ACCEPTS);
  expect(packed).toMatchObject({ encoding: "gzip", frames: [{ isPacked: true }] });
  expect(packed.frames[0]?.message).toEqual(whole.frames[0]?.message);
  expect(packed.frames[0]?.size).toBeLessThan((whole.frames[0]?.size ?? 0) / 4);
  expect(GetMemoryResponse.decode(packed.frames[0]?.message as Buffer).messages).toHaveLength(100);
});

test("a small one goes as it is, and so does what packing hardly makes smaller", async () => {
  for (const [sessionId, lastN] of [
    ["large", 1],
    ["random", 1],
  ] as const) {
    expect(await getMemory(clients[0], sessionId, lastN, ACCEPTS)).toMatchObject({ frames: [{ isPacked: false }] });
  }
});

test("nobody gets it who does not say that they take it, and nobody at all unless the service is told to", async () => {
  const others: Record<string, string>[] = [
    {},
    { "grpc-accept-encoding": "identity,deflate" },
    { "grpc-accept-encoding": "gzipped" },
  ];
  for (const accepts of others) {
    const answer = await getMemory(clients[0], "large", 100, accepts);
    expect(answer).toMatchObject({ encoding: "identity", frames: [{ isPacked: false }] });
  }
  expect(await getMemory(clients[1], "large", 100, ACCEPTS)).toMatchObject({ frames: [{ isPacked: false }] });
});

test("of a stream each chunk is packed that is large, in order", async () => {
  const request = ListMessagesRequest.fromPartial({ sessionId: "large", chunkSize: 599 });
  const { encoding, frames } = await call(
    clients[0],
    MemoryServiceService.listMessages.path,
    ListMessagesRequest.encode(request).finish(),
    ACCEPTS,
  );
  expect(encoding).toBe("gzip");
  expect(frames.map(({ isPacked }) => isPacked)).toContain(true);
  expect(frames.every(({ isPacked, message }) => isPacked === message.length >= ABOVE)).toBe(true);
  const read = frames.flatMap(({ message }) => ListMessagesResponse.decode(message).messages);
  expect(read.map(({ sequence }) => sequence)).toEqual(Array.from({ length: MESSAGES }, (_, index) => index + 1));
});

test("a stock client reads all of it, and failures as ever", async () => {
  const [packed, whole] = [
    await packing.memory.getMemory({ sessionId: "large", lastN: 500 }),
    await plain.memory.getMemory({ sessionId: "large", lastN: 500 }),
  ];
  expect(packed).toEqual(whole);
  const chunks = await packing.memory.listMessages({ sessionId: "large" });
  expect(chunks.flatMap(({ messages }) => messages)).toHaveLength(MESSAGES);
  const missing = await clients[0].call(SessionServiceService.getSession.path, {
    message: Uint8Array.of(0x0a, 0x01, 0x78),
    headers: ACCEPTS,
  });
  expect(missing.failure).toMatchObject({ code: "NOT_FOUND", reason: "SESSION_NOT_FOUND" });
});
