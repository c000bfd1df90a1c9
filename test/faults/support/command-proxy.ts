import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { BSON, type Document } from "mongodb";

/** A command on its way from a service to MongoDB, as far as its first document tells. */
export interface Command {
  readonly name: string;
  /** What it is about: mostly a collection. */
  readonly target: unknown;
  readonly body: Document;
}

/**
 * What happens to commands on their way. Both are called in the order of the wire; what they return is waited for, and holds
 * up this one connection.
 */
export interface Passage {
  /** Before the command is passed on. */
  before?(command: Command): void | Promise<void>;
  /** After the database has answered it, and before that answer is passed on. */
  after?(command: Command): void | Promise<void>;
}

/** A TCP proxy that understands MongoDB's wire protocol well enough to tell its commands apart. */
export interface CommandProxy {
  readonly uri: string;
  passage: Passage;
  /** From here on nothing passes any more, in either direction. */
  freeze(): void;
  stop(): Promise<void>;
}

export async function startCommandProxy(to: string): Promise<CommandProxy> {
  const { hostname, port: targetPort } = new URL(to);
  const sockets = new Set<Socket>();
  let frozen = false;

  const accept = (client: Socket): void => {
    const target = connect({ host: hostname, port: Number(targetPort) });
    const underWay = new Map<number, Command>();
    const pair = [client, target];
    const end = (): void => {
      for (const socket of pair) {
        sockets.delete(socket);
        socket.destroy();
      }
    };
    for (const socket of pair) {
      sockets.add(socket.setNoDelay().on("error", end).on("close", end));
    }
    const pass = (from: Socket, onto: Socket, see: (frame: Buffer) => Promise<void> | void): Promise<void> =>
      (async () => {
        for await (const frame of frames(from)) {
          await see(frame);
          if (frozen) return;
          if (!onto.destroyed) onto.write(frame);
        }
      })().catch(end);
    void pass(client, target, (frame) => {
      const command = commandOf(frame);
      if (!command) return;
      underWay.set(frame.readInt32LE(REQUEST_ID), command);
      return proxy.passage.before?.(command);
    });
    void pass(target, client, (frame) => {
      const answered = frame.readInt32LE(RESPONSE_TO);
      const command = underWay.get(answered);
      underWay.delete(answered);
      return command && proxy.passage.after?.(command);
    });
  };

  const server = createServer(accept).listen(0, "127.0.0.1");
  await once(server, "listening");
  const proxy: CommandProxy = {
    uri: `mongodb://127.0.0.1:${(server.address() as AddressInfo).port}/?directConnection=true`,
    passage: {},
    freeze() {
      frozen = true;
    },
    async stop() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
  return proxy;
}

const REQUEST_ID = 4;
const RESPONSE_TO = 8;
const OPCODE = 12;
const OP_MSG = 2013;
/** Behind the header, the flags and the kind of the first section, which is the body. */
const BODY = 21;

/** Whole messages of the wire protocol: each begins with its length. */
async function* frames(socket: Socket): AsyncGenerator<Buffer> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const bytes of socket as AsyncIterable<Buffer>) {
    rest = rest.length === 0 ? bytes : Buffer.concat([rest, bytes]);
    while (rest.length >= 4 && rest.length >= rest.readInt32LE(0)) {
      const length = rest.readInt32LE(0);
      yield rest.subarray(0, length);
      rest = rest.subarray(length);
    }
  }
}

function commandOf(frame: Buffer): Command | undefined {
  if (frame.readInt32LE(OPCODE) !== OP_MSG || frame[BODY - 1] !== 0) return undefined;
  const body = BSON.deserialize(frame.subarray(BODY, BODY + frame.readInt32LE(BODY)));
  const [first] = Object.entries(body);
  return first && { name: first[0], target: first[1], body };
}
