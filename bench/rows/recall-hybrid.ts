import { readQuestioned } from "../data/questions.js";
import { startMiniLm } from "../embeddings/minilm.js";
import type { Row } from "../harness/row.js";
import { hybridFinder } from "../search/hybrid-finder.js";
import { recallOf } from "../search/recall.js";

/** Whether what answers a question is found when its meaning counts as well, with a small real model. */
export const recallHybridRow: Row = {
  name: "recall_hybrid",
  unit: "share",
  target: { atLeast: 0.78 },
  stage: "calls",
  async prepare(bench) {
    const { sessions, questions } = await readQuestioned(bench.questions);
    const model = await startMiniLm(bench.env, bench.say, { mayInstall: !bench.quick });
    try {
      const find = await hybridFinder(sessions, model.settings);
      const { at10 } = await recallOf(questions, find);
      // The same each time.
      return { maxRounds: 1, ours: async () => at10, baselines: [] };
    } finally {
      await model.stop();
    }
  },
};
