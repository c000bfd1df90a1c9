import { readQuestioned } from "../data/questions.js";
import type { Row, Side, Target } from "../harness/row.js";
import { miniSearchFinder, scopeIndexFinder } from "../search/finders.js";
import { type Find, type Recall, recallOf } from "../search/recall.js";

interface Figure {
  readonly name: string;
  readonly of: keyof Recall;
  readonly target?: Target;
}

const FIGURES: readonly Figure[] = [
  { name: "recall", of: "at10", target: { atLeast: 0.75 } },
  { name: "recall_5", of: "at5" },
  { name: "recall_20", of: "at20" },
  { name: "recall_mrr", of: "reciprocalRank" },
];

/** Whether what answers a question is found in all that its user ever said, beside a library for full text as it comes. */
export const recallRows: readonly Row[] = FIGURES.map(({ name, of, target }) => ({
  name,
  unit: "share",
  target,
  stage: "calls",
  async prepare(bench) {
    const { sessions, questions } = await readQuestioned(bench.questions);
    const side =
      (find: Find): Side =>
      async () =>
        (await recallOf(questions, find))[of];
    return {
      // The same each time.
      maxRounds: 1,
      ours: side(await scopeIndexFinder(sessions)),
      baselines: [],
      bound: { name: "minisearch", side: side(miniSearchFinder(sessions)) },
    };
  },
}));
