import { type ChannelCredentials, type ChannelOptions, credentials, Metadata } from "@grpc/grpc-js";
import type { SessionsClient } from "./api.js";
import { memoryCalls } from "./memory-calls.js";
import { purgeCalls } from "./purge-calls.js";
import { DEFAULT_RETRIES, type RetryOptions } from "./retries.js";
import { sessionCalls } from "./session-calls.js";
import { createTransport } from "./transport.js";
import { userCalls } from "./user-calls.js";

export interface ClientOptions {
  /** `host:port`, or any other name that gRPC resolves. Default 127.0.0.1:50051. */
  readonly address?: string;
  /** How long a call may take in milliseconds, retries included, when it does not say itself. Default 10000. */
  readonly deadlineMs?: number;
  /** Default: no encryption. For TLS `credentials.createSsl()` of `@grpc/grpc-js`. */
  readonly credentials?: ChannelCredentials;
  /** Sent with each call. Names ending in `-bin` take bytes. */
  readonly headers?: Readonly<Record<string, string | Uint8Array>>;
  readonly retries?: Partial<RetryOptions>;
  /** Options of grpc-js, over the client's own. */
  readonly channelOptions?: ChannelOptions;
}

const DEFAULT_DEADLINE_MS = 10_000;

/** A client with one connection, which is opened by the first call. Close it when it is no longer needed. */
export function createClient(options: ClientOptions = {}): SessionsClient {
  const transport = createTransport({
    address: options.address ?? "127.0.0.1:50051",
    credentials: options.credentials ?? credentials.createInsecure(),
    metadata: toMetadata(options.headers ?? {}),
    deadlineMs: options.deadlineMs ?? DEFAULT_DEADLINE_MS,
    retries: { ...DEFAULT_RETRIES, ...options.retries },
    channelOptions: options.channelOptions ?? {},
  });
  return {
    ...sessionCalls(transport),
    ...memoryCalls(transport),
    ...userCalls(transport),
    ...purgeCalls(transport),
    close: transport.close,
  };
}

function toMetadata(headers: Readonly<Record<string, string | Uint8Array>>): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(headers)) {
    metadata.set(name, typeof value === "string" ? value : Buffer.from(value));
  }
  return metadata;
}
