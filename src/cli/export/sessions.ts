import type { Session, SessionsClient } from "../../client/index.js";
import { SessionsClientError } from "../../client/index.js";
import type { ExportScope, ExportState, ExportTarget } from "./file.js";
import { deletedSessionLine, sessionLine, sessionLines, userLine } from "./lines.js";
import { createSessionReader, type Whole } from "./session.js";
import { openSpool, type Spool } from "./spool.js";

export interface ExportOptions {
  readonly client: SessionsClient;
  readonly scope: ExportScope;
  readonly target: ExportTarget;
  readonly signal: AbortSignal;
  /** A session is wholly in the target. */
  onSession(messages: number): void;
}

const USERS_A_PAGE = 1000;
const SESSIONS_A_PAGE = 100;

/** How many sessions are read ahead of the one that is written. */
const READ_AHEAD = 8;

/** How long what was written waits to be safe, at most. */
const CHECKPOINT_MS = 2_000;

/** Exports all that there is, from where the target is on. The answer is how far it came: all the way, but for sessions that never rest. */
export async function exportAll(options: ExportOptions): Promise<ExportState> {
  const spool = await openSpool();
  try {
    return await createExport(options, spool).run();
  } finally {
    await spool.close();
  }
}

function createExport({ client, scope, target, signal, onSession }: ExportOptions, spool: Spool) {
  const reader = createSessionReader(client, signal);
  let state = target.from;
  let safeSince = performance.now();

  const checkpoint = async (): Promise<void> => {
    await target.checkpoint(state);
    safeSince = performance.now();
  };

  async function exportUsers(): Promise<void> {
    if (scope.user !== undefined) {
      const user = await liveUser(client, scope.user, signal);
      // The sessions of a deleted user may be there all the same, deleted.
      if (user === undefined && !scope.deleted) await client.getUser({ userId: scope.user }, { signal });
      if (user) await target.write(userLine(user));
      state = { ...state, users: user ? 1 : 0 };
    } else {
      do {
        const listing = client.listUsers({ cursor: state.cursor, limit: USERS_A_PAGE, chunkSize: 1000 }, { signal });
        const { items, nextCursor } = await listing.page();
        for (const user of items) await target.write(userLine(user));
        state = { ...state, cursor: nextCursor, users: state.users + items.length };
        if (nextCursor !== "") await checkpoint();
      } while (state.cursor !== "");
    }
    state = { ...state, phase: "sessions", cursor: "" };
    await checkpoint();
  }

  async function exportSessions(): Promise<void> {
    do {
      const request = { userId: scope.user, showDeleted: scope.deleted, cursor: state.cursor, limit: SESSIONS_A_PAGE };
      const { items, nextCursor } = await client.listSessions(request, { signal }).page();
      const done = new Set(state.done);
      const left = items.filter(({ sessionId }) => !done.has(sessionId));
      for await (const [session, found] of readAhead(left, READ_AHEAD, (session) => read(session))) {
        await writeSession(session.sessionId, found);
        state = { ...state, done: [...state.done, session.sessionId] };
        if (performance.now() - safeSince > CHECKPOINT_MS) await checkpoint();
      }
      state = { ...state, cursor: nextCursor, done: [], ...(nextCursor === "" && { phase: "unsettled" }) };
      await checkpoint();
    } while (state.phase === "sessions");
  }

  /** Once more those that changed each time. They may be quiet by now. */
  async function exportUnsettled(): Promise<void> {
    for (const sessionId of state.unsettled) {
      state = { ...state, unsettled: state.unsettled.filter((id) => id !== sessionId) };
      await writeSession(sessionId, "large");
    }
    await checkpoint();
  }

  type Found = Whole | Session | "large" | undefined;

  async function read(session: Session): Promise<Found> {
    if (session.deleteTime) return session;
    return (await reader.read(session.sessionId)) ?? deletedSince(session.sessionId);
  }

  /** A session that was deleted since it was listed is left out, or comes as a deleted one. */
  async function deletedSince(sessionId: string): Promise<Session | undefined> {
    if (!scope.deleted) return undefined;
    const showDeleted = client.getSession({ sessionId, showDeleted: true }, { signal });
    const session = await showDeleted.catch(nothingIf("SESSION_NOT_FOUND"));
    return session?.deleteTime ? session : undefined;
  }

  async function writeSession(sessionId: string, found: Found): Promise<void> {
    if (found === undefined) return;
    if (found === "large") return writeLarge(sessionId);
    if ("messages" in found) {
      await target.write(sessionLine(found.session, found.summary, found.messages));
      return count(found.messages.length);
    }
    await target.write(deletedSessionLine(found));
    state = { ...state, deletedSessions: state.deletedSessions + 1 };
  }

  async function writeLarge(sessionId: string): Promise<void> {
    const found = await reader.readLarge(sessionId, spool);
    if (found === "unsettled") {
      state = { ...state, unsettled: [...state.unsettled, sessionId] };
      return;
    }
    if (found === undefined) return writeSession(sessionId, await deletedSince(sessionId));
    const { session, summary } = found;
    for await (const line of sessionLines(session, summary, spool.lines())) {
      signal.throwIfAborted();
      await target.write(line);
    }
    count(session.messageCount);
  }

  function count(messages: number): void {
    state = { ...state, sessions: state.sessions + 1, messages: state.messages + messages };
    onSession(messages);
  }

  return {
    async run(): Promise<ExportState> {
      if (state.phase === "users") await exportUsers();
      if (state.phase === "sessions") await exportSessions();
      await exportUnsettled();
      return state;
    },
  };
}

async function liveUser(client: SessionsClient, userId: string, signal: AbortSignal) {
  return client.getUser({ userId }, { signal }).catch(nothingIf("USER_NOT_FOUND"));
}

const nothingIf = (reason: string) => (error: unknown) => {
  if (error instanceof SessionsClientError && error.reason === reason) return undefined;
  throw error;
};

/** What is read of items, in their order, some of them at once. */
async function* readAhead<T, R>(
  items: readonly T[],
  width: number,
  read: (item: T) => Promise<R>,
): AsyncGenerator<readonly [T, R], void> {
  const underWay: Promise<R>[] = [];
  let begun = 0;
  try {
    for (const item of items) {
      for (; begun < items.length && underWay.length < width; begun++) {
        const reading = read(items[begun] as T);
        // It may fail before its turn.
        reading.catch(() => {});
        underWay.push(reading);
      }
      yield [item, (await underWay.shift()) as R];
    }
  } finally {
    await Promise.allSettled(underWay);
  }
}
