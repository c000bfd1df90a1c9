import { type ChannelCredentials, type ChannelOptions, Metadata } from "@grpc/grpc-js";
import type { SessionsClient } from "./api.js";
import { type TlsOptions, toCredentials } from "./credentials.js";
import { invalidArgument } from "./error.js";
import { keyCalls } from "./key-calls.js";
import { memoryCalls } from "./memory-calls.js";
import { purgeCalls } from "./purge-calls.js";
import { DEFAULT_DEADLINE_MS, DEFAULT_RETRIES, type RetryOptions } from "./retries.js";
import { serviceConfig } from "./service-config.js";
import { sessionCalls } from "./session-calls.js";
import { createTransport } from "./transport.js";
import { userCalls } from "./user-calls.js";

export interface ClientOptions {
  /** `host:port`, or any other name that gRPC resolves. Default 127.0.0.1:50051. */
  readonly address?: string;
  /** How long a call may take in milliseconds, retries included, when it does not say itself. Default 10000. */
  readonly deadlineMs?: number;
  /**
   * An API key or a token, which says who calls. It is sent with each call, and never without encryption to another machine
   * than this one: then `createClient` throws instead.
   */
  readonly key?: string;
  /** Sends the key anyway, for a network that is trusted. */
  readonly allowPlaintextKey?: boolean;
  /** `true` or what is to be trusted and shown. Default: no encryption. */
  readonly tls?: boolean | TlsOptions;
  /** In place of `tls`: any other credentials of `@grpc/grpc-js`. */
  readonly credentials?: ChannelCredentials;
  /** Sent with each call. Names ending in `-bin` take bytes. */
  readonly headers?: Readonly<Record<string, string | Uint8Array>>;
  readonly retries?: Partial<RetryOptions>;
  /** Options of grpc-js, over the client's own. */
  readonly channelOptions?: ChannelOptions;
}

/**
 * A client with one connection, which is opened by the first call. Close it when it is no longer needed. Throws INVALID_ARGUMENT
 * when the options do not go together.
 */
export function createClient(options: ClientOptions = {}): SessionsClient {
  const address = options.address ?? "127.0.0.1:50051";
  const { channel, authorization, isDirect } = toCredentials({
    address,
    key: options.key,
    allowPlaintextKey: options.allowPlaintextKey ?? false,
    tls: options.tls ?? false,
    credentials: options.credentials,
  });
  const transport = createTransport({
    address,
    credentials: channel,
    metadata: toMetadata(options.headers ?? {}, authorization),
    deadlineMs: options.deadlineMs ?? DEFAULT_DEADLINE_MS,
    retries: { ...DEFAULT_RETRIES, ...options.retries },
    channelOptions: { ...options.channelOptions, ...(isDirect && { "grpc.enable_http_proxy": 0 }) },
  });
  return {
    ...sessionCalls(transport),
    ...memoryCalls(transport),
    ...userCalls(transport),
    ...purgeCalls(transport),
    ...keyCalls(transport),
    serviceConfig,
    close: transport.close,
  };
}

function toMetadata(
  headers: Readonly<Record<string, string | Uint8Array>>,
  authorization: string | undefined,
): Metadata {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(headers)) {
    metadata.set(name, typeof value === "string" ? value : Buffer.from(value));
  }
  if (authorization === undefined) return metadata;
  if (metadata.get("authorization").length > 0) throw invalidArgument("headers", "No authorization together with key.");
  metadata.set("authorization", authorization);
  return metadata;
}
