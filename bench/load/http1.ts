import { once } from "node:events";
import { connect, type Socket } from "node:net";

/**
 * HTTP/1.1 on bare sockets that are kept open. Node's own client costs more than the server that it loads; here a call is bytes that
 * were made before, and a look at the status and the length of what comes back.
 */
export interface Posts {
  /** Sends a request and passes over the response, but for whether it is OK. */
  post(request: Buffer): Promise<void>;
  close(): void;
}

/** As many connections as there are requests in flight at most: each takes one at a time. */
export async function openPosts(address: string, count: number): Promise<Posts> {
  const { hostname, port } = new URL(`http://${address}`);
  const connections = await Promise.all(
    Array.from({ length: count }, async () => {
      const socket = connect({ host: hostname, port: Number(port), noDelay: true });
      await once(socket, "connect");
      return onePost(socket);
    }),
  );
  const free = [...connections];
  return {
    async post(request) {
      const connection = free.pop();
      if (!connection) throw new Error(`more than ${count} requests in flight`);
      await connection.post(request);
      free.push(connection);
    },
    close() {
      for (const { socket } of connections) socket.destroy();
    },
  };
}

const HEAD_END = "\r\n\r\n";

function onePost(socket: Socket) {
  let left = Buffer.alloc(0);
  let resolve = (): void => {};
  let reject = (_error: Error): void => {};
  socket.on("error", (error) => reject(error));
  socket.on("close", () => reject(new Error("the connection was closed")));
  socket.on("data", (chunk) => {
    left = left.length === 0 ? chunk : Buffer.concat([left, chunk]);
    const headLength = left.indexOf(HEAD_END);
    if (headLength < 0) return;
    const head = left.toString("latin1", 0, headLength);
    const bodyFrom = headLength + HEAD_END.length;
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1]);
    if (left.length < bodyFrom + length) return;
    const answer = left;
    left = Buffer.alloc(0);
    if (head.startsWith("HTTP/1.1 200 ")) resolve();
    else reject(new Error(`answered ${head.slice(0, 20)}: ${answer.toString("utf8", bodyFrom)}`));
  });
  return {
    socket,
    post(request: Buffer): Promise<void> {
      return new Promise((done, failed) => {
        resolve = done;
        reject = failed;
        socket.write(request);
      });
    },
  };
}

/** A request as it goes over the wire. */
export function postOf(path: string, body: object): Buffer {
  const json = Buffer.from(JSON.stringify(body));
  const head = `POST ${path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${json.length}`;
  return Buffer.concat([Buffer.from(head + HEAD_END), json]);
}
