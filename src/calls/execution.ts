import { randomUUID } from "node:crypto";
import type { Logger } from "pino";
import { type Call, lateness, timeLeft } from "../domain/call.js";
import { deadlineExceeded, readerTooSlow, SessionsError, shuttingDown, storageUnavailable } from "../domain/errors.js";
import { keyOf } from "../domain/keys.js";
import type { CallTrace, FollowedCall, Traces } from "../domain/traces.js";
import type { Turns } from "./admission/turns.js";
import { type Answer, toAnswer } from "./answer.js";
import { type Caller, whoIs } from "./authentication.js";
import { LIMIT_MS } from "./operations.js";

/**
 * How a call is run, whichever door it came by: it gets its signal and its deadline, takes its turn, has its line in the log, and
 * whatever is thrown becomes one answer.
 */
export interface Execution {
  /** Runs a call to its end. What it rejects with is a Failure, always. */
  unary<T>(incoming: Incoming, act: (call: Call) => Promise<T>): Promise<T>;
  /**
   * Writes each chunk when the reader has taken the ones before, for which `write` returns a promise when that is not at once: a reader
   * who pauses pauses the query. What it rejects with is a Failure, always.
   */
  stream<Chunk>(
    incoming: Incoming,
    act: (call: Call) => AsyncGenerator<Chunk, void>,
    write: (chunk: Chunk, signal: AbortSignal) => Promise<unknown> | undefined,
  ): Promise<void>;
}

/**
 * How long the rest of a stream's answer has to get out when it is over. Its status comes behind all that was written before: who does not
 * read never gets to it, and would have it kept in memory for as long as they stay connected.
 */
export const LAST_BYTES_MS = 10_000;

/** A call that has come in, as its door tells of it. */
export interface Incoming extends FollowedCall {
  readonly caller: Caller;
  /** Names the call in the log. */
  readonly requestId: string;
  /** The session that it is about, for the log. */
  readonly session: string | undefined;
  /** When its caller wants the answer, in milliseconds since 1970; Infinity when they did not say. */
  readonly deadline: number;
  /** How long it may take besides. */
  readonly limitMs: number;
  /** Whether its stream waits for what happens, and neither takes turns nor has to come to anything. */
  readonly endless?: boolean | undefined;
  /** Has the listener called when the caller has gone, or may have: it may come at the end of every call, too. */
  onGone(listener: () => void): void;
}

/** The only thing that running a call can end with, but for what was asked for. */
export class Failure extends Error {
  readonly answer: Answer;

  constructor(answer: Answer) {
    super(answer.message);
    this.answer = answer;
  }
}

/** Hears of every call, whichever door it came by. */
export interface CallObserver {
  began(path: string): void;
  /** `code` is the gRPC name of its status. */
  ended(path: string, code: Code, seconds: number): void;
}

export type Code = Answer["code"] | "OK";

export interface ExecutionOptions {
  readonly log: Logger;
  /** Ends streams, when aborted. */
  readonly stopStreams: AbortSignal;
  /** Ends what is still under way, when aborted. */
  readonly stopAll: AbortSignal;
  /** Whose turn it is to make the next chunk of a stream. */
  readonly chunkTurns: Turns;
  /** Whose turn it is to have a call worked at. */
  readonly callTurns: Turns;
  readonly observer?: CallObserver | undefined;
  readonly traces?: Traces | undefined;
}

/**
 * How long a reader may pause in the midst of a stream. Their places are few; who comes back later resumes from their last
 * cursor.
 */
const PAUSE_LIMIT_MS = 300_000;

/** How often it is looked whether the caller of a stream still may. */
const CHECK_MS = 2_000;

/** A client that leaves this shortly before its deadline has not left of its own accord. */
const CLOCK_LEEWAY_MS = 50;

