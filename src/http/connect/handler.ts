import type { DescMethod, Registry } from "@bufbuild/protobuf";
import { Code, ConnectError, createContextKey } from "@connectrpc/connect";
import {
  contentTypeMatcher,
  createWritableIterable,
  type UniversalHandler,
  type UniversalServerRequest,
  type UniversalServerResponse,
} from "@connectrpc/connect/protocol";
import type { FastifyRequest } from "fastify";
import type { Decoded } from "../../calls/decoding.js";
import { Failure } from "../../calls/execution.js";
import { type Operation, sessionOf } from "../../calls/operations.js";
import type { HttpCalls, Particulars } from "../calls.js";
import { readMessage } from "./body.js";
import { CONNECT_JSON, type Dialect, dialectOf, inEnvelope, whole } from "./dialects.js";
import { connectError } from "./errors.js";
import { badRequest, sentence } from "./faults.js";
import { fromJsonBytes } from "./from-json.js";
import { inSlices } from "./in-slices.js";
import { toJsonBytes } from "./to-json.js";

export interface HandlerOptions {
  readonly calls: HttpCalls;
  /** Knows the details of errors. */
  readonly registry: Registry;
}

/** Which of fastify's requests a request of the library is. */
export const FASTIFY_REQUEST = createContextKey<FastifyRequest | undefined>(undefined);

/**
 * What the library's plugin for fastify calls for a method, made of what the library has for each of its protocols. Its own handlers
 * answer what they find wrong by themselves, without the details that our errors have and past the log, and they would have every
 * message go through objects of its own.
 */
export function handlerOf(
  operation: Operation,
  method: DescMethod,
  { calls, registry }: HandlerOptions,
): UniversalHandler {
  const { path, streams, limitMs } = operation;

  const handle = async (universal: UniversalServerRequest): Promise<UniversalServerResponse> => {
    const began = Date.now();
    const request = requestOf(universal);
    const dialect = isPost(universal) ? dialectOf(universal.header.get("content-type") ?? "", streams) : undefined;
    const { message, fault, timeoutMs } = await received(universal, operation, method, dialect);
    const particulars: Particulars = {
      protocol: "connect",
      bytes: message?.bytes ?? 0,
      session: message && "request" in message ? sessionOf(message.request) : undefined,
      limitMs,
      deadline: began + (timeoutMs ?? Number.POSITIVE_INFINITY),
    };
    const content = (): unknown => {
      if (!message) throw fault;
      if ("error" in message) throw message.error;
      return message.request;
    };
    try {
      if (streams && dialect) return await stream(request, particulars, content, dialect);
      const pieces = await calls.unary(request, particulars, async (call) =>
        written(operation.encode(await operation.run(content(), call)), dialect),
      );
      return (dialect ?? CONNECT_JSON).answer(pieces);
    } catch (error) {
      if (!(error instanceof Failure)) throw nobodyToAnswer();
      const { status, contentType, body } = (dialect ?? CONNECT_JSON).refusal(connectError(error.answer, registry));
      const otherwise = isPost(universal) ? UNSUPPORTED_MEDIA_TYPE : METHOD_NOT_ALLOWED;
      return whole(dialect ? status : otherwise, contentType, [body]);
    }
  };

  const written = async (bytes: Uint8Array, dialect: Dialect | undefined): Promise<readonly Uint8Array[]> =>
    dialect?.isJson ? inSlices(toJsonBytes(method.output, bytes)) : [bytes];

  /** The stream's end comes with the answer's last bytes, so that this resolves when it has begun. */
  const stream = async (
    request: FastifyRequest,
    particulars: Particulars,
    content: () => unknown,
    dialect: Dialect,
  ): Promise<UniversalServerResponse> => {
    const body = createWritableIterable<Uint8Array>();
    let hasBegun = false;
    const done = calls.stream(
      request,
      particulars,
      (call) => {
        hasBegun = true;
        return operation.run(content(), call) as AsyncGenerator<unknown, void>;
      },
      async (chunk) => {
        for (const piece of inEnvelope(await written(operation.encode(chunk), dialect))) {
          // A reader who is gone takes nothing; that they are gone ends the call.
          await body.write(piece).catch(() => new Promise(() => {}));
        }
      },
    );
    if (!hasBegun) await done;
    const end = (last: Uint8Array): void => {
      body.write(last).catch(() => {});
      body.close();
    };
    done.then(
      () => end(dialect.end()),
      ({ answer }: Failure) => end(dialect.end(connectError(answer, registry))),
    );
    return dialect.stream(body);
  };

  return Object.assign(handle, {
    service: method.parent,
    method,
    requestPath: path,
    allowedMethods: ["POST"],
    protocolNames: ["connect", "grpc-web"],
    supportedContentType: contentTypeMatcher(/./),
  });
}

interface Received {
  readonly message?: Decoded<unknown>;
  /** Why there is none. */
  readonly fault?: unknown;
  readonly timeoutMs?: number | undefined;
}

/** Reads a request, whatever is wrong with it. */
async function received(
  universal: UniversalServerRequest,
  operation: Operation,
  method: DescMethod,
  dialect: Dialect | undefined,
): Promise<Received> {
  try {
    const bytes = await readMessage(universal, dialect ?? CONNECT_JSON);
    if (!isPost(universal)) return { fault: badRequest("A call is a POST.") };
    if (!dialect) return { fault: badRequest(wrongContentType(universal, operation)) };
    const { timeoutMs, error } = dialect.timeoutMs(universal.header.get(dialect.headers.timeout));
    if (error) return { fault: badRequest(sentence(error.rawMessage)) };
    const message = operation.decode(dialect.isJson ? await inSlices(fromJsonBytes(method.input, bytes)) : bytes);
    return { message: { ...message, bytes: Math.max(message.bytes, bytes.length) }, timeoutMs };
  } catch (fault) {
    if (universal.signal.aborted || requestOf(universal).raw.errored) throw nobodyToAnswer();
    return { fault };
  }
}

const METHOD_NOT_ALLOWED = 405;
const UNSUPPORTED_MEDIA_TYPE = 415;

const isPost = ({ method }: UniversalServerRequest): boolean => method === "POST";

function wrongContentType({ header }: UniversalServerRequest, { streams }: Operation): string {
  const shown = JSON.stringify(header.get("content-type") ?? "");
  return streams
    ? `The content type ${shown} is not one in which a stream can be asked for: application/connect+json, application/connect+proto, or application/grpc-web.`
    : `The content type ${shown} is not one in which this can be asked for. Send JSON with the header "Content-Type: application/json"; or application/proto, or application/grpc-web.`;
}

function requestOf({ contextValues }: UniversalServerRequest): FastifyRequest {
  const request = contextValues?.get(FASTIFY_REQUEST);
  if (!request) throw new Error("a call has come past fastify");
  return request;
}

/** What the library's plugin takes for a call that is not to be answered: its caller has gone, or has an answer already. */
const nobodyToAnswer = (): ConnectError => new ConnectError("", Code.Aborted);
