import { createRequire } from "node:module";
import { fromBinary } from "@bufbuild/protobuf";
import { type FileDescriptorProto, FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import {
  type Client,
  type ClientDuplexStream,
  type ClientReadableStream,
  credentials,
  loadPackageDefinition,
  type ServiceClientConstructor,
  type ServiceError,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { protoPath as healthProto } from "grpc-health-check";
import { decodeFailure, type Failure } from "./api.js";

export type Serving = "SERVING" | "NOT_SERVING" | "SERVICE_UNKNOWN";

/** The standard health service, as a load balancer asks it. */
export interface HealthClient {
  check(service: string): Promise<Serving>;
  watch(service: string): Watched<Serving>;
  close(): void;
}

/** A stream that stays open: what has come so far, and how it ended. */
export interface Watched<T> {
  readonly received: readonly T[];
  readonly ended: Promise<Failure | undefined>;
  cancel(): void;
}

export function healthClient(address: string): HealthClient {
  const client = stockClient(healthProto, "grpc.health.v1.Health", address);
  return {
    check: (service) =>
      new Promise((resolve, reject) => {
        client.Check({ service }, { deadline: Date.now() + 60_000 }, (error: ServiceError | null, answer: Health) =>
          error ? reject(error) : resolve(answer.status),
        );
      }),
    watch: (service) => watched(client.Watch({ service }) as ClientReadableStream<Health>, ({ status }) => status),
    close: () => client.close(),
  };
}

interface Health {
  readonly status: Serving;
}

export interface ReflectionClient {
  services(): Promise<string[]>;
  /** The files that are needed to make sense of a symbol, or of a file. */
  files(of: { symbol: string } | { file: string }): Promise<FileDescriptorProto[]>;
  /** Opened and left open. */
  open(): Watched<unknown>;
  close(): void;
}

export function reflectionClient(address: string, version: "v1" | "v1alpha"): ReflectionClient {
  const proto = createRequire(import.meta.url)
    .resolve("@grpc/reflection")
    .replace(/src[/\\]index\.js$/, `proto/grpc/reflection/${version}/reflection.proto`);
  const client = stockClient(proto, `grpc.reflection.${version}.ServerReflection`, address);
  const start = () => client.ServerReflectionInfo() as ClientDuplexStream<object, ReflectionAnswer>;
  const ask = (request: object): Promise<ReflectionAnswer> =>
    new Promise((resolve, reject) => {
      const stream = start().once("data", resolve).on("error", reject);
      stream.end(request);
    });
  return {
    async services() {
      const { listServicesResponse } = await ask({ listServices: "" });
      return (listServicesResponse?.service ?? []).map(({ name }) => name);
    },
    async files(of) {
      const request = "file" in of ? { fileByFilename: of.file } : { fileContainingSymbol: of.symbol };
      const { fileDescriptorResponse, errorResponse } = await ask(request);
      if (errorResponse) throw new Error(`${errorResponse.errorCode}: ${errorResponse.errorMessage}`);
      return (fileDescriptorResponse?.fileDescriptorProto ?? []).map((bytes) =>
        fromBinary(FileDescriptorProtoSchema, bytes),
      );
    },
    open() {
      const stream = start();
      stream.write({ listServices: "" });
      return watched(stream, (answer) => answer);
    },
    close: () => client.close(),
  };
}

interface ReflectionAnswer {
  readonly listServicesResponse?: { service: { name: string }[] };
  readonly fileDescriptorResponse?: { fileDescriptorProto: Buffer[] };
  readonly errorResponse?: { errorCode: number; errorMessage: string };
}

// biome-ignore lint/suspicious/noExplicitAny: its methods are named by a file that is read when the test runs
type StockClient = Client & Record<string, any>;

function stockClient(proto: string, service: string, address: string): StockClient {
  let found: unknown = loadPackageDefinition(loadSync(proto, { enums: String, oneofs: true }));
  for (const name of service.split(".")) found = (found as Record<string, unknown>)[name];
  return new (found as ServiceClientConstructor)(address, credentials.createInsecure(), {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.enable_retries": 0,
  });
}

function watched<T, R>(stream: ClientReadableStream<T>, pick: (item: T) => R): Watched<R> {
  const received: R[] = [];
  const ended = new Promise<Failure | undefined>((resolve) => {
    stream
      .on("data", (item: T) => received.push(pick(item)))
      .on("error", (error: ServiceError) => resolve(decodeFailure(error)))
      .on("end", () => resolve(undefined));
  });
  return { received, ended, cancel: () => stream.cancel() };
}
