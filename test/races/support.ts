import { randomUUID } from "node:crypto";
import type { Message } from "../../gen/sessions/v1/resources.js";
import { type Api, failure } from "../support/api.js";
import { startService, type TestService, type TestServiceOptions } from "../support/service.js";

export interface Pair {
  readonly one: TestService;
  readonly other: TestService;
  /** One of the two, by turns. */
  at(index: number): Api;
  stop(): Promise<void>;
}

/** Two services on one database, as two processes would be. */
export async function startPair(options: TestServiceOptions = {}): Promise<Pair> {
  const databaseName = `test-${randomUUID()}`;
  const one = await startService({ ...options, databaseName });
  const other = await startService({ ...options, databaseName });
  return {
    one,
    other,
    at: (index) => (index % 2 === 0 ? one : other),
    async stop() {
      await one.stop();
      await other.stop();
    },
  };
}

/** Does something this many times at once. */
export function atOnce<T>(times: number, act: (index: number) => Promise<T>): Promise<T[]> {
  return Promise.all(Array.from({ length: times }, (_, index) => act(index)));
}

/** Does something for each of 0, 1, 2, …, a few at a time. */
export async function forEach(times: number, width: number, act: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  await atOnce(width, async () => {
    while (next < times) await act(next++);
  });
}

/** Lets a moment pass that is different each time, so that a race is met at each of its points. */
export function moment(maxMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.random() * maxMs));
}

/** The answer of a call, or the reason why it failed, one of those that may come. */
export async function outcome<R>(call: Promise<R>, ...mayFail: string[]): Promise<{ answer?: R; reason?: string }> {
  try {
    return { answer: await call };
  } catch (error) {
    const { code, reason } = await failure(call);
    if (!mayFail.includes(reason)) throw new Error(`failed with ${code} ${reason}`, { cause: error });
    return { reason };
  }
}

export async function liveSession(api: Api, sessionId: string) {
  return (await outcome(api.sessions.getSession({ sessionId }), "SESSION_NOT_FOUND")).answer?.session;
}

export async function sessionWithDeleted(api: Api, sessionId: string) {
  return (await outcome(api.sessions.getSession({ sessionId, showDeleted: true }), "SESSION_NOT_FOUND")).answer
    ?.session;
}

export async function messagesOf(api: Api, sessionId: string): Promise<Message[]> {
  return (await api.memory.listMessages({ sessionId })).flatMap(({ messages }) => messages);
}

export async function liveSessionsOf(api: Api, userId: string): Promise<string[]> {
  return (await api.sessions.listSessions({ userId })).flatMap(({ sessions }) => sessions.map((s) => s.sessionId));
}

/** Messages m0, m1, … to add. */
export function numbered(count: number, prefix = "m") {
  return Array.from({ length: count }, (_, index) => ({
    messageId: `${prefix}${index}`,
    content: `${prefix}${index}`,
  }));
}
