import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

/** What stands before several processes: each new connection goes to the one that is current; the others stay where they are. */
export interface Balancer {
  readonly address: string;
  sendTo(address: string): void;
  stop(): Promise<void>;
}

export async function startBalancer(): Promise<Balancer> {
  let current: string | undefined;
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const [host, port] = (current ?? ":0").split(":");
    const target = connect({ host, port: Number(port) });
    for (const [one, other] of [
      [client, target],
      [target, client],
    ] as const) {
      one.setNoDelay();
      sockets.add(one);
      one.on("error", () => other.destroy());
      one.on("close", () => {
        sockets.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    sendTo(address) {
      current = address;
    },
    async stop() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
