import { once } from "node:events";
import { connect, createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

/** A free port of 127.0.0.1: the preferred one when that is free. */
export async function freePort(preferred: number | undefined): Promise<number> {
  return (preferred === undefined ? undefined : await tryPort(preferred)) ?? (await tryPort(0)) ?? freePort(undefined);
}

async function tryPort(port: number): Promise<number | undefined> {
  const server = createServer();
  try {
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    return address !== null && typeof address === "object" ? address.port : undefined;
  } catch {
    return undefined;
  } finally {
    await new Promise((resolve) => server.close(resolve));
  }
}

/** Answers true once something listens there, false when `keepTrying` does so first. */
export async function waitUntilListening(port: number, keepTrying: () => boolean): Promise<boolean> {
  while (keepTrying()) {
    if (await accepts(port)) return true;
    await sleep(25);
  }
  return false;
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    const answer = (value: boolean) => () => {
      socket.destroy();
      resolve(value);
    };
    socket.once("connect", answer(true));
    socket.once("error", answer(false));
  });
}
