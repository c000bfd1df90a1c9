import { createServer } from "node:http";
import { createServer as createTlsServer, type Server as TlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import fastify, { type FastifyInstance } from "fastify";
import type { Address, Door } from "../calls/door.js";
import { type FollowedTls, HANDSHAKE_MS } from "../tls/followed.js";
import { throwAwayLeftovers } from "./leftovers.js";
import { answerNowhere } from "./nowhere.js";
import { text } from "./text.js";

/**
 * How long the head of a request may take to arrive, which is as long as for each part of its body, and how often it is looked for
 * those that take longer.
 */
const HEAD_MS = 10_000;
const LOOK_MS = 1_000;

/** For how long an idle connection is kept: longer than proxies keep theirs, who would send into one that has just been closed. */
const IDLE_MS = 72_000;

/**
 * For how long a connection may be silent on both sides in the midst of an answer: somewhat longer than a stream waits for its reader,
 * so that there is time to say so. Else who takes no answers would hold their places for ever.
 */
const SILENCE_MS = 310_000;

/** How often, at a stop, it is looked for connections whose last answer is out. */
const LET_GO_MS = 50;

export interface HttpDoorOptions {
  /** Undefined: no encryption. */
  readonly tls: FollowedTls | undefined;
  /** What there is to be asked for. */
  readonly rooms: readonly Room[];
}

/** Adds its routes, and what they need, to an instance of its own. */
export type Room = (app: FastifyInstance) => void | Promise<void>;

/** The door for HTTP. Rejects when it cannot listen. */
export async function openHttpDoor({ host, port }: Address, { tls, rooms }: HttpDoorOptions): Promise<Door> {
  const app = fastify({
    serverFactory: (handler) => {
      const options = { headersTimeout: HEAD_MS, connectionsCheckingInterval: LOOK_MS, keepAliveTimeout: IDLE_MS };
      const server = tls
        ? createTlsServer({ ...options, ...secureContext(tls), requestCert: tls.asksClients, ...HANDSHAKE }, handler)
        : createServer(options, handler);
      return server.setTimeout(SILENCE_MS);
    },
    forceCloseConnections: "idle",
    // Ids are parts of paths: 256 code points of four bytes, each of which takes three characters.
    routerOptions: { maxParamLength: 256 * 4 * 3 },
    // What does not even come to a room.
    frameworkErrors: (error, _request, reply) => void text(reply, error.statusCode ?? 400, NO_PATH),
  });
  throwAwayLeftovers(app);
  const nothing: Room = (instance) =>
    answerNowhere(instance, (reply) => text(reply, 404, "There is nothing at this path."));
  for (const room of [nothing, ...rooms]) await app.register(async (instance) => room(instance));

  try {
    await app.listen({ host: host.replace(/^\[(.*)\]$/, "$1"), port });
  } catch (error) {
    await app.close();
    throw new Error(`cannot listen on ${host}:${port}: ${(error as Error).message}`, { cause: error });
  }
  const stopFollowing = tls?.onChange(() => (app.server as TlsServer).setSecureContext(secureContext(tls)));
  return {
    address: `${host}:${(app.server.address() as AddressInfo).port}`,
    async drain() {
      stopFollowing?.();
      // Node closes the connections that are idle at the beginning. Those whose answers go out later would stay for all of the grace.
      const letGo = setInterval(() => app.server.closeIdleConnections(), LET_GO_MS);
      await app.close().finally(() => clearInterval(letGo));
    },
    close: () => app.server.closeAllConnections(),
  };
}

const NO_PATH = "This is not a path: its percent-encoding is broken, or a part of it is longer than any id.";

const HANDSHAKE = { handshakeTimeout: HANDSHAKE_MS };

function secureContext(tls: FollowedTls) {
  const { certificate: cert, key, clientCa: ca } = tls.contents();
  return { cert, key, ca, minVersion: "TLSv1.2" as const };
}
