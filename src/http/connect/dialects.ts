import type { ConnectError } from "@connectrpc/connect";
import { createAsyncIterable, encodeEnvelope, type UniversalServerResponse } from "@connectrpc/connect/protocol";
import * as connect from "@connectrpc/connect/protocol-connect";
import * as grpcWeb from "@connectrpc/connect/protocol-grpc-web";

/** One of the protocols that are spoken over HTTP, in one of its formats: how a request is read and an answer written. */
export interface Dialect {
  /** What it is a dialect of, as far as traces tell protocols apart. */
  readonly protocol: "connect" | "grpc";
  /** JSON, or else protobuf. */
  readonly isJson: boolean;
  /** Whether each message comes with its length before it. */
  readonly isEnveloped: boolean;
  /** The headers that name the compression of a request, and how soon its answer has to be there. */
  readonly headers: { readonly encoding: string; readonly timeout: string };
  timeoutMs(header: string | null): { readonly timeoutMs?: number; readonly error?: ConnectError };
  /** An answer of one message, which comes in pieces. */
  answer(pieces: readonly Uint8Array[]): UniversalServerResponse;
  refusal(error: ConnectError): Refusal;
  /** A stream of answers, each message in its envelope. */
  stream(envelopes: AsyncIterable<Uint8Array>): UniversalServerResponse;
  /** What comes behind the last message of a stream. */
  end(error?: ConnectError): Uint8Array;
}

export interface Refusal {
  readonly status: number;
  readonly contentType: string;
  readonly body: Uint8Array;
}

/** The dialect of a request, by its content type; undefined when the method cannot be called in it. */
export function dialectOf(contentType: string, streams: boolean): Dialect | undefined {
  const ofConnect = connect.parseContentType(contentType);
  if (ofConnect) {
    const { json, proto } = CONNECT[streams ? "stream" : "unary"];
    if (ofConnect.stream !== streams) return undefined;
    return ofConnect.binary ? proto : json;
  }
  const ofGrpcWeb = grpcWeb.parseContentType(contentType);
  if (!ofGrpcWeb || ofGrpcWeb.text) return undefined;
  return ofGrpcWeb.binary ? GRPC_WEB.proto : GRPC_WEB.json;
}

const NO_TIMEOUT_LIMIT = Number.POSITIVE_INFINITY;

function connectUnary(isJson: boolean): Dialect {
  const contentType = isJson ? connect.contentTypeUnaryJson : connect.contentTypeUnaryProto;
  return {
    protocol: "connect",
    isJson,
    isEnveloped: false,
    headers: { encoding: connect.headerUnaryEncoding, timeout: connect.headerTimeout },
    timeoutMs: (header) => connect.parseTimeout(header, NO_TIMEOUT_LIMIT),
    answer: (pieces) => whole(200, contentType, pieces),
    refusal: (error) => ({
      status: connect.codeToHttpStatus(error.code),
      contentType: connect.contentTypeUnaryJson,
      body: connect.errorToJsonBytes(error, undefined),
    }),
    stream: neverStreams,
    end: neverStreams,
  };
}

function neverStreams(): never {
  throw new Error("only answers of one message are written without envelopes");
}

function connectStream(isJson: boolean): Dialect {
  return enveloped({
    protocol: "connect",
    isJson,
    contentType: isJson ? connect.contentTypeStreamJson : connect.contentTypeStreamProto,
    headers: { encoding: connect.headerStreamEncoding, timeout: connect.headerTimeout },
    timeoutMs: (header) => connect.parseTimeout(header, NO_TIMEOUT_LIMIT),
    end: (error) =>
      encodeEnvelope(
        connect.endStreamFlag,
        connect.createEndStreamSerialization(undefined).serialize({ metadata: new Headers(), error }),
      ),
  });
}

function grpcWebDialect(isJson: boolean): Dialect {
  return enveloped({
    protocol: "grpc",
    isJson,
    contentType: isJson ? grpcWeb.contentTypeJson : grpcWeb.contentTypeProto,
    headers: { encoding: grpcWeb.headerEncoding, timeout: grpcWeb.headerTimeout },
    timeoutMs: (header) => grpcWeb.parseTimeout(header, NO_TIMEOUT_LIMIT),
    end: (error) =>
      encodeEnvelope(grpcWeb.trailerFlag, grpcWeb.trailerSerialize(grpcWeb.setTrailerStatus(new Headers(), error))),
  });
}

function enveloped({
  contentType,
  ...own
}: Pick<Dialect, "protocol" | "isJson" | "headers" | "timeoutMs" | "end"> & { readonly contentType: string }): Dialect {
  return {
    ...own,
    isEnveloped: true,
    answer: (pieces) => whole(200, contentType, [...inEnvelope(pieces), own.end()]),
    refusal: (error) => ({ status: 200, contentType, body: own.end(error) }),
    stream: (body) => ({ status: 200, header: new Headers({ [connect.headerContentType]: contentType }), body }),
  };
}

const CONNECT = {
  unary: { json: connectUnary(true), proto: connectUnary(false) },
  stream: { json: connectStream(true), proto: connectStream(false) },
};
const GRPC_WEB = { json: grpcWebDialect(true), proto: grpcWebDialect(false) };

/** Who speaks none of them is answered in this one. */
export const CONNECT_JSON = CONNECT.unary.json;

/** An answer of which all is there. */
export function whole(status: number, contentType: string, pieces: readonly Uint8Array[]): UniversalServerResponse {
  const header = new Headers({
    [connect.headerContentType]: contentType,
    [connect.headerUnaryContentLength]: String(lengthOf(pieces)),
  });
  return { status, header, body: createAsyncIterable([...pieces]) };
}

/** A message with its length before it. What is large is not copied for that. */
export function inEnvelope(pieces: readonly Uint8Array[]): readonly Uint8Array[] {
  const [only] = pieces;
  if (only && pieces.length === 1 && only.length < SMALL_BYTES) return [encodeEnvelope(0, only)];
  const head = encodeEnvelope(0, new Uint8Array());
  new DataView(head.buffer).setUint32(1, lengthOf(pieces));
  return [head, ...pieces];
}

const SMALL_BYTES = 64 * 1024;

const lengthOf = (pieces: readonly Uint8Array[]): number => pieces.reduce((sum, { length }) => sum + length, 0);
