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
import type { SessionsError } from "../../domain/errors.js";
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
    const { dialect, misfit } = spokenIn(universal, operation);
    const { message, fault, timeoutMs } = await received(universal, operation, method, { dialect, misfit });
    const particulars: Particulars = {
      protocol: dialect.protocol,
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
      if (streams && !misfit) return await stream(request, particulars, content, dialect);
      const pieces = await calls.unary(request, particulars, async (call) =>
        written(operation.encode(await operation.run(content(), call)), dialect),
      );
      return dialect.answer(pieces);
    } catch (error) {
      if (!(error instanceof Failure)) throw nobodyToAnswer();
      const { status, contentType, body } = dialect.refusal(connectError(error.answer, registry));
      return whole(misfit?.status ?? status, contentType, [body]);
    }
  };

  const written = async (bytes: Uint8Array, dialect: Dialect): Promise<readonly Uint8Array[]> =>
    dialect.isJson ? inSlices(toJsonBytes(method.output, bytes)) : [bytes];

  /** Resolves when the stream has begun: how it ends is told by its last bytes. */
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

interface Spoken {
  readonly dialect: Dialect;
  /** Why it cannot be a call, whatever its body says, and the HTTP status that clients of Connect know for it. */
  readonly misfit?: { readonly fault: SessionsError; readonly status: number };
}

function spokenIn({ method, header }: UniversalServerRequest, { streams }: Operation): Spoken {
  const contentType = header.get("content-type") ?? "";
  if (method !== "POST")
    return { dialect: CONNECT_JSON, misfit: { fault: badRequest("A call is a POST."), status: 405 } };
  const dialect = dialectOf(contentType, streams);
  if (dialect) return { dialect };
  const instead = streams
    ? "A stream is asked for by application/connect+json, application/connect+proto or application/grpc-web."
    : 'Send JSON with the header "Content-Type: application/json"; or application/proto, or application/grpc-web.';
  const fault = badRequest(`This cannot be called with the content type ${JSON.stringify(contentType)}. ${instead}`);
  return { dialect: CONNECT_JSON, misfit: { fault, status: 415 } };
}

interface Received {
  readonly message?: Decoded<unknown>;
  /** Why there is none. */
  readonly fault?: unknown;
  readonly timeoutMs?: number | undefined;
}

async function received(
  universal: UniversalServerRequest,
  { decode }: Operation,
  { input }: DescMethod,
  { dialect, misfit }: Spoken,
): Promise<Received> {
  try {
    const bytes = await readMessage(universal, dialect);
    if (misfit) return misfit;
    const { timeoutMs, error } = dialect.timeoutMs(universal.header.get(dialect.headers.timeout));
    if (error) return { fault: badRequest(sentence(error.rawMessage)) };
    const message = decode(dialect.isJson ? await inSlices(fromJsonBytes(input, bytes)) : bytes);
    return { message: { ...message, bytes: Math.max(message.bytes, bytes.length) }, timeoutMs };
  } catch (fault) {
    if (universal.signal.aborted || requestOf(universal).raw.errored) throw nobodyToAnswer();
    return { fault };
  }
}

function requestOf({ contextValues }: UniversalServerRequest): FastifyRequest {
  const request = contextValues?.get(FASTIFY_REQUEST);
  if (!request) throw new Error("a call has come past fastify");
  return request;
}

/** What the library's plugin takes for a call that is not to be answered: its caller has gone, or has an answer already. */
const nobodyToAnswer = (): ConnectError => new ConnectError("", Code.Aborted);
