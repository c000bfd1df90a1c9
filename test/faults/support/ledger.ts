import { setTimeout as sleep } from "node:timers/promises";
import type { Api } from "../../support/api.js";
import { attempt, type Tally } from "./attempts.js";

/**
 * Sessions that only grow, one numbered message at a time: what has been acknowledged or read once must be in every later
 * read, and there are never gaps.
 */
export interface Ledger {
  /** Adds the next message again and again, each until it is acknowledged. */
  write(isOver: () => boolean): Promise<void>;
  /** Reads again and again, and compares with all that was known when the read began. */
  read(isOver: () => boolean): Promise<void>;
  /** How long after a moment the first write came through that was sent after it, in milliseconds. */
  firstWriteAfter(moment: number): number | undefined;
}

const PAUSE_MS = 40;

export function createLedger(sessionId: string, tally: Tally, anyService: () => Promise<Api>): Ledger {
  const acknowledged: { sent: number; at: number }[] = [];
  let known = 0;
  return {
    async write(isOver) {
      for (let number = 1; !isOver(); number++) {
        const messages = [{ messageId: `${number}`, content: `${number}` }];
        for (;;) {
          const sent = performance.now();
          const outcome = await attempt(tally, (await anyService()).memory.addMemory({ sessionId, messages }));
          if ("refused" in outcome) tally.violations.push(`${sessionId}: ${number} was refused: ${outcome.refused}`);
          await sleep(PAUSE_MS);
          if ("unknown" in outcome) continue;
          acknowledged.push({ sent, at: performance.now() });
          break;
        }
        known = Math.max(known, number);
      }
    },
    async read(isOver) {
      while (!isOver()) {
        const atLeast = known;
        const api = await anyService();
        const outcome = await attempt(tally, api.memory.getMemory({ sessionId, lastN: 30 }));
        if ("answer" in outcome) {
          const numbers = outcome.answer.messages.map(({ messageId }) => Number(messageId));
          const newest = numbers.at(-1) ?? 0;
          const isWhole = numbers.every((number, index) => number === newest - numbers.length + 1 + index);
          const isCounted = (outcome.answer.session?.messageCount ?? 0) === newest;
          if (newest < atLeast || !isWhole || !isCounted || numbers.length !== Math.min(newest, 30)) {
            tally.violations.push(`${sessionId}: ${numbers} was read after ${atLeast} was known`);
          }
          known = Math.max(known, newest);
        }
        await sleep(PAUSE_MS);
      }
    },
    firstWriteAfter(moment) {
      const first = acknowledged.find(({ sent }) => sent >= moment);
      return first && first.at - moment;
    },
  };
}
