import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/**
 * What happens on the way to the database.
 *
 * - `forward`: all is well.
 * - `refuse`: connections are refused, and those that were open are reset.
 * - `black-hole`: connections are accepted and kept, and nothing passes, in either direction.
 * - `cut-answers`: each connection is reset in the middle of the next answer.
 */
export type Weather = "forward" | "refuse" | "black-hole" | "cut-answers";

export interface ProxyOptions {
  /** Holds each answer back for this long. */
  readonly delayMs?: number;
}

/** A TCP proxy, made for the way between a service and its MongoDB. */
export interface TcpProxy {
  readonly port: number;
  /** Reaches the database through the proxy, and never around it. */
  readonly uri: string;
  become(weather: Weather): Promise<void>;
  /** Resets what is open, once; new connections are fine. */
  breakConnections(): void;
  stop(): Promise<void>;
}

/** In front of whatever listens at the host and port of a URI. */
export async function startProxy(to: string, { delayMs = 0 }: ProxyOptions = {}): Promise<TcpProxy> {
  const { hostname, port: targetPort } = new URL(to);
  let weather: Weather = "forward";
  const sockets = new Set<Socket>();

  const accept = (client: Socket): void => {
    const target = connect({ host: hostname, port: Number(targetPort) });
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
      if (weather !== "black-hole") target.write(bytes);
    });
    target.on("data", (bytes) => {
      setTimeout(() => {
        if (weather === "black-hole" || client.destroyed) return;
        if (weather === "forward") client.write(bytes);
        else client.write(bytes.subarray(0, bytes.length / 2), () => end(true));
      }, delayMs);
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
  return {
    port,
    uri: `mongodb://127.0.0.1:${port}/?directConnection=true`,
    async become(next) {
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
}
