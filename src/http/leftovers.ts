import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";

/** For how long what is left of a request still comes, after its answer is out, before its connection ends. */
const LINGER_MS = 2_000;

/** What is so short has mostly come before its answer is out. */
const SHORT_BYTES = 64 * 1024;

/**
 * Has what is left of answered requests thrown away for a moment. A connection that is closed while more of a request comes is reset, and
 * who sends it may lose the answer, which says why it was not wanted.
 */
export function throwAwayLeftovers(app: FastifyInstance): void {
  app.addHook("onRequest", (request, reply, done) => {
    if (!isShort(request)) reply.raw.once("finish", () => throwAway(request));
    done();
  });
}

/** Takes back that the connection is to be closed at once, which is fastify's way with bodies that are too large. */
export function keepForLeftovers(reply: FastifyReply): FastifyReply {
  return reply.removeHeader("connection");
}

function isShort({ headers }: FastifyRequest): boolean {
  return headers["transfer-encoding"] === undefined && Number(headers["content-length"] ?? 0) <= SHORT_BYTES;
}

function throwAway({ raw }: FastifyRequest): void {
  const end = (): void => {
    if (!raw.complete) raw.destroy();
  };
  if (raw.complete) return;
  const timer = setTimeout(end, LINGER_MS);
  // Who has begun to read, and has not gone on, would keep it from coming.
  raw
    .removeAllListeners("readable")
    .once("end", () => clearTimeout(timer))
    .resume();
}
