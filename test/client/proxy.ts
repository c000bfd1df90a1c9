import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { onTestFinished } from "vitest";

/** A TCP proxy between a client and a service, which loses what it is told to lose. */
export interface Proxy {
  readonly address: string;
  readonly connections: number;
  /** What has been passed on from the service to its clients. */
  readonly bytesAnswered: number;
  /** New connections go there. */
  target: string;
  /** New connections are cut when this many bytes of the service's answers have passed. */
  cutAfterBytes: number;
  /** Whether the service's answers are thrown away. */
  mute: boolean;
  /** Destroys the connections that there are. */
  cut(): void;
}

export async function startProxy(target: string): Promise<Proxy> {
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    proxy.connections += 1;
    const cutAfter = proxy.cutAfterBytes;
    let passed = 0;
    const [host, port] = proxy.target.split(":");
    const service = connect(Number(port), host);
    const destroy = () => {
      for (const socket of [client, service]) {
        socket.destroy();
        sockets.delete(socket);
      }
    };
    for (const socket of [client, service]) {
      sockets.add(socket);
      socket.on("error", destroy).on("close", destroy);
    }
    client.pipe(service);
    service.on("data", (chunk: Buffer) => {
      if (proxy.mute) return;
      const part = chunk.subarray(0, cutAfter - passed);
      passed += part.length;
      proxy.bytesAnswered += part.length;
      const flushed = client.write(part);
      if (passed >= cutAfter) client.end(destroy);
      else if (!flushed) {
        service.pause();
        client.once("drain", () => service.resume());
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const proxy = {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    target,
    connections: 0,
    bytesAnswered: 0,
    cutAfterBytes: Number.POSITIVE_INFINITY,
    mute: false,
    cut() {
      for (const socket of sockets) socket.destroy();
    },
  };
  onTestFinished(() => {
    server.close();
    proxy.cut();
  });
  return proxy;
}
