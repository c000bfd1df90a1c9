import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { type LocalMongo, startLocalMongo } from "../../src/local/index.js";

declare module "vitest" {
  export interface ProvidedContext {
    mongodbUri: string;
  }
}

/**
 * One MongoDB for the whole run, its TTL monitor at its fastest; each test file takes a database of its own. When it dies by itself,
 * as the Windows build under Wine does now and then, it is started again on the same data and port, as whoever runs one has it.
 */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const dataDir = await mkdtemp(join(tmpdir(), "sessions-mongo-"));
  const log = (line: string): void => console.log(`[mongodb] ${line}`);
  let isOver = false;
  const start = async (): Promise<LocalMongo> => {
    const mongo = await startLocalMongo({ dataDir, env: process.env, log, ttlSeconds: 1 });
    void mongo.ended.then(() => {
      if (isOver) return;
      log("it died by itself, and is started again");
      running = start();
    });
    return mongo;
  };
  let running = start();
  project.provide("mongodbUri", (await running).uri);
  return async () => {
    isOver = true;
    await (await running).stop();
    await rm(dataDir, { recursive: true, force: true });
  };
}
