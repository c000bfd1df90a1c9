import { homedir } from "node:os";
import { join } from "node:path";

/** The environment as `process.env` has it; only `src/main.ts` and tests read that. It is handed on to npm and apt-get. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** Where a `mongod`, once fetched, is kept for every project of this user. */
export function cacheFolder(env: Environment): string {
  return join(env.XDG_CACHE_HOME || join(env.HOME || homedir(), ".cache"), "sessions-mongod");
}