export function createExecution(options: ExecutionOptions): Execution {
  const { callTurns, chunkTurns, traces } = options;
  const stops = { all: stopOf(options.stopAll), streams: stopOf(options.stopStreams) };

  const followed = <T>(incoming: Incoming, run: (trace?: CallTrace) => Promise<T>): Promise<T> => {
    if (!traces) return run();
    const trace = traces.call(incoming);
    return trace.run(() => run(trace));
  };

  const unary: Execution["unary"] = (incoming, act) =>
    followed(incoming, async (trace) => {
      const running = open(incoming, [stops.all], options, trace);
      const { call } = running;
      try {
        const answer = await running.within(callTurns.take(call.project, call.signal, () => act(call)));
        running.end("OK");
        return answer;
      } catch (error) {
        throw running.fail(error);
      }
    });

  const stream: Execution["stream"] = (incoming, act, write) =>
    followed(incoming, async (trace) => {
      const running = open(incoming, [stops.streams, stops.all], options, trace);
      const { call } = running;
      const { project, signal } = call;
      running.watchCaller();
      try {
        const chunks = act(call);
        try {
          for (;;) {
            const next = await (incoming.endless
              ? running.within(chunks.next())
              : running.within(
                  chunkTurns.take(project, signal, () => chunks.next()),
                  LIMIT_MS,
                ));
            if (next.done) break;
            const taken = write(next.value, signal);
            if (taken) await running.within(taken, PAUSE_LIMIT_MS, () => readerTooSlow(PAUSE_LIMIT_MS));
          }
        } finally {
          chunks.return().catch(() => {});
        }
        running.end("OK");
      } catch (error) {
        // What waits for a reader may reject with an AbortError of its own; what aborted the call says more.
        throw running.fail(signal.aborted ? signal.reason : error);
      }
    });

  return { unary, stream };
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

interface Running {
  readonly call: Call;
  /** The promise's outcome, or the reason for which the call ends before. */
  within<T>(promise: Promise<T>, limitMs?: number, tooLong?: () => SessionsError): Promise<T>;
  /** Ends the call once its caller may not any more. */
  watchCaller(): void;
  end(code: Code): void;
  fail(error: unknown): Failure;
}

function open(
  incoming: Incoming,
  stops: readonly Stop[],
  { log, observer }: ExecutionOptions,
  trace: CallTrace | undefined,
): Running {
  const { path, requestId, session } = incoming;
  const { principal, check } = incoming.caller;
  const { project, user } = principal;
  const started = performance.now();
  const aborter = new AbortController();
  const deadline = Math.min(incoming.deadline, Date.now() + incoming.limitMs);

  const call: Call = {
    project,
    user: user === undefined ? undefined : keyOf(project, user),
    signal: aborter.signal,
    deadline,
    ...(deadline === incoming.deadline && { late: deadlineExceeded }),
    end: (error) => aborter.abort(error),
    requestId,
    credential: principal.keyId ?? principal.token,
  };
  observer?.began(path);
  const timer = timeout(timeLeft(call), () => aborter.abort(lateness(call)));
  let watch: NodeJS.Timeout | undefined;
  const stop = (): void => aborter.abort(shuttingDown());
  for (const { signal, calls } of stops) {
    if (signal.aborted) stop();
    else calls.add(stop);
  }
  let isOver = false;
  incoming.onGone(() => {
    if (isOver) return;
    // A client whose deadline passes goes away by itself, a network's delay before this side's timer.
    const isLate = Date.now() > incoming.deadline - CLOCK_LEEWAY_MS;
    aborter.abort(isLate ? deadlineExceeded() : new Cancelled());
  });

  const end = (code: Code, error?: unknown): void => {
    isOver = true;
    clearTimeout(timer);
    clearInterval(watch);
    for (const { calls } of stops) calls.delete(stop);
    const durationMs = performance.now() - started;
    observer?.ended(path, code, durationMs / 1_000);
    const line = {
      method: path.slice(1),
      code,
      duration_ms: Math.round(durationMs * 100) / 100,
      ...whoIs(principal),
      session,
      request_id: requestId,
    };
    if (code === "INTERNAL") log.error({ ...line, err: error }, "call failed");
    else if (code === "UNAVAILABLE") log.warn({ ...line, cause: causeOf(error) }, "call");
    else log.info(line, "call");
    trace?.end(code);
  };

  return {
    call,
    within: (promise, partLimitMs, tooLong) => raced(promise, aborter.signal, partLimitMs, tooLong),
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
      const answer = error instanceof Cancelled ? CANCELLED : toAnswer(error, requestId);
      end(answer.code, error);
      return new Failure(answer);
    },
  };
}

/** While nobody can tell whether a caller still may, as when the database is away, their streams go on. */
const ENDS_STREAMS: ReadonlySet<string> = new Set(["UNAUTHENTICATED", "PERMISSION_DENIED"]);

/** Why a call ended whose client has gone. */
class Cancelled extends Error {}

/** Nobody reads it. */
const CANCELLED: Answer = { code: "CANCELLED", message: "The client has gone.", details: [] };

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
export function requestIdOf(given: unknown): string {
  return typeof given === "string" && /^[\x21-\x7e]{1,128}$/.test(given) ? given : randomUUID();
}

function causeOf(error: unknown): string | undefined {
  return error instanceof Error && error.cause instanceof Error
    ? `${error.cause.name}: ${error.cause.message}`
    : undefined;
}
