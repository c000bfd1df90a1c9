import { type ChannelCredentials, type ChannelOptions, Client, type Metadata } from "@grpc/grpc-js";
import { invalidArgument } from "./error.js";
import { METHODS, type Method, type RequestOf, type ResponseOf, type StreamName, type UnaryName } from "./methods.js";
import { POLICIES, type Policy } from "./policies.js";
import { createRetries, isRefused, type Retries, type RetryOptions } from "./retries.js";
import { type CallOptions, type CallScope, createLifetime } from "./scope.js";

/** One channel, and the calls on it by the names of their RPCs. Nothing else in the client speaks to grpc-js. */
export interface Transport {
  /** Tries again as the method's policy says. */
  unary<Name extends UnaryName>(name: Name, request: RequestOf<Name>, options?: CallOptions): Promise<ResponseOf<Name>>;
  stream(options: CallOptions | undefined): StreamScope;
  close(): void;
}

/** A server stream over several connections, if need be. */
export interface StreamScope {
  readonly retries: Retries;
  /** One attempt. It asks for no more than its reader takes, and is cancelled when its reader leaves. */
  attempt<Name extends StreamName>(name: Name, request: RequestOf<Name>): AsyncGenerator<ResponseOf<Name>, void>;
}

export interface TransportOptions {
  readonly address: string;
  readonly credentials: ChannelCredentials;
  readonly metadata: Metadata;
  readonly deadlineMs: number;
  readonly retries: RetryOptions;
  readonly channelOptions: ChannelOptions;
}

const CHANNEL_OPTIONS: ChannelOptions = {
  // A memory of a thousand messages may have hundreds of megabytes; what the caller asked for has to fit.
  "grpc.max_receive_message_length": -1,
  // Finds a peer that vanished without a word within 40 s, while a call is under way.
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 10_000,
  // By default grpc-js stays away from a service for up to two minutes after failures; it would outlast our own retries.
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 2_000,
  // `grpc.enable_retries` stays on: without a retry policy it governs only what provably never reached the service's
  // code (refused streams, a connection that was closed before the call was sent), which helps all calls and can double
  // none. A policy could come out of DNS; this turns that off, so all other retries are our own.
  "grpc.service_config_disable_resolution": 1,
  // Each client has its own connection, which ends with it.
  "grpc.use_local_subchannel_pool": 1,
};

export function createTransport(options: TransportOptions): Transport {
  const client = new Client(options.address, options.credentials, { ...CHANNEL_OPTIONS, ...options.channelOptions });
  const lifetime = createLifetime();
  return {
    async unary<Name extends UnaryName>(name: Name, request: RequestOf<Name>, callOptions: CallOptions | undefined) {
      const policy: Policy<RequestOf<Name>> = POLICIES[name];
      const scope = lifetime.open(callOptions, policy.unbounded ? Number.POSITIVE_INFINITY : options.deadlineMs);
      const call = prepare(client, METHODS[name], request, options.metadata, scope);
      const mayRepeat = policy.retries(request);
      const retries = createRetries(options.retries, scope);
      for (;;) {
        try {
          return await unaryAttempt(call);
        } catch (error) {
          const failure = scope.explain(error);
          if (!mayRepeat && !isRefused(failure)) throw failure;
          await retries.pauseAfter(failure);
        }
      }
    },
    stream(callOptions) {
      const scope = lifetime.open(callOptions, Number.POSITIVE_INFINITY);
      return {
        retries: createRetries(options.retries, scope),
        attempt: <Name extends StreamName>(name: Name, request: RequestOf<Name>) =>
          streamAttempt(prepare(client, METHODS[name], request, options.metadata, scope)),
      };
    },
    close() {
      lifetime.close();
      client.close();
    },
  };
}

/**
 * A deadline that is further away than a timer reaches, 24.8 days, is as good as none. grpc-js waits for none of those either, throws
 * where nobody can catch it when its number has more than eight digits, and as a server ends many of them at once (1.14.7).
 */
const MAX_TIMER_MS = 0x7fffffff;

interface Call<Response> {
  readonly client: Client;
  readonly path: string;
  readonly bytes: Buffer;
  readonly decode: (bytes: Buffer) => Response;
  readonly metadata: Metadata;
  readonly options: { deadline?: number };
  readonly scope: CallScope;
}

/** Encodes a request once, however often it is tried; and what cannot be encoded grpc-js would call an internal error. */
function prepare<Request, Response>(
  client: Client,
  method: Method<Request, Response>,
  request: Request,
  metadata: Metadata,
  scope: CallScope,
): Call<Response> {
  const options = scope.deadline - Date.now() <= MAX_TIMER_MS ? { deadline: scope.deadline } : {};
  const decode = method.responseDeserialize;
  try {
    return { client, path: method.path, bytes: method.requestSerialize(request), decode, metadata, options, scope };
  } catch (error) {
    throw invalidArgument("request", `Cannot be sent: ${error instanceof Error ? error.message : error}.`, error);
  }
}

const asIs = (bytes: Buffer): Buffer => bytes;

function unaryAttempt<Response>({ client, path, bytes, decode, metadata, options, scope }: Call<Response>) {
  scope.throwIfEnded();
  return new Promise<Response>((resolve, reject) => {
    const call = client.makeUnaryRequest(path, asIs, decode, bytes, metadata, options, (error, response) => {
      forget();
      if (error) reject(error);
      else resolve(response as Response);
    });
    const forget = scope.onEnd(() => call.cancel());
  });
}

async function* streamAttempt<Response>(call: Call<Response>): AsyncGenerator<Response, void> {
  const { client, path, bytes, decode, metadata, options, scope } = call;
  scope.throwIfEnded();
  const stream = client.makeServerStreamRequest(path, asIs, decode, bytes, metadata, options);
  // When the reader leaves, the cancelled call still emits its status, which nobody waits for any more.
  stream.on("error", () => {});
  const forget = scope.onEnd(() => stream.cancel());
  try {
    for await (const response of stream) yield response as Response;
  } catch (error) {
    throw scope.explain(error);
  } finally {
    forget();
    stream.cancel();
  }
}
