import { once } from "node:events";
import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from "fastify";
import type { Answer } from "../../calls/answer.js";
import { Failure } from "../../calls/execution.js";
import { LIMIT_MS } from "../../calls/operations.js";
import { SessionsError } from "../../domain/errors.js";
import type { Services } from "../../services/index.js";
import type { HttpCalls, Particulars } from "../calls.js";
import { keepForLeftovers } from "../leftovers.js";
import { answerNowhere } from "../nowhere.js";
import type { Room } from "../server.js";
import { text } from "../text.js";
import { ZEP_VERSION } from "../zep-version.js";
import type { Place } from "./listing.js";
import { memoryRoutes } from "./memory.js";
import { messageRoutes } from "./messages.js";
import { createPositions } from "./positions.js";
import type { Query } from "./query.js";
import type { CallRoute, Incoming, ListRoute, Route } from "./route.js";
import { searchRoutes } from "./search.js";
import { sessionRoutes } from "./sessions.js";
import { statusOf } from "./statuses.js";
import { userRoutes } from "./users.js";

/**
 * The REST API of the legacy Zep server, for the SDKs that people still run: `zep-python` up to 1.5 and `@getzep/zep-js` up to 0.10. It
 * has no rules of its own, but translates.
 */
export interface ZepOptions {
  readonly routes: readonly Route[];
  readonly calls: HttpCalls;
}

const PREFIX = "/api/v1";

/** As there. */
const MAX_BODY_BYTES = 5 * 1024 * 1024;

/** How many places in listings are remembered: some hundred bytes each. */
const MAX_POSITIONS = 20_000;

export function zepRoom({ routes, calls }: ZepOptions): Room {
  return (app) => void app.register(async (api) => addApi(api, routes, calls), { prefix: PREFIX });
}

type ZepServices = Pick<Services, "session" | "memory" | "search" | "user">;

export function zepRoutes({ session, memory, search, user }: ZepServices): Route[] {
  const positions = createPositions<Place>(MAX_POSITIONS);
  return [
    ...sessionRoutes(session, positions),
    ...memoryRoutes(memory, session),
    ...messageRoutes(memory, session),
    ...searchRoutes(search),
    ...userRoutes(user, session, positions),
  ];
}

function addApi(api: FastifyInstance, routes: readonly Route[], calls: HttpCalls): void {
  // The SDKs send JSON under several content types, and under none.
  api.removeAllContentTypeParsers();
  api.addContentTypeParser("*", { parseAs: "buffer", bodyLimit: MAX_BODY_BYTES }, (_request, body, done) =>
    done(null, body),
  );
  api.addHook("onRequest", async (_request, reply) => void reply.header(...ZEP_VERSION));
  api.setErrorHandler((error, _request, reply) => refuse(reply, error));
  answerNowhere(api, (reply) => text(reply, 404, "404 page not found"));
  api.get("/healthz", (_request, reply) => reply.type("text/plain").send("."));

  for (const url of new Set(routes.map((route) => route.url))) {
    const methods = routes.filter((route) => route.url === url);
    // Paths that end in a slash are the same without it.
    for (const path of [url, `${url}/`]) {
      for (const route of methods) addRoute(api, path, route, calls);
      const others = METHODS.filter((method) => !methods.some((route) => route.method === method));
      api.route({ method: others, url: path, onRequest: notAllowed, handler: notAllowed });
    }
  }
}

/** Answered before a body has been read: nobody has been asked who they are, and nobody counts what it takes. */
const notAllowed = async (_request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> =>
  reply.code(405).send();

const METHODS: HTTPMethods[] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

function addRoute(api: FastifyInstance, url: string, route: Route, calls: HttpCalls): void {
  const { method, path } = route;
  const isList = "list" in route;
  api.route({
    method,
    url,
    exposeHeadRoute: false,
    onRequest: (request, reply) => calls.arrive(request, reply, { path, streams: isList }),
    handler: isList
      ? (request, reply) => list(route, request, reply, calls)
      : (request, reply) => call(route, request, reply, calls),
  });
}

async function call(route: CallRoute, request: FastifyRequest, reply: FastifyReply, calls: HttpCalls) {
  const incoming = incomingOf(request);
  const particulars = particularsOf(route, incoming, route.isUnbounded ? Number.POSITIVE_INFINITY : LIMIT_MS);
  const answer = await calls.unary(request, particulars, (context) => route.run(incoming, context));
  return reply
    .code(route.status ?? 200)
    .type(TEXT)
    .send(answer);
}

/** Nothing goes out before the first piece is there: until then a failure has a status of its own. */
async function list(route: ListRoute, request: FastifyRequest, reply: FastifyReply, calls: HttpCalls): Promise<void> {
  const incoming = incomingOf(request);
  const particulars = particularsOf(route, incoming, Number.POSITIVE_INFINITY);
  const { raw } = reply;
  try {
    await calls.stream(
      request,
      particulars,
      (context) => route.list(incoming, context),
      (piece, signal) => {
        if (!reply.sent) {
          reply.type(TEXT).hijack();
          raw.writeHead(200, reply.getHeaders() as Record<string, string>);
        }
        return raw.write(piece) ? undefined : once(raw, "drain", { signal });
      },
    );
    raw.end();
  } catch (error) {
    if (!raw.headersSent) throw error;
    // So that the reader does not take the part for the whole.
    raw.destroy();
  }
}

/** The legacy server sends its JSON as text, too. */
const TEXT = "text/plain; charset=utf-8";

function incomingOf({ params, query, body, raw }: FastifyRequest): Incoming {
  return {
    ids: params as Incoming["ids"],
    query: query as Query,
    body: (body as Uint8Array | undefined) ?? NOTHING,
    connection: raw.socket,
  };
}

const NOTHING = new Uint8Array();

function particularsOf(route: Route, { ids, body }: Incoming, limitMs: number): Particulars {
  const { method, url } = route;
  const session = url.startsWith("/sessions/") ? ids.id.slice(0, 256) : undefined;
  const okStatus = "list" in route ? 200 : (route.status ?? 200);
  const status = (code: string): number => (code === "OK" ? okStatus : statusOf(code as Answer["code"]));
  return { session, limitMs, bytes: body.length, protocol: { method, route: `${PREFIX}${url}`, status } };
}

/** Errors are a line of text for people. */
function refuse(reply: FastifyReply, error: unknown): FastifyReply {
  if (error instanceof Failure) return refuseWith(reply, error.answer);
  if (error instanceof SessionsError) return refuseWith(reply, error);
  const { statusCode = 500, message } = error as { statusCode?: number; message: string };
  if (statusCode === 413)
    return text(keepForLeftovers(reply), 413, `The request has more than ${MAX_BODY_BYTES} bytes.`);
  return text(reply, statusCode, statusCode < 500 ? message : "A fault of the service.");
}

function refuseWith(reply: FastifyReply, { code, message }: Answer | SessionsError): FastifyReply {
  if (code === "UNAUTHENTICATED") reply.header("www-authenticate", "Bearer");
  if (code === "UNAVAILABLE" || code === "RESOURCE_EXHAUSTED") reply.header("retry-after", "1");
  return text(reply, statusOf(code), message);
}
