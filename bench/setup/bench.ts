import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Environment } from "../../src/local/environment.js";
import type { LocalMongo } from "../../src/local/index.js";
import { startTemporaryMongo } from "../../src/local/temporary.js";
import type { StageName } from "../harness/row.js";
import type { Options, Scale } from "../options.js";
import { openStage, type Stage } from "./stage.js";

/** All that the rows work with. */
export interface Bench {
  readonly scale: Scale;
  readonly quick: boolean;
  /** Where the conversations with questions are; undefined where there are none. */
  readonly questions: string | undefined;
  readonly env: Environment;
  readonly mongo: LocalMongo;
  /** Tells how it goes, apart from the result. */
  readonly say: (line: string) => void;
  /** The service with a database for rows of this stage; the stage before ends. */
  stage(name: StageName): Promise<Stage>;
  stop(): Promise<void>;
}

export async function startBench(options: Options, env: Environment, say: (line: string) => void): Promise<Bench> {
  const folder = await mkdtemp(join(tmpdir(), "sessions-bench-"));
  const mongo = await startTemporaryMongo({ env, log: say });
  let isStopping = false;
  let current: { name: StageName; stage: Promise<Stage> } | undefined;
  const endStage = async (): Promise<void> => {
    const before = current;
    current = undefined;
    await before?.stage.then(
      (stage) => stage.stop(),
      () => {},
    );
  };
  return {
    scale: options.scale,
    quick: options.quick,
    questions: options.questions,
    env,
    mongo,
    say,
    async stage(name) {
      if (isStopping) throw new Error("stopping");
      if (current?.name !== name) {
        await endStage();
        const { workers, profile } = options;
        current = {
          name,
          stage: openStage({ uri: mongo.uri, database: `bench_${name}`, folder, env, workers, profile }),
        };
      }
      return current.stage;
    },
    async stop() {
      isStopping = true;
      await endStage();
      await mongo.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
