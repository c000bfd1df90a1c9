import type { Socket } from "node:net";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { Admission, Arrival } from "../calls/admission/index.js";
import type { Authentication, Awaited, Caller } from "../calls/authentication.js";
import { type Execution, type Incoming, LAST_BYTES_MS, requestIdOf } from "../calls/execution.js";
import type { Call } from "../domain/call.js";
import type { SessionsError } from "../domain/errors.js";

/** What a request to the HTTP side asks for, as the rest of the house knows it. */
export interface Target {
  /** `/sessions.v1.SessionService/GetSession` */
  readonly path: string;
  /** Whether the answer is a stream. */
  readonly streams: boolean;
  readonly endless?: boolean;
}

/** What a room knows of a call that it is about to run. */
export interface Particulars extends Pick<Incoming, "session" | "limitMs" | "protocol"> {
  /** Of its message, unpacked. */
  readonly bytes: number;
  readonly deadline?: number;
}

/**
 * Takes requests through what every call goes through. A room has `arrive` called by the hook onRequest of its routes, and their handlers
 * run by `unary` or `stream`.
 */
export interface HttpCalls {
  /** Rejects with the SessionsError to answer with, before anything of the request's body has been read. */
  arrive(request: FastifyRequest, reply: FastifyReply, target: Target): Promise<void>;
  requestId(request: FastifyRequest): string;
  /** Rejects with a Failure, or when there is no room for it any more, with the SessionsError to answer with. */
  unary<T>(request: FastifyRequest, particulars: Particulars, act: (call: Call) => Promise<T>): Promise<T>;
  /** The same for a stream, see Execution. */
  stream<Chunk>(
    request: FastifyRequest,
    particulars: Particulars,
    act: (call: Call) => AsyncGenerator<Chunk, void>,
    write: (chunk: Chunk, signal: AbortSignal) => Promise<unknown> | undefined,
  ): Promise<void>;
}

export interface HttpCallsOptions {
  readonly authentication: Authentication;
  readonly admission: Admission;
  readonly execution: Execution;
}

/** A request that has been let in. */
interface Arrived {
  readonly target: Target;
  readonly caller: Caller;
  readonly requestId: string;
  readonly arrival: Arrival;
  readonly reply: FastifyReply;
}

export function createHttpCalls({ authentication, admission, execution }: HttpCallsOptions): HttpCalls {
  const requests = new WeakMap<FastifyRequest, Arrived>();

  const arrivedOf = (request: FastifyRequest): Arrived => {
    const arrived = requests.get(request);
    if (!arrived) throw new Error("a request has come past what every call goes through");
    return arrived;
  };

  const enter = (request: FastifyRequest, { protocol, session, limitMs, bytes, deadline }: Particulars): Incoming => {
    const { target, caller, requestId, arrival, reply } = arrivedOf(request);
    if (!arrival.enter(bytes)) throw new TurnedAway();
    arrival.complete();
    return {
      path: target.path,
      endless: target.endless,
      protocol,
      header: (name) => request.headers[name]?.toString(),
      caller,
      requestId,
      session,
      limitMs,
      deadline: deadline ?? Number.POSITIVE_INFINITY,
      onGone: (listener) => whenOver(reply, listener),
    };
  };

  return {
    async arrive(request, reply, target) {
      const { path, streams, endless } = target;
      const requestId = requestIdOf(request.headers["x-request-id"]);
      reply.header("x-request-id", requestId);
      const entered = authentication.enter(path, request.raw.headersDistinct.authorization ?? []);
      const caller = "principal" in entered ? entered : await untilGone(entered, reply);
      if (isOver(reply)) throw new TurnedAway();

      await new Promise<void>((resolve, reject) => {
        const turnAway = (error: SessionsError): void => {
          reject(error);
          // Later than that nobody waits for the promise, and the request is still on its way.
          if (requests.has(request)) endEarly(request, reply, error);
        };
        const arrival = admission.begin({ path, streams, endless, principal: caller.principal }, turnAway);
        whenOver(reply, () => {
          arrival.leave();
          reject(new TurnedAway());
        });
        if (arrival.isRefused) return;
        requests.set(request, { target, caller, requestId, arrival, reply });
        countBytes(request, arrival);
        resolve();
      });
    },

    requestId: (request) => arrivedOf(request).requestId,

    unary: async (request, particulars, act) => execution.unary(enter(request, particulars), act),

    async stream(request, particulars, act, write) {
      const { reply } = arrivedOf(request);
      try {
        await execution.stream(enter(request, particulars), act, write);
      } finally {
        const timer = setTimeout(() => reply.raw.destroy(), LAST_BYTES_MS).unref();
        whenOver(reply, () => clearTimeout(timer));
      }
    },
  };
}

/** For a request that has its answer already, or whose caller has gone. Nobody is to be told anything. */
export class TurnedAway extends Error {}

async function untilGone({ caller, leave }: Awaited, reply: FastifyReply): Promise<Caller> {
  whenOver(reply, leave);
  return caller;
}

/** What waits for the end of each request of a connection that is not over. */
const waiting = new WeakMap<Socket, Set<() => void>>();

/**
 * Has the listener called once, when the answer is out or nobody is there to take it. A client may send several requests one behind the
 * other, and when its connection closes, Node tells that to the answer that is going out, but not to those that wait behind it.
 */
function whenOver({ raw: response, request }: FastifyReply, listener: () => void): void {
  const { socket } = request.raw;
  let listeners = waiting.get(socket);
  if (!listeners) {
    const all = new Set<() => void>();
    socket.once("close", () => {
      for (const tell of all) tell();
    });
    waiting.set(socket, all);
    listeners = all;
  }
  const mine = listeners;
  const over = (): void => {
    if (mine.delete(over)) listener();
  };
  mine.add(over);
  response.once("close", over);
}

function isOver({ raw, request }: FastifyReply): boolean {
  return raw.closed || request.raw.socket.destroyed;
}

/**
 * Counts a body as it arrives, before anybody has read it. To listen for its data would have it flow, and be lost to a reader who
 * comes later.
 */
function countBytes({ raw }: FastifyRequest, arrival: Arrival): void {
  const push = raw.push.bind(raw);
  raw.push = (chunk: unknown, encoding?: BufferEncoding) => {
    if (chunk instanceof Uint8Array) arrival.arrived(chunk.length);
    return push(chunk, encoding);
  };
}

/** What is left of the request is not waited for. */
function endEarly(request: FastifyRequest, reply: FastifyReply, error: SessionsError): void {
  if (reply.sent) return;
  reply.header("connection", "close");
  reply.raw.once("finish", () => request.raw.destroy());
  reply.send(error);
}
