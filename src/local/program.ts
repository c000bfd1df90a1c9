import type { Environment } from "./environment.js";

/** A `mongod` that was chosen, whatever kind it is. */
export interface MongodProgram {
  /** What it is and where it came from, for the log. */
  readonly how: string;
  /** Makes ready what one run of it needs, in a folder that is that run's alone. */
  prepare(folder: string, env: Environment): Promise<PreparedMongod>;
}

export interface PreparedMongod {
  readonly command: readonly [string, ...string[]];
  readonly env: Environment;
  /** A path of ours as the program has to be told it. */
  pathFor(path: string): string;
  /** What ends it when its owner is gone and nobody can ask it to. Neither loses an acknowledged write: the journal. */
  readonly orphanSignal: "TERM" | "KILL";
  /** Shell words to run after it has ended, to end what it leaves behind. */
  readonly afterwards: readonly string[];
  /** Removes what `prepare` made. */
  dispose(): Promise<void>;
}

export function nativeMongod(path: string, how: string): MongodProgram {
  return {
    how,
    async prepare(_folder, env) {
      return {
        command: [path],
        env: { PATH: env.PATH, HOME: env.HOME, LD_LIBRARY_PATH: env.LD_LIBRARY_PATH },
        pathFor: (own) => own,
        orphanSignal: "TERM",
        afterwards: [],
        async dispose() {},
      };
    },
  };
}
