import { onTestFinished } from "vitest";
import { type ClientOptions, createClient, type SessionsClient, SessionsClientError } from "../../src/client/index.js";
import { startProxy, type TcpProxy } from "../support/proxy.js";

/** A client that is closed at the end of the test. Its retries are quick, for the service is near. */
export function clientTo(address: string, options: Omit<ClientOptions, "address"> = {}): SessionsClient {
  const client = createClient({ address, ...options, retries: { initialDelayMs: 5, ...options.retries } });
  onTestFinished(() => client.close());
  return client;
}

/** A proxy in front of a service, which is stopped at the end of the test. */
export async function proxyTo(address: string): Promise<TcpProxy> {
  const proxy = await startProxy(`tcp://${address}`);
  onTestFinished(() => proxy.stop());
  return proxy;
}

/** How a call fails. Throws when it succeeds, or fails with anything but the client's own error. */
export async function failure(outcome: Promise<unknown>): Promise<SessionsClientError> {
  const error = await outcome.then(
    (value) => {
      throw new Error(`expected a failure, got ${JSON.stringify(value)}`);
    },
    (reason: unknown) => reason,
  );
  if (!(error instanceof SessionsClientError)) throw error;
  return error;
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** Adds messages `m1`, `m2`, … in calls of at most 1000. */
export async function addMessages(
  client: SessionsClient,
  sessionId: string,
  count: number,
  content = (_number: number): string => "x".repeat(200),
): Promise<void> {
  const numbers = Array.from({ length: count }, (_, index) => index + 1);
  for (let start = 0; start < count; start += 1000) {
    const messages = numbers.slice(start, start + 1000).map((n) => ({ messageId: `m${n}`, content: content(n) }));
    await client.addMemory({ sessionId, messages });
  }
}
