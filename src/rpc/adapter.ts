import { randomUUID } from "node:crypto";
import { once } from "node:events";
import {
  status as codes,
  type handleServerStreamingCall,
  type handleUnaryCall,
  type Metadata,
  type MethodDefinition,
  type ServerWritableStream,
  type ServiceDefinition,
  type StatusObject,
  type UntypedServiceImplementation,
} from "@grpc/grpc-js";
import type { Logger } from "pino";
import { type Call, lateness, timeLeft } from "../domain/call.js";
import { Encoded } from "../domain/encoded.js";
import { deadlineExceeded, readerTooSlow, SessionsError, shuttingDown, storageUnavailable } from "../domain/errors.js";
import { keyOf } from "../domain/keys.js";
import type { Turns } from "./admission/turns.js";
import { type Caller, whoIs } from "./authentication.js";
import { type Decoded, decoding } from "./decoding.js";
import { toStatus } from "./status.js";

/**
 * Between async functions or async generators and grpc-js handlers: each call gets its signal and deadline, whatever is
 * thrown becomes one status, a stream waits for its reader. Nothing else in this project speaks to grpc-js calls.
 */
export type Method<Request, Response> = (
  request: Request,
  call: Call,
) => Promise<Response> | AsyncGenerator<Response, void>;

export interface AdapterOptions {
  readonly log: Logger;
  /** Who calls, by the metadata of their call. */
  readonly callerOf: (metadata: Metadata) => Caller;
  /** Ends streams, when aborted. */
  readonly stopStreams: AbortSignal;
  /** Ends what is still under way, when aborted. */
  readonly stopAll: AbortSignal;
  /** Whose turn it is to make the next chunk of a stream. */
  readonly chunkTurns: Turns;
  /** Whose turn it is to have a call worked at. */
  readonly callTurns: Turns;
  /** Names of methods whose work grows with what is stored: only their steps are bounded in time, not the whole. */
  readonly unbounded: ReadonlySet<string>;
}

/** How long a call, or the next chunk of a stream, may take when its caller sets no deadline. */
const LIMIT_MS = 10_000;

/**
 * How long a reader may pause in the midst of a stream. Their places are few; who comes back later resumes from their last
 * cursor.
 */
const PAUSE_LIMIT_MS = 300_000;

/** How often it is looked whether the caller of a stream still may. */
const CHECK_MS = 2_000;

/** A client that leaves this shortly before its deadline has not left of its own accord. */
const CLOCK_LEEWAY_MS = 50;

/** A service ready for `server.addService`. `methods` has one function for each method of the definition, by its name there. */
export function adapt<S extends ServiceDefinition>(
  definition: S,
  methods: { readonly [Name in keyof S]: Method<never, unknown> },
  options: AdapterOptions,
): [ServiceDefinition, UntypedServiceImplementation] {
  const stops = { all: stopOf(options.stopAll), streams: stopOf(options.stopStreams) };
  const names = Object.keys(definition) as (keyof S & string)[];
  return [
    Object.fromEntries(
      names.map((name) => {
        const method = definition[name] as MethodDefinition<unknown, unknown>;
        // Responses are encoded by the handlers below, so that one that cannot be is a fault like any other.
        const responseSerialize = (bytes: unknown) => bytes as Buffer;
        return [name, { ...method, requestDeserialize: decoding(method.requestDeserialize), responseSerialize }];
      }),
    ),
    Object.fromEntries(
      names.map((name) => {
        const method = definition[name] as MethodDefinition<unknown, unknown>;
        const run = methods[name] as unknown as Method<unknown, unknown>;
        const limitMs = options.unbounded.has(name) ? Number.POSITIVE_INFINITY : LIMIT_MS;
        return [
          name,
          method.responseStream
            ? streaming(method, run, [stops.streams, stops.all], options)
            : unary(method, run, limitMs, [stops.all], options),
        ];
      }),
    ),
  ];
}

