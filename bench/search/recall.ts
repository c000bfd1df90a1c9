import type { Question } from "../data/questions.js";

/** How well a search finds what answers the questions, all figures between 0 and 1. */
export interface Recall {
  /** Of the messages that answer a question, the share among the first 5, 10 and 20 hits. */
  readonly at5: number;
  readonly at10: number;
  readonly at20: number;
  /** One divided by the place of the first hit that answers it. */
  readonly reciprocalRank: number;
}

/** Searches a user's whole memory, and returns the ids of the hits, best first. */
export type Find = (user: string, text: string, limit: number) => readonly string[] | Promise<readonly string[]>;

const LIMIT = 100;

/** The means over all questions. */
export async function recallOf(questions: readonly Question[], find: Find): Promise<Recall> {
  const sums = { at5: 0, at10: 0, at20: 0, reciprocalRank: 0 };
  for (const { user_id, question, evidence } of questions) {
    const hits = await find(user_id, question, LIMIT);
    const found = (count: number): number => {
      const first = new Set(hits.slice(0, count));
      return evidence.filter((id) => first.has(id)).length / evidence.length;
    };
    sums.at5 += found(5);
    sums.at10 += found(10);
    sums.at20 += found(20);
    const place = hits.findIndex((id) => evidence.includes(id));
    if (place >= 0) sums.reciprocalRank += 1 / (place + 1);
  }
  const mean = (sum: number): number => sum / questions.length;
  return {
    at5: mean(sums.at5),
    at10: mean(sums.at10),
    at20: mean(sums.at20),
    reciprocalRank: mean(sums.reciprocalRank),
  };
}
