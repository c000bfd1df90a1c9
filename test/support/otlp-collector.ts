import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { onTestFinished } from "vitest";
import { eventually } from "./eventually.js";

/** What collects traces by OTLP: over HTTP, in JSON or in protobuf, or over gRPC. */
export interface Collector {
  readonly url: string;
  /** Those that have come so far. */
  spans(): readonly CollectedSpan[];
  /** Waits for a span. */
  span(what: (span: CollectedSpan) => boolean): Promise<CollectedSpan>;
  /** Of those who have sent something, each once. */
  resources(): readonly Record<string, unknown>[];
  readonly requests: readonly Request[];
}

export interface CollectedSpan {
  readonly traceId: string;
  readonly spanId: string;
  /** Empty for the first of a trace. */
  readonly parentSpanId: string;
  readonly name: string;
  /** In nanoseconds since 1970. */
  readonly start: bigint;
  readonly end: bigint;
  readonly kind: "INTERNAL" | "SERVER" | "CLIENT";
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly hasFailed: boolean;
  /** The message of its status. */
  readonly message: string;
  /** How many events it has. */
  readonly events: number;
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[];
}

/** `answer` is the status that it answers with; undefined for one that takes what comes and says nothing. */
export async function startCollector({ answer }: { answer: number | undefined } = { answer: 200 }): Promise<Collector> {
  const requests: Request[] = [];
  const server = createServer(async (request, response) => {
    const body = Buffer.concat(await request.toArray());
    requests.push({ path: request.url ?? "", type: request.headers["content-type"], body });
    if (answer) response.writeHead(answer, { "content-type": request.headers["content-type"] }).end("");
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return collector(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests);
}

export async function startGrpcCollector(): Promise<Collector> {
  const requests: Request[] = [];
  const server = new Server();
  const path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
  const asItIs = (bytes: Buffer): Buffer => bytes;
  const method = {
    path,
    requestStream: false,
    responseStream: false,
    requestSerialize: asItIs,
    responseSerialize: asItIs,
  };
  server.addService(
    { export: { ...method, requestDeserialize: asItIs, responseDeserialize: asItIs } },
    {
      export(call: { request: Buffer }, answer: (error: null, bytes: Buffer) => void) {
        requests.push({ path, type: "application/grpc", body: call.request });
        answer(null, Buffer.alloc(0));
      },
    },
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  onTestFinished(() => server.forceShutdown());
  return collector(`http://127.0.0.1:${port}`, requests);
}

interface Request {
  readonly path: string;
  readonly type: string | undefined;
  readonly body: Buffer;
}

function collector(url: string, requests: readonly Request[]): Collector {
  const batches = () =>
    requests.flatMap(({ type, body }) => (type === "application/json" ? fromJson(body) : fromProtobuf(body)));
  const spans = () => batches().flatMap((batch) => batch.spans);
  return {
    url,
    spans,
    span: (what) => eventually("a span comes", () => spans().find(what)),
    resources: () => [
      ...new Map(batches().map(({ resource }) => [resource["process.pid"], resource] as const)).values(),
    ],
    requests,
  };
}

interface Batch {
  readonly resource: Record<string, unknown>;
  readonly spans: readonly CollectedSpan[];
}

const KINDS = [undefined, "INTERNAL", "SERVER", "CLIENT"] as const;
const FAILED = 2;

function fromJson(body: Buffer): Batch[] {
  return JSON.parse(body.toString()).resourceSpans.map((of: JsonResourceSpans) => ({
    resource: jsonAttributes(of.resource.attributes),
    spans: of.scopeSpans.flatMap(({ spans }) =>
      spans.map((span) => ({
        traceId: span.traceId,
        spanId: span.spanId,
        parentSpanId: span.parentSpanId ?? "",
        name: span.name,
        start: BigInt(span.startTimeUnixNano),
        end: BigInt(span.endTimeUnixNano),
        kind: KINDS[span.kind],
        attributes: jsonAttributes(span.attributes),
        hasFailed: span.status?.code === FAILED,
        message: span.status?.message ?? "",
        events: span.events?.length ?? 0,
        links: (span.links ?? []).map(({ traceId, spanId }) => ({ traceId, spanId })),
      })),
    ),
  }));
}

type JsonAttributes = { key: string; value: Record<string, unknown> }[];

interface JsonResourceSpans {
  resource: { attributes: JsonAttributes };
  scopeSpans: {
    spans: {
      traceId: string;
      spanId: string;
      parentSpanId?: string;
      name: string;
      startTimeUnixNano: string;
      endTimeUnixNano: string;
      kind: 1 | 2 | 3;
      attributes: JsonAttributes;
      status?: { code?: number; message?: string };
      events?: unknown[];
      links?: { traceId: string; spanId: string }[];
    }[];
  }[];
}

function jsonAttributes(list: JsonAttributes): Record<string, unknown> {
  return Object.fromEntries(list.map(({ key, value }) => [key, Object.values(value)[0]]));
}

/** By the numbers of the fields in opentelemetry/proto/trace/v1/trace.proto. */
function fromProtobuf(body: Buffer): Batch[] {
  return messages(body, 1).map((of) => ({
    resource: protobufAttributes(messages(of, 1)[0] ?? new Uint8Array(), 1),
    spans: messages(of, 2)
      .flatMap((scope) => messages(scope, 2))
      .map((span) => {
        const status = messages(span, 15)[0] ?? new Uint8Array();
        return {
          traceId: hex(messages(span, 1)[0]),
          spanId: hex(messages(span, 2)[0]),
          parentSpanId: hex(messages(span, 4)[0]),
          name: text(messages(span, 5)[0]),
          start: BigInt(numbers(span, 7)[0] ?? 0),
          end: BigInt(numbers(span, 8)[0] ?? 0),
          kind: KINDS[Number(numbers(span, 6)[0])] as CollectedSpan["kind"],
          attributes: protobufAttributes(span, 9),
          hasFailed: Number(numbers(status, 3)[0]) === FAILED,
          message: text(messages(status, 2)[0]),
          events: messages(span, 11).length,
          links: messages(span, 13).map((link) => ({
            traceId: hex(messages(link, 1)[0]),
            spanId: hex(messages(link, 2)[0]),
          })),
        };
      }),
  }));
}

function protobufAttributes(message: Uint8Array, field: number): Record<string, unknown> {
  return Object.fromEntries(
    messages(message, field).map((attribute) => {
      const value = messages(attribute, 2)[0] ?? new Uint8Array();
      return [
        text(messages(attribute, 1)[0]),
        messages(value, 1)[0] ? text(messages(value, 1)[0]) : numbers(value, 3)[0],
      ];
    }),
  );
}

const hex = (bytes?: Uint8Array) => Buffer.from(bytes ?? []).toString("hex");
const text = (bytes?: Uint8Array) => Buffer.from(bytes ?? []).toString();

const messages = (bytes: Uint8Array, field: number) =>
  fields(bytes).flatMap(([number, value]) => (number === field && value instanceof Uint8Array ? [value] : []));
const numbers = (bytes: Uint8Array, field: number) =>
  fields(bytes).flatMap(([number, value]) => (number === field && !(value instanceof Uint8Array) ? [value] : []));

function fields(bytes: Uint8Array): [number, Uint8Array | string | number | bigint][] {
  const reader = new BinaryReader(bytes);
  const found: [number, Uint8Array | string | number | bigint][] = [];
  while (reader.pos < reader.len) {
    const [number, type] = reader.tag();
    if (type === WireType.LengthDelimited) found.push([number, reader.bytes()]);
    else if (type === WireType.Varint) found.push([number, reader.int64()]);
    else if (type === WireType.Bit64) found.push([number, reader.fixed64()]);
    else reader.skip(type);
  }
  return found;
}