function unary(
  { path, responseSerialize }: MethodDefinition<unknown, unknown>,
  run: Method<unknown, unknown>,
  limitMs: number,
  stops: Stop[],
  options: AdapterOptions,
): handleUnaryCall<Decoded<unknown>, Buffer> {
  const encode = encoding(responseSerialize);
  return (call, callback) => {
    const context = open(call, path, limitMs, stops, options);
    const { project, signal } = context.call;
    execute(context, call.request, async (request) =>
      encode(
        await context.within(
          options.callTurns.take(project, signal, () => run(request, context.call) as Promise<unknown>),
        ),
      ),
    ).then(
      (response) => {
        context.end(codes.OK);
        callback(null, response);
      },
      (error: unknown) => callback(context.fail(error)),
    );
  };
}

function streaming(
  { path, responseSerialize }: MethodDefinition<unknown, unknown>,
  run: Method<unknown, unknown>,
  stops: Stop[],
  options: AdapterOptions,
): handleServerStreamingCall<Decoded<unknown>, Buffer> {
  const encode = encoding(responseSerialize);
  return (stream) => {
    const context = open(stream, path, Number.POSITIVE_INFINITY, stops, options);
    context.watchCaller();
    execute(context, stream.request, (request) =>
      pipe(run(request, context.call) as AsyncGenerator<unknown, void>, encode, stream, context, options),
    ).then(
      () => {
        context.end(codes.OK);
        stream.end();
      },
      (error: unknown) => stream.emit("error", context.fail(error)),
    );
  };
}

function encoding(serialize: (response: unknown) => Buffer): (response: unknown) => Buffer {
  return (response) => (response instanceof Encoded ? response.bytes : serialize(response));
}

async function execute<T>(
  context: Context,
  decoded: Decoded<unknown>,
  run: (request: unknown) => Promise<T>,
): Promise<T> {
  if ("error" in decoded) throw decoded.error;
  context.noteSession(decoded.request);
  return run(decoded.request);
}

/** Writes each chunk when the reader has taken the ones before: a reader who pauses pauses the query. */
async function pipe(
  chunks: AsyncGenerator<unknown, void>,
  serialize: (chunk: unknown) => Buffer,
  stream: ServerWritableStream<unknown, Buffer>,
  context: Context,
  { chunkTurns }: AdapterOptions,
): Promise<void> {
  const { project, signal } = context.call;
  try {
    for (;;) {
      const next = await context.within(
        chunkTurns.take(project, signal, () => chunks.next()),
        LIMIT_MS,
      );
      if (next.done) return;
      if (!stream.write(serialize(next.value))) {
        await context.within(once(stream, "drain", { signal }), PAUSE_LIMIT_MS, () => readerTooSlow(PAUSE_LIMIT_MS));
      }
    }
  } catch (error) {
    // `once` rejects with an AbortError of its own; what aborted the call says more.
    throw signal.aborted ? signal.reason : error;
  } finally {
    chunks.return().catch(() => {});
  }
}

/** What ends calls. They do not listen to the signal themselves: to let one of a thousand listeners go takes it long. */
interface Stop {
  readonly signal: AbortSignal;
  /** How to end each of the calls under way. */
  readonly calls: Set<() => void>;
}

function stopOf(signal: AbortSignal): Stop {
  const calls = new Set<() => void>();
  const stopAll = (): void => {
    for (const stop of calls) stop();
  };
  signal.addEventListener("abort", stopAll, { once: true });
  return { signal, calls };
}

interface Context {
  readonly call: Call;
  /** The promise's outcome, or the reason for which the call ends before. */
  within<T>(promise: Promise<T>, limitMs?: number, tooLong?: () => SessionsError): Promise<T>;
  noteSession(request: unknown): void;
  /** Ends the call once its caller may not any more. */
  watchCaller(): void;
  end(code: number): void;
  fail(error: unknown): Partial<StatusObject>;
}

interface IncomingCall {
  readonly metadata: Metadata;
  readonly cancelled: boolean;
  getDeadline(): Date | number;
  on(event: "cancelled", listener: () => void): unknown;
}

