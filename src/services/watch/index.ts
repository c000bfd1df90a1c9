import { setTimeout as pause } from "node:timers/promises";
import type * as api from "../../../gen/sessions/v1/session_service.js";
import type { Call } from "../../domain/call.js";
import { decodeCursor, encodeCursor } from "../../domain/cursor.js";
import { Encoded } from "../../domain/encoded.js";
import { invalidResumeToken, SessionsError } from "../../domain/errors.js";
import { keyOf } from "../../domain/keys.js";
import { CHUNK_BYTES, MAX_CONTENT_BYTES, MAX_METADATA_BYTES, MAX_PAYLOAD_BYTES } from "../../domain/limits.js";
import { isStoredPosition, loadedPosition, type Position, storedPosition } from "../../domain/watching/position.js";
import { createChecks } from "../checks.js";
import { ownerFor } from "../reach.js";
import { type Answer, type Answers, watching, withToken } from "./answers.js";
import type { Hub } from "./hub.js";
import { createRoom } from "./room.js";
import type { Entry, Watcher, WatchFilter } from "./watcher.js";

export interface WatchDeps {
  readonly hub: Hub;
  readonly answers: Answers;
}

export type WatchService = ReturnType<typeof createWatchService>;

/** After how long of nothing a watcher is told so. */
const QUIET_MS = 20_000;

/** For how long it is tried again to read what is to be told, and how often. */
const AWAY_MS = 30_000;
const RETRY_MS = 500;

/** Of how many events that come next the contents are read together. */
const READ_AHEAD = 64;

/** What may be on its way to all who watch, and how long to one of them when others wait for the room. */
const ROOM = { maxBytes: 64 * 1024 * 1024, atMostMs: 5_000 };

/** What one answer has at most: a chunk, or a single message that is larger. */
const ANSWER_BYTES = MAX_CONTENT_BYTES + MAX_PAYLOAD_BYTES + MAX_METADATA_BYTES + CHUNK_BYTES;

export function createWatchService({ hub, answers }: WatchDeps) {
  const room = createRoom(ROOM);

  /** The next event; undefined when there is none for long. */
  const nextOf = async (watcher: Watcher): Promise<Entry | undefined> => {
    let isLong = false;
    const quiet = setTimeout(() => {
      isLong = true;
      watcher.nudge();
    }, QUIET_MS);
    try {
      for (;;) {
        const entry = watcher.take();
        if (entry || isLong) return entry;
        if (watcher.isBehind) hub.catchUp(watcher);
        await watcher.wait();
      }
    } finally {
      clearTimeout(quiet);
    }
  };

  /** Who is told of an event waits for a database that is away as those do who wait for events. */
  const answerTo = async (entries: readonly Entry[], signal: AbortSignal): Promise<Answer> => {
    const began = performance.now();
    for (;;) {
      signal.throwIfAborted();
      try {
        return await answers.next(entries);
      } catch (error) {
        const isPassing = error instanceof SessionsError && error.code === "UNAVAILABLE";
        if (!isPassing || performance.now() - began > AWAY_MS) throw error;
        await pause(RETRY_MS);
      }
    }
  };

  return {
    async *watchSessions(
      { sessionId, userId, resumeToken }: api.WatchSessionsRequest,
      call: Call,
    ): AsyncGenerator<Encoded<api.WatchSessionsResponse>, void> {
      const checks = createChecks();
      checks.optionalId("session_id", sessionId);
      checks.optionalId("user_id", userId);
      if (sessionId !== undefined && userId !== undefined) {
        checks.fail("session_id", "Not together with user_id.");
        checks.fail("user_id", "Not together with session_id.");
      }
      checks.done();

      const owner = ownerFor(call, userId);
      const filter: WatchFilter = {
        project: call.project,
        session: sessionId === undefined ? undefined : keyOf(call.project, sessionId),
        user: owner === undefined ? undefined : keyOf(call.project, owner),
      };
      const identity = ["watch", filter, call.user];
      const stored = decodeCursor(identity, resumeToken, isStoredPosition, invalidResumeToken);
      const tokenOf = (position: Position): string => encodeCursor(identity, storedPosition(position));

      const watcher = await hub.join(filter, stored && loadedPosition(stored));
      const end = (): void => watcher.end(call.signal.reason);
      watcher.onEnd = (error) => {
        if (error instanceof SessionsError) call.end?.(error);
      };
      call.signal.addEventListener("abort", end, { once: true });
      try {
        if (call.signal.aborted) return;
        yield new Encoded(watching(tokenOf(watcher.position)));
        for (;;) {
          const entry = await nextOf(watcher);
          if (!entry) {
            yield new Encoded(watching(tokenOf(hub.positionOf(watcher))));
            continue;
          }
          const { told } = entry;
          for (let { parts } = entry; parts < told.parts; ) {
            await room.take(call, Math.min(told.bytes, ANSWER_BYTES));
            const answer = await answerTo([{ ...entry, parts }, ...watcher.peek(READ_AHEAD)], call.signal);
            parts = answer.parts;
            const isTheirs =
              filter.user === undefined || (told.owner === filter.user && answer.ownerNow === filter.user);
            const token = tokenOf({ time: told.time, within: { ...told.place, parts } });
            yield new Encoded(withToken(isTheirs ? answer.bytes : answer.bare, token));
            room.give(call);
          }
        }
      } finally {
        call.signal.removeEventListener("abort", end);
        room.give(call);
        hub.leave(watcher);
      }
    },
  };
}
