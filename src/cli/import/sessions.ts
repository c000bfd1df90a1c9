import {
  type ErrorCode,
  type SessionsClient,
  SessionsClientError,
  type SetSummaryRequest,
} from "../../client/index.js";
import { inBatches } from "./batches.js";
import type { Line } from "./lines.js";
import { type ImportedSession, LineError, parseLine } from "./record.js";
import { createUsers } from "./users.js";

export interface ImportOptions {
  readonly client: SessionsClient;
  /** How many lines are under way at once. */
  readonly concurrency: number;
  readonly signal: AbortSignal;
  onUser(): void;
  /** A session is wholly there, or a part of it, of which the first one counts. */
  onSession(messages: number, isContinued: boolean): void;
  /** A line was left out, for it is about what is deleted. */
  onDeleted(): void;
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
  const ensureUser = createUsers(options.client, options.signal);
  const adders = { ensureUser, addSession: createAdder(options, ensureUser) };
  const running = new Set<Promise<void>>();
  let stop: { error: unknown } | undefined;
  try {
    for await (const line of lines) {
      if (running.size >= options.concurrency) await Promise.race(running);
      if (stop || options.signal.aborted) break;
      const task = importLine(line, adders, options)
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

interface Adders {
  readonly ensureUser: ReturnType<typeof createUsers>;
  readonly addSession: (session: ImportedSession) => Promise<void>;
}

async function importLine(
  { number, bytes }: Line,
  { ensureUser, addSession }: Adders,
  options: ImportOptions,
): Promise<void> {
  try {
    if (bytes === undefined) throw new LineError("the line is too long");
    if (isBlank(bytes)) return;
    const imported = parseLine(bytes);
    if (imported === "deleted") return options.onDeleted();
    if ("user" in imported) {
      await ensureUser(imported.user);
      return options.onUser();
    }
    await addSession(imported);
    options.onSession(imported.messages.length, imported.isContinued);
  } catch (error) {
    if (error instanceof SessionsClientError && HOPELESS.includes(error.code)) throw error;
    options.onFailure(number, error);
  }
}

/** Adds sessions; those of one id one after the other, in the order of the file. */
function createAdder({ client, signal }: ImportOptions, ensureUser: Adders["ensureUser"]): Adders["addSession"] {
  const latest = new Map<string, Promise<void>>();
  const broken = new Set<string>();

  const add = async (session: ImportedSession): Promise<void> => {
    const { sessionId, userId, metadata, expiry, messages, summary, isContinued } = session;
    if (isContinued && broken.has(sessionId)) {
      throw new LineError("an earlier line of its session failed: what comes behind that would be in the wrong place");
    }
    if (userId !== undefined) await ensureUser({ userId });
    for (const batch of inBatches(messages)) {
      await client.addMemory(
        { sessionId, userId, sessionMetadata: metadata, ...expiry, messages: batch },
        { signal, deadlineMs: CALL_DEADLINE_MS },
      );
    }
    if (summary) await setSummary({ sessionId, ...summary });
  };

  /** A summary that is there already stays, as messages do: it may say more by now. */
  const setSummary = async (summary: SetSummaryRequest): Promise<void> => {
    const { summary: known } = await client.getMemory({ sessionId: summary.sessionId, lastN: 1 }, { signal });
    if (known) return;
    await client.setSummary(summary, { signal }).catch((error: unknown) => {
      if (!(error instanceof SessionsClientError) || error.reason !== "MESSAGE_NOT_FOUND") throw error;
      throw new LineError(
        "imported without its summary: the message that it goes up to is not there, it may be deleted",
      );
    });
  };

  return async (session) => {
    const before = latest.get(session.sessionId) ?? Promise.resolve();
    const adding = before.catch(() => {}).then(() => add(session));
    latest.set(session.sessionId, adding);
    try {
      await adding;
    } catch (error) {
      broken.add(session.sessionId);
      throw error;
    } finally {
      if (latest.get(session.sessionId) === adding) latest.delete(session.sessionId);
    }
  };
}

const isBlank = (bytes: Buffer): boolean => bytes.every((byte) => byte === 0x20 || byte === 0x0d || byte === 0x09);
