import { Client, type ClientReadableStream, credentials } from "@grpc/grpc-js";
import { AddMemoryRequest, MemoryServiceService } from "../../gen/sessions/v1/memory_service.js";
import {
  EventType,
  SessionServiceService,
  WatchSessionsRequest,
  type WatchSessionsResponse,
} from "../../gen/sessions/v1/session_service.js";
import { median, p99 } from "../harness/statistics.js";
import { serve } from "./serve.js";

/** Those who watch, each a session of their own, and one who adds to these now and then; a process of its own. */

/** As many as a connection takes. */
const A_CONNECTION = 500;

const clients: Client[] = [];
let streams: ClientReadableStream<WatchSessionsResponse>[] = [];
/** Told when the message of this id has come. */
const awaited = new Map<string, () => void>();
let added = 0;

const sessionOf = (n: number): string => `watched-${n}`;

async function begin(client: Client, sessionId: string): Promise<ClientReadableStream<WatchSessionsResponse>> {
  const { path, requestSerialize, responseDeserialize } = SessionServiceService.watchSessions;
  const request = WatchSessionsRequest.fromPartial({ sessionId });
  const stream = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request);
  await new Promise<void>((resolve, reject) => {
    stream.on("error", reject);
    stream.on("data", ({ eventType, messageIds }: WatchSessionsResponse) => {
      if (eventType === EventType.EVENT_TYPE_WATCHING) resolve();
      for (const id of messageIds) awaited.get(id)?.();
    });
  });
  return stream;
}

function add(client: Client, sessionId: string, messageId: string): Promise<void> {
  const { path, requestSerialize, responseDeserialize } = MemoryServiceService.addMemory;
  const request = AddMemoryRequest.fromPartial({
    sessionId,
    messages: [{ messageId, role: "user", content: "hello" }],
  });
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, (error) =>
      error ? reject(error) : resolve(),
    );
  });
}

const handlers = {
  async open(address: string, count: number): Promise<void> {
    for (let n = 0; n < count; n += A_CONNECTION) {
      clients.push(new Client(address, credentials.createInsecure(), { "grpc.use_local_subchannel_pool": 1 }));
    }
    for (let from = 0; from < count; from += 50) {
      const some = Array.from({ length: Math.min(50, count - from) }, (_, n) => from + n);
      const opened = some.map((n) => begin(clients[Math.floor(n / A_CONNECTION)] as Client, sessionOf(n)));
      streams.push(...(await Promise.all(opened)));
    }
  },

  /** Adds to one watched session after the other; how long after each answer its watcher was told. */
  async delays(ms: number, everyMs: number): Promise<{ medianMs: number; p99Ms: number; count: number }> {
    const [client] = clients as [Client];
    const delays: number[] = [];
    const under: Promise<void>[] = [];
    for (const endAt = performance.now() + ms; performance.now() < endAt; ) {
      const id = `m${added++}`;
      const told = new Promise<number>((resolve) => awaited.set(id, () => resolve(performance.now())));
      const sessionId = sessionOf((added * 7) % streams.length);
      const acknowledged = add(client, sessionId, id).then(() => performance.now());
      under.push(
        Promise.all([told, acknowledged]).then(([toldAt, acknowledgedAt]) => {
          awaited.delete(id);
          delays.push(Math.max(0, toldAt - acknowledgedAt));
        }),
      );
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
    await Promise.all(under);
    return { medianMs: median(delays), p99Ms: p99(delays), count: delays.length };
  },

  close(): void {
    for (const stream of streams) {
      stream.removeAllListeners("error").on("error", () => {});
      stream.cancel();
    }
    for (const client of clients.splice(0)) client.close();
    streams = [];
  },
};

export type Watchers = typeof handlers;

serve(handlers);
