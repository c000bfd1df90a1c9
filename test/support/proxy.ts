import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/**
 * What happens on the way.
 *
 * - `forward`: all is well.
 * - `refuse`: connections are refused, and those that were open are reset.
 * - `black-hole`: connections are accepted and kept, and nothing passes, in either direction.
 * - `cut-answers`: each connection is reset in the middle of the next answer.
 * - `lose-answers`: what is asked arrives, and the answers are lost.
 */
export type Weather = "forward" | "refuse" | "black-hole" | "cut-answers" | "lose-answers";

export interface ProxyOptions {
  /** Holds each answer back for this long. */
  readonly delayMs?: number;
}

/** A TCP proxy, for the way between a service and its MongoDB, or between a client and a service. */
export interface TcpProxy {
  readonly port: number;
  readonly address: string;
  /** Reaches a database through the proxy, and never around it. */
  readonly uri: string;
  /** How many connections there have been. */
  readonly connections: number;
  /** How many bytes of answers have been passed on. */
  readonly bytesAnswered: number;
  /** The URI of what new connections lead to. */
  target: string;
  /** New connections are ended when this many bytes of answers have been passed on. */
  cutAfterBytes: number;
  /** For how long each answer is held back, from now on. */
  delayMs: number;
  become(weather: Weather): Promise<void>;
  /** Resets what is open, once; new connections are fine. */
  breakConnections(): void;
  stop(): Promise<void>;
}

/** In front of whatever listens at the host and port of a URI. */
export async function startProxy(to: string, { delayMs = 0 }: ProxyOptions = {}): Promise<TcpProxy> {
  let weather: Weather = "forward";
  const sockets = new Set<Socket>();

  const accept = (client: Socket): void => {
    proxy.connections += 1;
    let left = proxy.cutAfterBytes;
    const { hostname, port } = new URL(proxy.target);
    const target = connect({ host: hostname, port: Number(port) });
    const pair = [client, target];
    const end = (reset: boolean): void => {
      for (const socket of pair) {
        sockets.delete(socket);
        if (reset) socket.resetAndDestroy();
        else socket.destroy();
      }
    };
    for (const socket of pair) {
      socket.setNoDelay();
      sockets.add(socket);
      socket.on("error", () => end(true));
      socket.on("close", () => end(false));
    }
    client.on("data", (bytes) => {
      if (weather !== "black-hole") pass(bytes, client, target);
    });
    const answer = (bytes: Buffer): void => {
      if (weather === "black-hole" || weather === "lose-answers" || client.destroyed) return;
      if (weather === "cut-answers") {
        client.write(bytes.subarray(0, bytes.length / 2), () => end(true));
        return;
      }
      const part = bytes.subarray(0, left);
      left -= part.length;
      proxy.bytesAnswered += part.length;
      pass(part, target, client);
      if (left === 0) client.end(() => end(false));
    };
    let held = 0;
    let answered: Promise<unknown> = Promise.resolve();
    target.on("data", (bytes) => {
      if (proxy.delayMs === 0 && held === 0) return answer(bytes);
      held += 1;
      // Whatever the delay has become meanwhile, bytes stay in their order.
      answered = Promise.all([answered, sleep(proxy.delayMs)]).then(() => {
        held -= 1;
        answer(bytes);
      });
    });
  };

  const listen = async (port: number): Promise<Server> => {
    const listening = createServer(accept).listen(port, "127.0.0.1");
    await once(listening, "listening");
    return listening;
  };
  const breakConnections = (): void => {
    for (const socket of sockets) socket.resetAndDestroy();
  };
  const close = async (): Promise<void> => {
    const closed = new Promise((resolve) => server.close(resolve));
    breakConnections();
    await closed;
  };

  let server = await listen(0);
  const { port } = server.address() as AddressInfo;
  const proxy = {
    port,
    address: `127.0.0.1:${port}`,
    uri: `mongodb://127.0.0.1:${port}/?directConnection=true`,
    connections: 0,
    bytesAnswered: 0,
    target: to,
    cutAfterBytes: Number.POSITIVE_INFINITY,
    delayMs,
    async become(next: Weather) {
      const before = weather;
      weather = next;
      if (next === "refuse" && before !== "refuse") await close();
      if (next !== "refuse" && before === "refuse") server = await listen(port);
    },
    breakConnections,
    async stop() {
      if (weather !== "refuse") await close();
    },
  };
  return proxy;
}

/** Writes, and lets the sender wait while the receiver does not read. */
function pass(bytes: Buffer, from: Socket, to: Socket): void {
  if (to.write(bytes)) return;
  from.pause();
  to.once("drain", () => from.resume());
}
