import type { TestProject } from "vitest/node";
import { startTemporaryMongo } from "../../src/local/temporary.js";

declare module "vitest" {
  export interface ProvidedContext {
    mongodbUri: string;
  }
}

/** One MongoDB for the whole run, its TTL monitor at its fastest; each test file takes a database of its own. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const log = (line: string): void => console.log(`[mongodb] ${line}`);
  const mongo = await startTemporaryMongo({ env: process.env, log, ttlSeconds: 1 });
  project.provide("mongodbUri", mongo.uri);
  let isOver = false;
  // Else what fails after that would not tell why.
  void mongo.ended.then(() => isOver || log("MONGODB HAS DIED BY ITSELF"));
  return () => {
    isOver = true;
    return mongo.stop();
  };
}
