import { readFileSync } from "node:fs";
import {
  create,
  createFileRegistry,
  type DescMessage,
  type DescMethod,
  type DescService,
  fromBinary,
  type Message,
  toBinary,
} from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { type CallOptions, Code, ConnectError, type Transport } from "@connectrpc/connect";
import * as node from "@connectrpc/connect-node";
import * as web from "@connectrpc/connect-web";
import { BadRequest, ErrorInfo, RetryInfo } from "../../gen/google/rpc/error_details.js";
import type { Failure } from "./api.js";

/** Stock clients of the HTTP side, made from the descriptors as their users would make them from generated code. */
export const TRANSPORTS = {
  "Connect, JSON": (baseUrl: string) =>
    node.createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: false }),
  "Connect, protobuf": (baseUrl: string) =>
    node.createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: true }),
  "Connect, protobuf, gzip": (baseUrl: string) =>
    node.createConnectTransport({
      baseUrl,
      httpVersion: "1.1",
      useBinaryFormat: true,
      sendCompression: node.compressionGzip,
      compressMinBytes: 1,
    }),
  "gRPC-Web, protobuf": (baseUrl: string) => node.createGrpcWebTransport({ baseUrl, httpVersion: "1.1" }),
  "gRPC-Web, JSON": (baseUrl: string) =>
    node.createGrpcWebTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: false }),
  "Connect, JSON, by fetch": (baseUrl: string) => web.createConnectTransport({ baseUrl }),
  "gRPC-Web, protobuf, by fetch": (baseUrl: string) => web.createGrpcWebTransport({ baseUrl }),
} satisfies Record<string, (baseUrl: string) => Transport>;

const registry = createFileRegistry(
  fromBinary(FileDescriptorSetSchema, readFileSync(new URL("../../gen/descriptors/sessions.binpb", import.meta.url))),
);

/** A method by its path: `/sessions.v1.SessionService/GetSession`. */
export function methodAt(path: string): DescMethod {
  const [, service = "", name] = path.split("/");
  const method = (registry.getService(service) as DescService).methods.find((one) => one.name === name);
  if (!method) throw new Error(`there is no method ${path}`);
  return method;
}

/** Calls a method with a request that is encoded already, as grpc-js would; the answers come back encoded, too. */
export async function callEncoded(
  transport: Transport,
  path: string,
  request: Uint8Array,
  options: CallOptions = {},
): Promise<Buffer[]> {
  const method = methodAt(path);
  const responses = await callAny(transport, method, fromBinary(method.input, request), options);
  return responses.map((response) => Buffer.from(toBinary(method.output, response)));
}

/** Calls a method with a request as one types it. */
export async function call<Response = Record<string, unknown>>(
  transport: Transport,
  path: string,
  request: object,
  options: CallOptions = {},
): Promise<Response[]> {
  const method = methodAt(path);
  return (await callAny(transport, method, create(method.input, request as never), options)) as unknown as Response[];
}

async function callAny(
  transport: Transport,
  method: DescMethod,
  request: Message,
  { signal, timeoutMs, headers }: CallOptions,
): Promise<Message[]> {
  if (method.methodKind === "unary") {
    const unary = method as DescMethod & { methodKind: "unary"; input: DescMessage; output: DescMessage };
    return [(await transport.unary(unary, signal, timeoutMs, headers, request)).message];
  }
  const streaming = method as DescMethod & { methodKind: "server_streaming"; input: DescMessage; output: DescMessage };
  const { message } = await transport.stream(streaming, signal, timeoutMs, headers, one(request));
  const responses: Message[] = [];
  for await (const response of message) responses.push(response);
  return responses;
}

export async function* one<T>(value: T): AsyncGenerator<T, void> {
  yield value;
}

/** How a call fails, in the shape that the tests of gRPC have for it. Throws when the call succeeds. */
export async function connectFailure(outcome: Promise<unknown>): Promise<Failure> {
  const error = await outcome.then(
    (response) => {
      throw new Error(`expected a failure, got ${String(response)}`);
    },
    (reason: unknown) => reason,
  );
  if (!(error instanceof ConnectError)) throw error;
  return decodeConnectFailure(error);
}

export function decodeConnectFailure(error: ConnectError): Failure {
  const find = <T>(name: string, decode: (value: Uint8Array) => T): T | undefined => {
    for (const detail of error.details) {
      if ("type" in detail && detail.type === `google.rpc.${name}`) return decode(detail.value);
    }
    return undefined;
  };
  const info = find("ErrorInfo", (value) => ErrorInfo.decode(value));
  const violations = find("BadRequest", (value) => BadRequest.decode(value))?.fieldViolations ?? [];
  const retryDelay = find("RetryInfo", (value) => RetryInfo.decode(value))?.retryDelay;
  return {
    code: codeName(error.code),
    reason: info?.reason ?? "",
    domain: info?.domain ?? "",
    metadata: info?.metadata ?? {},
    fields: violations.map(({ field }) => field),
    violations: violations.map(({ field, description }) => ({ field, description })),
    retryDelayMs: retryDelay && retryDelay.seconds * 1000 + retryDelay.nanos / 1e6,
    pushback: error.metadata.get("grpc-retry-pushback-ms") ?? undefined,
    message: error.rawMessage,
  };
}

/** `NotFound` → `NOT_FOUND`; the library spells one of them in its own way. */
const codeName = (code: Code): string =>
  code === Code.Canceled ? "CANCELLED" : (Code[code] ?? "").replace(/(?<=[a-z])[A-Z]/g, "_$&").toUpperCase();
