import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, rename, rm, stat, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Environment } from "../../src/local/environment.js";
import { Skipped } from "../harness/row.js";

/** What ours is compared with, and what those need besides. They are no dependencies of this package. */
const PACKAGES = {
  "@mastra/mongodb": "1.19.0",
  "@mastra/core": "1.71.0",
  "@mastra/memory": "1.31.0",
  "@langchain/mongodb": "1.3.1",
  "@langchain/core": "1.2.13",
} as const;

/** What the processes of the peers import, from within the folder, so that each package finds its own driver. */
const ENTRIES = {
  "mastra.mjs": `export { MemoryStorageMongoDB } from "@mastra/mongodb";\n`,
  "langchain.mjs": `
import { createRequire } from "node:module";
export { MongoDBChatMessageHistory } from "@langchain/mongodb";
export { AIMessage, HumanMessage, mapChatMessagesToStoredMessages } from "@langchain/core/messages";
const { resolve } = createRequire(import.meta.url);
export const { MongoClient } = createRequire(resolve("@langchain/mongodb"))("mongodb");
`,
} as const;

const INSTALL_TIMEOUT_MS = 10 * 60_000;

const FLAGS = [
  "--no-audit",
  "--no-fund",
  "--no-package-lock",
  "--ignore-scripts",
  // Also under `npm run --silent`: what went wrong goes into the table.
  "--loglevel=error",
  // They ask for a later Node than they need.
  "--engine-strict=false",
];

/** The folder that the peers are installed in, which stays for the next time. Throws Skipped when they cannot be. */
export async function installPeers(
  env: Environment,
  say: (line: string) => void,
  { mayInstall }: { mayInstall: boolean },
): Promise<string> {
  const hash = createHash("sha256")
    .update(JSON.stringify([PACKAGES, ENTRIES]))
    .digest("hex")
    .slice(0, 12);
  const cache = join(env.XDG_CACHE_HOME || join(env.HOME || homedir(), ".cache"), "sessions-bench");
  const folder = join(cache, `peers-${hash}`);
  if (await exists(folder)) return folder;
  if (!mayInstall) throw new Skipped("the peers are not installed, and --quick does not install them");
  try {
    await mkdir(cache, { recursive: true });
    const draft = await mkdtemp(join(cache, "draft-"));
    try {
      await writeFile(join(draft, "package.json"), JSON.stringify({ private: true, dependencies: PACKAGES }, null, 2));
      for (const [name, text] of Object.entries(ENTRIES)) await writeFile(join(draft, name), text);
      say(`installing the peers into ${folder}`);
      await promisify(execFile)("npm", ["install", ...FLAGS], {
        cwd: draft,
        env: withoutNpm(env),
        timeout: INSTALL_TIMEOUT_MS,
      });
      await rename(draft, folder);
      return folder;
    } finally {
      await rm(draft, { recursive: true, force: true });
    }
  } catch (error) {
    if (await exists(folder)) return folder;
    const said = (error as { stderr?: string }).stderr || (error as Error).message;
    const first = said.split("\n").find((line) => /error/i.test(line)) ?? said;
    throw new Skipped(`the peers could not be installed (${first.trim()})`);
  }
}

/** `npm run` tells its scripts where they belong; an npm in another folder would take it for its own. */
function withoutNpm(env: Environment): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(env).filter(([name]) => !/^npm_(package_|lifecycle_|config_(local_prefix|prefix)$)/i.test(name)),
  );
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
