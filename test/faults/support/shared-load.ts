import type { Api } from "../../support/api.js";
import { attempt, type Outcome, type Tally } from "./attempts.js";
import { checkHistory, violationsIn } from "./checker.js";
import { createHistory, type Ending, type Operation } from "./history.js";
import type { Random } from "./random.js";

/**
 * Clients that do everything at once to the same few sessions and write down what each call answered. No client knows what it
 * must see; the history checker tells whether there is an order that explains all of it.
 */
export interface SharedLoad {
  /** One more client of a group; the clients of a group share a session. Runs until it is told to stop. */
  runClient(group: number, isOver: () => boolean): Promise<void>;
  /** Reads every session once more, checks all histories, and writes them to a file, whose path is answered. */
  finish(name: string): Promise<{ operations: number; sessions: number; history: string }>;
}

export interface SharedLoadDeps {
  readonly tally: Tally;
  readonly random: Random;
  readonly anyService: () => Promise<Api>;
  /** Begins the ids of all sessions. */
  readonly prefix: string;
}

/** After so many operations a group goes on to its next session: many short histories are more easily checked than a long one. */
const OPERATIONS_A_SESSION = 60;

/** An operation of unknown outcome counts for this many: each doubles what has to be thought of at any later time. */
const UNKNOWN_COSTS = 6;

/** As much as a search finds at most. */
const SEARCHED = 100;

/** As long as a call can take at all. */
const DEADLINE_MS = 12_000;

const KINDS: readonly Operation[] = [
  ...Array<Operation>(6).fill("get"),
  ...Array<Operation>(3).fill("search"),
  ...Array<Operation>(7).fill("add"),
  ...(["delete", "delete", "restore", "restore", "undelete", "clear"] as const),
];

export function createSharedLoad({ tally, random, anyService, prefix }: SharedLoadDeps): SharedLoad {
  const history = createHistory();
  const groups = new Map<number, { round: number; left: number }>();
  let calls = 0;

  const sessionOf = (group: number): string => {
    const state = groups.get(group) ?? { round: 0, left: OPERATIONS_A_SESSION };
    groups.set(group, state);
    state.left -= 1;
    if (state.left < 0) {
      state.round += 1;
      state.left = OPERATIONS_A_SESSION;
    }
    return `${prefix}-${group}-${state.round}`;
  };

  /** Does one operation and notes it. The answer is whether its outcome is known. */
  async function perform(process: number, key: string, f: Operation, ids: readonly string[] | null): Promise<boolean> {
    const api = await anyService();
    const end = history.invoke(process, key, f, ids);
    const ending = endingOf(await attempt(tally, send(api, key, f, ids)), ids);
    end(ending);
    return ending.type !== "info";
  }

  async function send(api: Api, sessionId: string, f: Operation, ids: readonly string[] | null): Promise<Ending> {
    const options = { deadlineMs: DEADLINE_MS };
    switch (f) {
      case "add": {
        const messages = ids?.map((messageId) => ({ messageId, content: `boat ${messageId}` })) ?? [];
        const added = await api.memory.addMemory({ sessionId, messages }, options);
        noteOrder(`AddMemory to ${sessionId}`, added.messages);
        return { type: "ok", value: added.messages.map(({ messageId }) => messageId) };
      }
      case "get": {
        const { session, messages } = await api.memory.getMemory({ sessionId, lastN: 1000 }, options);
        noteOrder(`GetMemory of ${sessionId}`, messages);
        const found = messages.map(({ messageId }) => messageId);
        return { type: "ok", value: { live: session !== undefined, ids: found, count: session?.messageCount ?? 0 } };
      }
      case "search": {
        const { results } = await api.memory.searchMemory({ sessionId, text: "boat", limit: SEARCHED }, options);
        // There may be more.
        if (results.length === SEARCHED) return { type: "info", value: null };
        const found = results.flatMap(({ message }) => message ?? []).sort((a, b) => a.sequence - b.sequence);
        return { type: "ok", value: { ids: found.map(({ messageId }) => messageId) } };
      }
      case "delete":
        await api.sessions.deleteSession({ sessionId }, options);
        break;
      case "undelete":
      case "restore":
        await api.sessions.undeleteSession({ sessionId, restoreMemory: f === "restore" }, options);
        break;
      case "clear":
        await api.memory.clearMemory({ sessionId }, options);
    }
    return { type: "ok", value: null };
  }

  function noteOrder(what: string, messages: readonly { sequence: number }[]): void {
    const isRising = messages.every(({ sequence }, index) => sequence > (messages[index - 1]?.sequence ?? 0));
    if (!isRising) tally.violations.push(`${what}: sequences ${messages.map(({ sequence }) => sequence)}`);
  }

  return {
    async runClient(group, isOver) {
      let process = history.newProcess();
      while (!isOver()) {
        const key = sessionOf(group);
        const f = random.pick(KINDS);
        const size = random.chance(0.05) ? 100 : 1 + random.below(12);
        const call = calls++;
        const ids = f === "add" ? Array.from({ length: size }, (_, index) => `${call}.${index}`) : null;
        while (!(await perform(process, key, f, ids))) {
          // Nobody will hear again of a process that does not know what it has done.
          process = history.newProcess();
          const state = groups.get(group);
          if (state) state.left -= UNKNOWN_COSTS;
          if (f !== "add" || random.chance(0.3)) break;
        }
      }
    },
    async finish(name) {
      const keys = [...new Set(history.events.map(({ key }) => key))];
      for (const key of keys) {
        if (!(await perform(history.newProcess(), key, "get", null))) {
          tally.violations.push(`${key} could not be read after all faults were over`);
        }
      }
      const verdicts = checkHistory(history.events);
      const saved = await history.save(name);
      tally.violations.push(...violationsIn(verdicts));
      const operations = verdicts.reduce((sum, verdict) => sum + verdict.operations, 0);
      return { operations, sessions: verdicts.length, history: saved };
    },
  };
}

function endingOf(outcome: Outcome<Ending>, value: readonly string[] | null): Ending {
  if ("answer" in outcome) return outcome.answer;
  if ("refused" in outcome) return { type: "fail", value, error: outcome.refused };
  return { type: "info", value, error: outcome.unknown };
}
