import { once } from "node:events";
import type {
  handleServerStreamingCall,
  handleUnaryCall,
  Metadata,
  ServiceDefinition,
  UntypedServiceImplementation,
} from "@grpc/grpc-js";
import type { Caller } from "../calls/authentication.js";
import type { Decoded } from "../calls/decoding.js";
import { type Execution, type Failure, type Incoming, requestIdOf } from "../calls/execution.js";
import { type Operation, sessionOf } from "../calls/operations.js";
import { statusOf } from "./status.js";

/** Between operations and grpc-js handlers. Nothing else in this project speaks to grpc-js calls. */
export interface AdapterOptions {
  readonly execution: Execution;
  /** Who calls, by the metadata of their call. */
  readonly callerOf: (metadata: Metadata) => Caller;
}

/** What `server.addService` takes. */
export function adapt(
  operations: readonly Operation[],
  options: AdapterOptions,
): [ServiceDefinition, UntypedServiceImplementation] {
  return [
    Object.fromEntries(
      operations.map(({ path, streams, decode }) => [
        path,
        {
          path,
          requestStream: false,
          responseStream: streams,
          requestDeserialize: decode,
          requestSerialize: asItIs,
          // Responses are encoded by the handlers below, so that one that cannot be is a fault like any other.
          responseSerialize: asItIs,
          responseDeserialize: asItIs,
        },
      ]),
    ),
    Object.fromEntries(
      operations.map((operation) => [
        operation.path,
        operation.streams ? streaming(operation, options) : unary(operation, options),
      ]),
    ),
  ];
}

const asItIs = (bytes: Buffer): Buffer => bytes;

function unary(operation: Operation, options: AdapterOptions): handleUnaryCall<Decoded<unknown>, Buffer> {
  return (call, callback) => {
    options.execution
      .unary(incoming(operation, call, options), async (context) =>
        operation.encode(await operation.run(requestIn(call.request), context)),
      )
      .then(
        (bytes) => callback(null, bytes),
        ({ answer }: Failure) => callback(statusOf(answer)),
      );
  };
}

function streaming(operation: Operation, options: AdapterOptions): handleServerStreamingCall<Decoded<unknown>, Buffer> {
  return (stream) => {
    options.execution
      .stream(
        incoming(operation, stream, options),
        (context) => operation.run(requestIn(stream.request), context) as AsyncGenerator<unknown, void>,
        (chunk, signal) => {
          const bytes = operation.encode(chunk);
          // Of those who may never read no more than one response is on its way: what is ready to be sent counts by its number here.
          if (operation.endless) return new Promise((resolve) => stream.write(bytes, resolve));
          return stream.write(bytes) ? undefined : once(stream, "drain", { signal });
        },
      )
      .then(
        () => stream.end(),
        ({ answer }: Failure) => stream.emit("error", statusOf(answer)),
      );
  };
}

function requestIn(decoded: Decoded<unknown>): unknown {
  if ("error" in decoded) throw decoded.error;
  return decoded.request;
}

interface GrpcCall {
  readonly request: Decoded<unknown>;
  readonly metadata: Metadata;
  getDeadline(): Date | number;
  on(event: "cancelled", listener: () => void): unknown;
}

function incoming({ path, limitMs, endless }: Operation, call: GrpcCall, { callerOf }: AdapterOptions): Incoming {
  return {
    path,
    protocol: "grpc",
    header: (name) => call.metadata.get(name)[0]?.toString(),
    limitMs,
    endless,
    caller: callerOf(call.metadata),
    requestId: requestIdOf(call.metadata.get("x-request-id")[0]),
    session: "request" in call.request ? sessionOf(call.request.request) : undefined,
    deadline: Number(call.getDeadline()),
    onGone: (listener) => void call.on("cancelled", listener),
  };
}