function open(
  incoming: IncomingCall,
  path: string,
  limitMs: number,
  stops: Stop[],
  { log, callerOf }: AdapterOptions,
): Context {
  const { principal, check } = callerOf(incoming.metadata);
  const { project, user } = principal;
  const started = performance.now();
  const requestId = requestIdOf(incoming.metadata);
  const aborter = new AbortController();
  const clientDeadline = Number(incoming.getDeadline());
  const deadline = Math.min(clientDeadline, Date.now() + limitMs);
  let session: string | undefined;

  const call: Call = {
    project,
    user: user === undefined ? undefined : keyOf(project, user),
    signal: aborter.signal,
    deadline,
    ...(deadline === clientDeadline && { late: deadlineExceeded }),
    requestId,
  };
  const timer = timeout(timeLeft(call), () => aborter.abort(lateness(call)));
  let watch: NodeJS.Timeout | undefined;
  const stop = (): void => aborter.abort(shuttingDown());
  for (const { signal, calls } of stops) {
    if (signal.aborted) stop();
    else calls.add(stop);
  }
  let isOver = false;
  incoming.on("cancelled", () => {
    // It comes at the end of every call, too.
    if (isOver) return;
    // A client whose deadline passes goes away by itself, a network's delay before this side's timer.
    const isLate = Date.now() > clientDeadline - CLOCK_LEEWAY_MS;
    aborter.abort(isLate ? deadlineExceeded() : new Cancelled());
  });

  const end = (code: number, error?: unknown): void => {
    isOver = true;
    clearTimeout(timer);
    clearInterval(watch);
    for (const { calls } of stops) calls.delete(stop);
    const line = {
      method: path.slice(1),
      code: codes[code],
      duration_ms: Math.round((performance.now() - started) * 100) / 100,
      ...whoIs(principal),
      session,
      request_id: requestId,
    };
    if (code === codes.INTERNAL) log.error({ ...line, err: error }, "call failed");
    else if (code === codes.UNAVAILABLE) log.warn({ ...line, cause: causeOf(error) }, "call");
    else log.info(line, "call");
  };

  return {
    call,
    within: (promise, partLimitMs, tooLong) => raced(promise, aborter.signal, partLimitMs, tooLong),
    noteSession(request) {
      const { sessionId } = request as { sessionId?: unknown };
      if (typeof sessionId === "string" && sessionId !== "") session = sessionId.slice(0, 256);
    },
    watchCaller() {
      if (!check) return;
      watch = setInterval(() => {
        check().catch((error: unknown) => {
          if (error instanceof SessionsError && ENDS_STREAMS.has(error.code)) aborter.abort(error);
        });
      }, CHECK_MS);
    },
    end,
    fail(error) {
      // Whatever still works for the call has to know that nobody waits for it any more.
      if (!aborter.signal.aborted) aborter.abort(error);
      if (error instanceof Cancelled) {
        end(codes.CANCELLED);
        return { code: codes.CANCELLED, details: "The client has gone." };
      }
      const status = toStatus(error, requestId);
      end(status.code, error);
      return status;
    },
  };
}

/** While nobody can tell whether a caller still may, as when the database is away, their streams go on. */
const ENDS_STREAMS: ReadonlySet<string> = new Set(["UNAUTHENTICATED", "PERMISSION_DENIED"]);

/** Why a call ended whose client has gone; nobody reads its status. */
class Cancelled extends Error {}

/** Node's timers wrap around past 24.8 days, which is as good as never. */
function timeout(ms: number, act: () => void): NodeJS.Timeout | undefined {
  return ms > 0x7fffffff ? undefined : setTimeout(act, Math.max(ms, 0));
}

async function raced<T>(
  promise: Promise<T>,
  signal: AbortSignal,
  limitMs = Number.POSITIVE_INFINITY,
  tooLong = () => storageUnavailable(new Error("the next chunk took too long")),
): Promise<T> {
  if (signal.aborted) {
    promise.catch(() => {});
    throw signal.reason;
  }
  let settle = (): void => {};
  let timer: NodeJS.Timeout | undefined;
  const ended = new Promise<never>((_, reject) => {
    settle = () => reject(signal.reason);
    signal.addEventListener("abort", settle, { once: true });
    timer = timeout(limitMs, () => reject(tooLong()));
  });
  try {
    return await Promise.race([promise, ended]);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", settle);
  }
}

/** The caller's own id for the call, when it is one that a log line can take. */
function requestIdOf(metadata: Metadata): string {
  const [given] = metadata.get("x-request-id");
  return typeof given === "string" && /^[\x21-\x7e]{1,128}$/.test(given) ? given : randomUUID();
}

function causeOf(error: unknown): string | undefined {
  return error instanceof Error && error.cause instanceof Error
    ? `${error.cause.name}: ${error.cause.message}`
    : undefined;
}
