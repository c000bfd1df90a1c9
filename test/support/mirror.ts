import { setTimeout as sleep } from "node:timers/promises";
import type { Message, Session } from "../../gen/sessions/v1/resources.js";
import {
  EventType,
  type WatchSessionsRequest,
  type WatchSessionsResponse,
} from "../../gen/sessions/v1/session_service.js";
import type { Api, Loose } from "./api.js";
import { eventually } from "./eventually.js";
import { beginToWatch, type Watch } from "./watching.js";

/**
 * Follows what a watcher is told, and nothing else, in a copy of its own; it resumes from the last token whenever its stream ends. What it
 * has in the end must be what is stored.
 */
export interface Mirror {
  readonly sessions: ReadonlyMap<string, Mirrored>;
  /** The ids of all messages that it was ever told had been added, by session. */
  readonly told: ReadonlyMap<string, ReadonlySet<string>>;
  /** How often it was resumed. */
  readonly resumes: number;
  /** Waits until it has been told of all that was committed before. */
  settle(api: Api): Promise<void>;
  /** How it differs from what is stored, in sessions whose ids begin with this. */
  differences(api: Api, prefix: string): Promise<string[]>;
  stop(): Promise<void>;
}

interface Mirrored {
  session: Session | undefined;
  /** By sequence. */
  readonly messages: Map<number, Message>;
}

const WITHIN_MS = 120_000;

export async function startMirror(
  anyService: () => Promise<Api>,
  request: Loose<WatchSessionsRequest> = {},
): Promise<Mirror> {
  const sessions = new Map<string, Mirrored>();
  const told = new Map<string, Set<string>>();
  let token = "";
  let resumes = 0;
  let isOver = false;
  let watching: Watch | undefined;
  let failure: unknown;

  const of = (id: string): Mirrored => {
    const found = sessions.get(id) ?? { session: undefined, messages: new Map() };
    sessions.set(id, found);
    return found;
  };

  const follow = async (event: WatchSessionsResponse): Promise<void> => {
    const { eventType, sessionId, session, messages, messageIds } = event;
    if (eventType === EventType.EVENT_TYPE_WATCHING) return;
    const mirrored = of(sessionId);
    if (ENDS_MEMORY.has(eventType)) mirrored.messages.clear();
    mirrored.session = eventType === EventType.EVENT_TYPE_SESSION_PURGED ? undefined : session;
    for (const message of messages) mirrored.messages.set(message.sequence, message);
    if (eventType === EventType.EVENT_TYPE_MESSAGES_ADDED) {
      const ids = told.get(sessionId) ?? new Set();
      told.set(sessionId, ids);
      for (const id of messageIds) ids.add(id);
    }
    if (eventType === EventType.EVENT_TYPE_MESSAGE_DELETED) {
      for (const [sequence, { messageId }] of mirrored.messages) {
        if (messageIds.includes(messageId)) mirrored.messages.delete(sequence);
      }
    }
    const bringsMemory = eventType === EventType.EVENT_TYPE_SESSION_UNDELETED;
    if (bringsMemory && session && session.messageCount > 0) await read(sessionId, mirrored);
  };

  /** What no event tells of: the memory that comes with a session which is undeleted. */
  const read = async (sessionId: string, { messages }: Mirrored): Promise<void> => {
    for (;;) {
      try {
        const chunks = await (await anyService()).memory.listMessages({ sessionId });
        for (const message of chunks.flatMap((chunk) => chunk.messages)) messages.set(message.sequence, message);
        return;
      } catch {
        await sleep(50);
      }
    }
  };

  const run = async (): Promise<void> => {
    while (!isOver) {
      watching = beginToWatch(await anyService(), { ...request, resumeToken: token });
      let done = 0;
      while (!isOver) {
        while (done < watching.responses.length) {
          const event = watching.responses[done] as WatchSessionsResponse;
          done += 1;
          await follow(event);
          token = event.resumeToken;
        }
        const ended = watching.failure();
        if (ended && done === watching.responses.length) {
          if (!RESUMABLE.has(ended.code)) throw new Error(`the watcher has ended: ${ended.code} ${ended.reason}`);
          break;
        }
        await sleep(5);
      }
      await watching.stop();
      resumes += 1;
      if (!isOver) await sleep(50);
    }
  };
  const running = run().catch((error: unknown) => {
    failure = error;
  });
  const alive = <T>(found: T): T => {
    if (failure) throw failure;
    return found;
  };
  await eventually("the mirror watches", () => alive(token !== ""), WITHIN_MS);

  let marks = 0;
  return {
    sessions,
    told,
    get resumes() {
      return resumes;
    },
    async settle(api) {
      const sessionId = request.sessionId ?? `mark-${marks++}-${token.length}`;
      await api.memory.addMemory({ sessionId, messages: [{ messageId: `mark-${Date.now()}`, content: "" }] });
      const last = (await api.memory.getMemory({ sessionId, lastN: 1 })).messages.at(-1)?.messageId ?? "";
      await eventually("the mirror has been told of the last", () => alive(told.get(sessionId)?.has(last)), WITHIN_MS);
    },
    async differences(api, prefix) {
      const found: string[] = [];
      const listed = (await api.sessions.listSessions({})).flatMap((chunk) => chunk.sessions);
      const stored = new Map(
        listed.filter(({ sessionId }) => sessionId.startsWith(prefix)).map((session) => [session.sessionId, session]),
      );
      for (const id of new Set([...sessions.keys(), ...stored.keys()])) {
        if (!id.startsWith(prefix)) continue;
        const mirrored = of(id);
        const live = mirrored.session?.deleteTime === undefined ? mirrored.session : undefined;
        if (JSON.stringify(live) !== JSON.stringify(stored.get(id))) {
          found.push(`${id}: ${JSON.stringify(live)} is ${JSON.stringify(stored.get(id))}`);
        }
        const messages = (await api.memory.listMessages({ sessionId: id })).flatMap((chunk) => chunk.messages);
        const copied = [...mirrored.messages.values()].sort((a, b) => a.sequence - b.sequence);
        if (JSON.stringify(copied) !== JSON.stringify(messages)) {
          const show = (all: readonly Message[]) =>
            all.map(({ messageId, sequence }) => `${sequence}:${messageId}`).join(" ");
          found.push(`${id}: messages ${show(copied)} are ${show(messages)}`);
        }
      }
      return found;
    },
    async stop() {
      isOver = true;
      await running;
      await watching?.stop();
    },
  };
}

const ENDS_MEMORY: ReadonlySet<EventType> = new Set([
  EventType.EVENT_TYPE_SESSION_CREATED,
  EventType.EVENT_TYPE_SESSION_DELETED,
  EventType.EVENT_TYPE_SESSION_PURGED,
  EventType.EVENT_TYPE_SESSION_UNDELETED,
  EventType.EVENT_TYPE_MEMORY_CLEARED,
]);

const RESUMABLE = new Set(["UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED", "INTERNAL", "UNKNOWN"]);
