import { type ErrorCode, type SessionsClient, SessionsClientError } from "../client/index.js";
import { inBatches } from "./import-batches.js";
import type { Line } from "./import-lines.js";
import { type ImportedSession, LineError, parseSession } from "./import-record.js";
import { createUsers } from "./import-users.js";

export interface ImportOptions {
  readonly client: SessionsClient;
  /** How many lines are under way at once. */
  readonly concurrency: number;
  readonly signal: AbortSignal;
  /** A session is wholly there. */
  onSession(messages: number): void;
  /** A line failed; the rest goes on. */
  onFailure(line: number, error: unknown): void;
}

/** Codes that every further line would end with too. */
const HOPELESS: readonly (ErrorCode | undefined)[] = [
  "UNAVAILABLE",
  "UNAUTHENTICATED",
  "PERMISSION_DENIED",
  "CANCELLED",
];

/** Above what one call needs, so that a restart of the service is waited for. */
const CALL_DEADLINE_MS = 60_000;

/** Imports all lines. Rejects when there is no use in going on, or when the lines cannot be read. */
export async function importLines(lines: AsyncIterable<Line>, options: ImportOptions): Promise<void> {
  const addSession = createAdder(options);
  const running = new Set<Promise<void>>();
  let stop: { error: unknown } | undefined;
  try {
    for await (const line of lines) {
      if (running.size >= options.concurrency) await Promise.race(running);
      if (stop || options.signal.aborted) break;
      const task = importLine(line, addSession, options)
        .catch((error: unknown) => {
          stop ??= { error };
        })
        .finally(() => running.delete(task));
      running.add(task);
    }
  } finally {
    // Also when the file breaks off: what was read of it is imported.
    await Promise.all(running);
  }
  if (stop) throw stop.error;
}

async function importLine(
  { number, bytes }: Line,
  addSession: (session: ImportedSession) => Promise<void>,
  options: ImportOptions,
): Promise<void> {
  try {
    if (bytes === undefined) throw new LineError("the line is too long");
    if (isBlank(bytes)) return;
    const session = parseSession(bytes);
    await addSession(session);
    options.onSession(session.messages.length);
  } catch (error) {
    if (error instanceof SessionsClientError && HOPELESS.includes(error.code)) throw error;
    options.onFailure(number, error);
  }
}

/** Adds sessions; those of one id one after the other, in the order of the file. */
function createAdder({ client, signal }: ImportOptions): (session: ImportedSession) => Promise<void> {
  const ensureUser = createUsers(client, signal);
  const latest = new Map<string, Promise<void>>();

  const add = async ({ sessionId, userId, metadata, expiry, messages }: ImportedSession): Promise<void> => {
    if (userId !== undefined) await ensureUser(userId);
    for (const batch of inBatches(messages)) {
      await client.addMemory(
        { sessionId, userId, sessionMetadata: metadata, ...expiry, messages: batch },
        { signal, deadlineMs: CALL_DEADLINE_MS },
      );
    }
  };

  return async (session) => {
    const before = latest.get(session.sessionId) ?? Promise.resolve();
    const adding = before.catch(() => {}).then(() => add(session));
    latest.set(session.sessionId, adding);
    try {
      await adding;
    } finally {
      if (latest.get(session.sessionId) === adding) latest.delete(session.sessionId);
    }
  };
}

const isBlank = (bytes: Buffer): boolean => bytes.every((byte) => byte === 0x20 || byte === 0x0d || byte === 0x09);
