import { randomUUID } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { SearchResult } from "../../gen/sessions/v1/memory_service.js";
import type { Message } from "../../gen/sessions/v1/resources.js";
import { atOnce, type Pair, startPair } from "./support.js";

/** Where a writer's session is: with the user whom all writers share, or with the one that is the writer's own. */
type Home = "shared" | "own";

/** What a search can find of a writer. */
interface State {
  /** undefined: the session is gone, or its user is. */
  readonly home: Home | undefined;
  /** In order; of what is gone, what a restoration brings back. */
  readonly messages: readonly Saying[];
}

interface Saying {
  readonly id: string;
  readonly isMarked: boolean;
}

const MARKED = { mark: true };

/**
 * Does one change after the other to a session of its own. So each answer of a search must show a state that the session was in between
 * the begin and the end of the search.
 */
interface Writer {
  readonly index: number;
  /** Before all of its changes, after the first, … as far as they have begun. */
  readonly states: State[];
  /** How many have been acknowledged. */
  acknowledged: number;
}

const CHANGES = 60;
const WRITERS = 4;
const READERS = 4;
/** Other sessions, which are searched meanwhile so that there is no room for all indexes. */
const OTHERS = 20;
const OTHERS_MESSAGES = 30;
/** Of one writer, so that all of all writers have room in an answer. */
const MOST_MESSAGES = 20;

