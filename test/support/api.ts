import { Client, status as codes, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import { BadRequest, ErrorInfo, RetryInfo } from "../../gen/google/rpc/error_details.js";
import { Status } from "../../gen/google/rpc/status.js";
import * as keyApi from "../../gen/sessions/v1/key_service.js";
import * as memoryApi from "../../gen/sessions/v1/memory_service.js";
import * as purgeApi from "../../gen/sessions/v1/purge_service.js";
import * as sessionApi from "../../gen/sessions/v1/session_service.js";
import * as userApi from "../../gen/sessions/v1/user_service.js";

/** The API as a stock gRPC client sees it: unary calls as promises, streams as promises of all their chunks. */
export interface Api {
  readonly sessions: Methods<typeof sessionApi.SessionServiceService>;
  readonly memory: Methods<typeof memoryApi.MemoryServiceService>;
  readonly users: Methods<typeof userApi.UserServiceService>;
  readonly purge: Methods<typeof purgeApi.PurgeServiceService>;
  readonly keys: Methods<typeof keyApi.KeyServiceService>;
  /** For streams that are read by hand, and for anything else that the methods above hide. */
  readonly client: Client;
  close(): void;
}

export interface CallOptions {
  /** Milliseconds from now. */
  readonly deadlineMs?: number;
  /** How many responses of a stream are enough; default: all that it has. */
  readonly take?: number;
  readonly headers?: Readonly<Record<string, string>>;
}

type Methods<S> = {
  readonly [Name in keyof S]: S[Name] extends {
    responseStream: infer Streams;
    requestSerialize: (value: infer Request) => Buffer;
    responseDeserialize: (bytes: Buffer) => infer Response;
  }
    ? (request: Loose<Request>, options?: CallOptions) => Promise<Streams extends true ? Response[] : Response>
    : never;
};

/** A message in which any field may be left out. */
export type Loose<T> = T extends Uint8Array
  ? T
  : T extends (infer E)[]
    ? Loose<E>[]
    : T extends object
      ? { [K in keyof T]?: Loose<T[K]> }
      : T;

/** `credential` is a key or a token that every call shows. */
export function connect(address: string, credential?: string, channel = credentials.createInsecure()): Api {
  const client = new Client(address, channel, {
    "grpc.max_receive_message_length": -1,
    "grpc.use_local_subchannel_pool": 1,
    "grpc.enable_retries": 0,
  });
  const shown: Readonly<Record<string, string>> =
    credential === undefined ? {} : { authorization: `Bearer ${credential}` };
  return {
    sessions: methods(client, sessionApi.SessionServiceService, sessionApi, shown),
    memory: methods(client, memoryApi.MemoryServiceService, memoryApi, shown),
    users: methods(client, userApi.UserServiceService, userApi, shown),
    purge: methods(client, purgeApi.PurgeServiceService, purgeApi, shown),
    keys: methods(client, keyApi.KeyServiceService, keyApi, shown),
    client,
    close: () => client.close(),
  };
}

interface Method {
  readonly path: string;
  readonly responseStream: boolean;
  requestSerialize(value: unknown): Buffer;
  responseDeserialize(bytes: Buffer): unknown;
}

function methods<S extends object>(
  client: Client,
  service: S,
  api: object,
  shown: Readonly<Record<string, string>>,
): Methods<S> {
  const make = ([name, method]: [string, Method]) => {
    const requestType = `${name.charAt(0).toUpperCase()}${name.slice(1)}Request`;
    const { fromPartial } = (api as Record<string, { fromPartial(value: unknown): unknown }>)[requestType] as {
      fromPartial(value: unknown): unknown;
    };
    return [
      name,
      (request: unknown, options?: CallOptions) =>
        call(client, method, fromPartial(request), { ...options, headers: { ...shown, ...options?.headers } }),
    ];
  };
  return Object.fromEntries((Object.entries(service) as [string, Method][]).map(make)) as Methods<S>;
}

function call(client: Client, method: Method, request: unknown, options: CallOptions = {}): Promise<unknown> {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(options.headers ?? {})) metadata.set(name, value);
  const callOptions = options.deadlineMs === undefined ? {} : { deadline: Date.now() + options.deadlineMs };
  const { path, requestSerialize, responseDeserialize } = method;
  return new Promise((resolve, reject) => {
    if (!method.responseStream) {
      client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        metadata,
        callOptions,
        (error, response) => (error ? reject(error) : resolve(response)),
      );
      return;
    }
    const chunks: unknown[] = [];
    const stream = client
      .makeServerStreamRequest(path, requestSerialize, responseDeserialize, request, metadata, callOptions)
      .on("data", (chunk) => {
        if (chunks.push(chunk) !== options.take) return;
        stream.cancel();
        resolve(chunks);
      })
      .on("error", reject)
      .on("end", () => resolve(chunks));
  });
}

export interface Failure {
  readonly code: string;
  readonly reason: string;
  readonly domain: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly fields: readonly string[];
  readonly violations: readonly { field: string; description: string }[];
  readonly retryDelayMs: number | undefined;
  /** What gRPC's own retries go by, as it came. */
  readonly pushback: string | undefined;
  readonly message: string;
}

/** How a call fails, with its details as a stock client decodes them. Throws when the call succeeds. */
export async function failure(outcome: Promise<unknown>): Promise<Failure> {
  const error = await outcome.then(
    (response) => {
      throw new Error(`expected a failure, got ${JSON.stringify(response)}`);
    },
    (reason: ServiceError) => reason,
  );
  if (typeof error.code !== "number") throw error;
  return decodeFailure(error);
}

export function decodeFailure(error: ServiceError): Failure {
  const [bytes] = error.metadata.get("grpc-status-details-bin");
  const details = bytes instanceof Buffer ? Status.decode(bytes).details : [];
  const find = <T>(name: string, decode: (value: Uint8Array) => T): T | undefined => {
    const found = details.find(({ typeUrl }) => typeUrl === `type.googleapis.com/google.rpc.${name}`);
    return found && decode(found.value);
  };
  const info = find("ErrorInfo", (value) => ErrorInfo.decode(value));
  const violations = find("BadRequest", (value) => BadRequest.decode(value))?.fieldViolations ?? [];
  const retryDelay = find("RetryInfo", (value) => RetryInfo.decode(value))?.retryDelay;
  return {
    code: codes[error.code] ?? String(error.code),
    reason: info?.reason ?? "",
    domain: info?.domain ?? "",
    metadata: info?.metadata ?? {},
    fields: violations.map(({ field }) => field),
    violations: violations.map(({ field, description }) => ({ field, description })),
    retryDelayMs: retryDelay && retryDelay.seconds * 1000 + retryDelay.nanos / 1e6,
    pushback: error.metadata.get("grpc-retry-pushback-ms")[0]?.toString(),
    message: error.details,
  };
}
