import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Message } from "../../gen/sessions/v1/resources.js";
import { atOnce, type Pair, startPair } from "./support.js";

/** The messages of one writer, in order, with the token count that each has. */
type State = readonly { readonly id: string; readonly tokenCount: number }[];

/**
 * Does one change after the other to messages of its own, in a session that it shares with others. So each answer of a reader must
 * show a state that these messages were in between the begin and the end of the read.
 */
interface Writer {
  /** After none of its changes, after the first, … as far as they have begun. */
  readonly states: State[];
  /** How many have been acknowledged. */
  acknowledged: number;
}

const CHANGES = 25;
const WRITERS = 4;
const READERS = 6;

/** More than there ever is, about as much as is kept, and less. */
const LAST_NS = [1000, 50, 7];

describe.each([
  { cache: "of the usual size", cacheBytes: 64 * 1024 * 1024 },
  { cache: "that has no room for all of a memory", cacheBytes: 64 * 1024 },
  { cache: "that is off", cacheBytes: 0 },
])("with a cache $cache", ({ cacheBytes }) => {
  let pair: Pair;
  beforeAll(async () => {
    pair = await startPair({ cacheBytes });
  });
  afterAll(() => pair.stop());

  test("readers of a memory that others add to, change and delete from see a state that it had while they read", async () => {
    const sessionId = randomUUID();
    const writers = Array.from({ length: WRITERS }, (): Writer => ({ states: [[]], acknowledged: 0 }));
    await pair.one.sessions.createSession({ sessionId });
    let isOver = false;
    let reads = 0;

    const read = async (reader: number): Promise<void> => {
      // What it has seen of each writer before: a later read sees no less.
      const seen = writers.map(() => 0);
      for (let turn = reader; !isOver; turn++) {
        const lastN = LAST_NS[turn % LAST_NS.length] as number;
        const earliest = writers.map(({ acknowledged }, index) => Math.max(acknowledged, seen[index] as number));
        const { messages, session } = await pair.at(turn).memory.getMemory({ sessionId, lastN });
        expect(messages.length).toBe(Math.min(lastN, session?.messageCount ?? 0));
        const sequences = messages.map(({ sequence }) => sequence);
        expect(sequences).toEqual([...new Set(sequences)].sort((a, b) => a - b));
        writers.forEach(({ states }, index) => {
          const own = messages.filter(({ messageId }) => messageId.startsWith(`${index}.`));
          const isWhole = messages.length < lastN;
          const first = earliest[index] as number;
          const found = states.findIndex((state, number) => number >= first && shows(own, state, isWhole));
          if (found < 0) {
            throw new Error(
              `of writer ${index} was seen ${print(own.map(({ messageId: id, tokenCount }) => ({ id, tokenCount })))}, ` +
                `which is none of the states from ${first} on: ${states.slice(first).map(print).join(" or ")}`,
            );
          }
          seen[index] = found;
        });
        reads += 1;
      }
    };

    const write = async ({ states }: Writer, index: number): Promise<void> => {
      const writer = writers[index] as Writer;
      const begin = (state: State): void => void states.push(state);
      for (let change = 0; change < CHANGES; change++) {
        const { memory } = pair.at(index + (change % 3));
        const state = states.at(-1) as State;
        const picked = state[Math.floor(Math.random() * state.length)];
        const dice = Math.random();
        if (!picked || dice < 0.4) {
          const added = Array.from({ length: 1 + (change % 3) }, (_, n) => ({
            id: `${index}.${change}.${n}`,
            tokenCount: 0,
          }));
          begin([...state, ...added]);
          await memory.addMemory({ sessionId, messages: added.map(({ id }) => ({ messageId: id, content: id })) });
        } else if (dice < 0.75) {
          const changed = { id: picked.id, tokenCount: change };
          begin(state.map((one) => (one === picked ? changed : one)));
          await memory.updateMessage({ sessionId, messageId: picked.id, tokenCount: change });
        } else {
          begin(state.filter((one) => one !== picked));
          await memory.deleteMessage({ sessionId, messageId: picked.id });
        }
        writer.acknowledged += 1;
      }
    };

    const reading = atOnce(READERS, read);
    try {
      await Promise.race([Promise.all(writers.map(write)), reading]);
    } finally {
      isOver = true;
    }
    await reading;
    expect(reads).toBeGreaterThan(READERS);
    expect(writers.map(({ acknowledged }) => acknowledged)).toEqual(writers.map(() => CHANGES));
  });
});

/** Whether the messages that were seen are those of a state, or the newest of it, where there were too many of all writers. */
function shows(seen: readonly Message[], state: State, isWhole: boolean): boolean {
  if (isWhole ? seen.length !== state.length : seen.length > state.length) return false;
  const newest = state.slice(state.length - seen.length);
  return seen.every(
    ({ messageId, tokenCount }, index) => newest[index]?.id === messageId && newest[index]?.tokenCount === tokenCount,
  );
}

const print = (state: State): string => `[${state.map(({ id, tokenCount }) => `${id}:${tokenCount}`).join(" ")}]`;
