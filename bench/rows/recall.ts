import { createClient } from "../../src/client/index.js";
import { readQuestioned } from "../data/questions.js";
import type { Row, Side, Target } from "../harness/row.js";
import { miniSearchFinder, serviceFinder, textIndexFinder } from "../search/finders.js";
import { type Find, type Recall, recallOf } from "../search/recall.js";
import type { Bench } from "../setup/bench.js";

interface Figure {
  readonly name: string;
  readonly of: keyof Recall;
  readonly target?: Target;
}

const FIGURES: readonly Figure[] = [
  { name: "recall_5", of: "at5" },
  { name: "recall_10", of: "at10", target: { atLeast: 0.75 } },
  { name: "recall_20", of: "at20" },
  { name: "recall_mrr", of: "reciprocalRank" },
];

/** Whether what answers a question is found in all that its user ever said; beside it two others as they come. */
export const recallRows: readonly Row[] = FIGURES.map(({ name, of, target }) => ({
  name,
  group: "recall",
  unit: "share",
  target,
  stage: "search",
  async prepare(bench) {
    const { ours, textIndex, miniSearch } = await recalls(bench);
    const side =
      (recall: Recall): Side =>
      async () =>
        recall[of];
    return {
      // The same each time.
      maxRounds: 1,
      ours: side(ours),
      baselines: [],
      bounds: [
        { name: "$text", side: side(textIndex) },
        { name: "minisearch", side: side(miniSearch) },
      ],
    };
  },
}));

async function recalls(bench: Bench): Promise<Record<"ours" | "textIndex" | "miniSearch", Recall>> {
  const stage = await bench.stage("search");
  return stage.once("recall", async () => {
    const { sessions, questions } = await readQuestioned(bench.questions);
    const client = createClient({ address: stage.service.address });
    const recall = async (name: string, find: Find): Promise<Recall> => {
      bench.say(`asking ${name} ${questions.length} questions`);
      return recallOf(questions, find);
    };
    try {
      return {
        ours: await recall("the service", await serviceFinder(client, sessions)),
        textIndex: await recall("$text", await textIndexFinder(stage.database, sessions)),
        miniSearch: await recall("minisearch", miniSearchFinder(sessions)),
      };
    } finally {
      client.close();
    }
  });
}