describe.each([
  { cache: "that has room for all", searchCacheBytes: 64 * 1024 * 1024 },
  { cache: "that has no room for all", searchCacheBytes: 150 * 1024 },
])("with a cache of indexes $cache", ({ searchCacheBytes }) => {
  let pair: Pair;
  beforeAll(async () => {
    pair = await startPair({ searchCacheBytes });
  });
  afterAll(() => pair.stop());

  test("searches beside every kind of change find just what was there at one moment of theirs", async () => {
    const name = randomUUID();
    const shared = `${name}-shared`;
    const ownUser = ({ index }: Writer) => `${name}-${index}`;
    const sessionOf = ({ index }: Writer) => `${name}-${index}`;
    const writers = Array.from(
      { length: WRITERS },
      (_, index): Writer => ({ index, states: [{ home: "shared", messages: [] }], acknowledged: 0 }),
    );
    await pair.one.users.createUser({ userId: shared });
    for (const writer of writers) {
      await pair.one.users.createUser({ userId: ownUser(writer) });
      await pair.one.sessions.createSession({ sessionId: sessionOf(writer), userId: shared });
    }
    const others = Array.from({ length: OTHERS }, (_, index) => `${name}-other-${index}`);
    const messages = Array.from({ length: OTHERS_MESSAGES }, (_, n) => ({ content: `boat number ${n}` }));
    await Promise.all(others.map((sessionId) => pair.one.memory.addMemory({ sessionId, messages })));
    let isOver = false;
    let searches = 0;
    const done = new Map<string, number>();

    const write = async (writer: Writer): Promise<void> => {
      const { index, states } = writer;
      const sessionId = sessionOf(writer);
      const userId = ownUser(writer);
      const stateNow = () => states.at(-1) as State;
      const change = async (what: string, state: State, call: Promise<unknown>): Promise<void> => {
        states.push(state);
        await call;
        done.set(what, (done.get(what) ?? 0) + 1);
        writer.acknowledged += 1;
      };
      for (let turn = 0; turn < CHANGES; turn++) {
        const { memory, sessions, users } = pair.at(index + Math.floor(Math.random() * 2));
        const { home, messages } = stateNow();
        const picked = messages[Math.floor(Math.random() * messages.length)];
        const without = messages.filter((one) => one !== picked);
        const dice = Math.random();
        if (messages.length === 0 || (dice < 0.35 && messages.length < MOST_MESSAGES - 3)) {
          const added = Array.from({ length: 1 + (turn % 3) }, (_, n) => {
            return { id: `${index}.${turn}.${n}`, isMarked: false };
          });
          const request = { sessionId, messages: added.map(({ id }) => ({ messageId: id, content: `a boat, ${id}` })) };
          await change("add", { home, messages: [...messages, ...added] }, memory.addMemory(request));
        } else if (dice < 0.5 && picked) {
          const changed = { id: picked.id, isMarked: !picked.isMarked };
          const state = { home, messages: messages.map((one) => (one === picked ? changed : one)) };
          const request = { sessionId, messageId: picked.id, metadata: { mark: changed.isMarked } };
          await change("update", state, memory.updateMessage(request));
        } else if (dice < 0.62 && picked) {
          const request = { sessionId, messageId: picked.id };
          await change("delete", { home, messages: without }, memory.deleteMessage(request));
        } else if (dice < 0.67) {
          await change("clear", { home, messages: [] }, memory.clearMemory({ sessionId }));
        } else if (dice < 0.77) {
          const to = home === "shared" ? "own" : "shared";
          const request = { sessionId, userId: to === "shared" ? shared : userId };
          await change("move", { home: to, messages }, sessions.updateSession(request));
        } else if (dice < 0.9 || home !== "own") {
          await change("delete session", { home: undefined, messages }, sessions.deleteSession({ sessionId }));
          if (dice < 0.83) {
            const request = { sessionId, restoreMemory: true };
            await change("restore", { home, messages }, sessions.undeleteSession(request));
          } else if (dice < 0.87) {
            await change("undelete", { home, messages: [] }, sessions.undeleteSession({ sessionId }));
          } else {
            await change("purge", { home: undefined, messages: [] }, sessions.purgeSession({ sessionId }));
            const request = { sessionId, userId: home === "shared" ? shared : userId };
            await change("create", { home, messages: [] }, sessions.createSession(request));
          }
        } else {
          await change("delete user", { home: undefined, messages }, users.deleteUser({ userId }));
          const request = { userId, restoreSessions: true };
          await change("undelete user", { home, messages }, users.undeleteUser(request));
        }
      }
    };

    const read = async (reader: number): Promise<void> => {
      // What it has seen of each writer before: a later search finds nothing older.
      const seen = writers.map(() => 0);
      for (let turn = reader; !isOver; turn++) {
        const writer = writers[turn % WRITERS] as Writer;
        const scope = [
          { userId: shared },
          { userId: ownUser(writer) },
          { sessionId: sessionOf(writer) },
          { userId: shared },
        ][Math.floor(turn / 2) % 4] as { userId?: string; sessionId?: string };
        const earliest = writers.map(({ acknowledged }, index) => Math.max(acknowledged, seen[index] as number));
        const metadata = turn % 3 === 0 ? MARKED : {};
        const request = { ...scope, text: "boats", metadata, limit: 100, neighbors: 1 };
        const { results } = await pair.at(turn + reader).memory.searchMemory(request);
        for (const { index, states } of writers) {
          const own = results.filter(({ message }) => message?.sessionId === `${name}-${index}`);
          const isIn = ({ home }: State): boolean =>
            scope.sessionId === undefined
              ? home !== undefined && scope.userId === (home === "shared" ? shared : `${name}-${index}`)
              : home !== undefined && scope.sessionId === `${name}-${index}`;
          const first = earliest[index] as number;
          const found = states.findIndex(
            (state, number) => number >= first && shows(own, isIn(state) ? state.messages : [], metadata === MARKED),
          );
          if (found < 0) {
            throw new Error(
              `in ${JSON.stringify(request)} was found of writer ${index}: ${print(own.map(({ message }) => sayingOf(message as Message)))}, ` +
                `which is none of the states from ${first} on: ${states.slice(first).map(printState).join(" or ")}`,
            );
          }
          seen[index] = found;
        }
        const other = { sessionId: others[turn % OTHERS], text: "boat", limit: 100 };
        expect((await pair.at(turn).memory.searchMemory(other)).results).toHaveLength(OTHERS_MESSAGES);
        searches += 1;
      }
    };

    const reading = atOnce(READERS, read);
    try {
      await Promise.race([Promise.all(writers.map(write)), reading]);
    } finally {
      isOver = true;
    }
    await reading;
    expect(searches).toBeGreaterThan(READERS);
    expect([...done.keys()]).toEqual(expect.arrayContaining(["add", "update", "delete", "move", "delete session"]));
  });
});

/** Whether these results are all messages of a state, or all that are marked, and no others, each with those next to it. */
function shows(results: readonly SearchResult[], messages: readonly Saying[], isMarked: boolean): boolean {
  if (results.length !== messages.filter((message) => message.isMarked || !isMarked).length) return false;
  const places = new Map(messages.map(({ id }, place) => [id, place]));
  return results.every(({ message, before, after }) => {
    const place = places.get(message?.messageId ?? "");
    if (place === undefined || (isMarked && !messages[place]?.isMarked)) return false;
    const seen = [before, message ?? [], after].map((some) => [some].flat().map(sayingOf));
    const expected = [
      messages.slice(Math.max(0, place - 1), place),
      messages.slice(place, place + 1),
      messages.slice(place + 1, place + 2),
    ];
    return isDeepStrictEqual(seen, expected);
  });
}

const sayingOf = ({ messageId: id, metadata }: Message): Saying => ({ id, isMarked: metadata?.mark === true });

const printState = ({ home, messages }: State): string => `${home} ${print(messages)}`;
const print = (messages: readonly Saying[]): string =>
  `[${messages.map(({ id, isMarked }) => (isMarked ? `${id} marked` : id)).join("; ")}]`;
