import type { TestProject } from "vitest/node";
import { startTemporaryMongo } from "../../src/local/temporary.js";

declare module "vitest" {
  export interface ProvidedContext {
    mongodbUri: string;
  }
}

/** One MongoDB for the whole run, its TTL monitor at its fastest; each test file takes a database of its own. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const mongo = await startTemporaryMongo({
    env: process.env,
    log: (line) => console.log(`[mongodb] ${line}`),
    ttlSeconds: 1,
  });
  project.provide("mongodbUri", mongo.uri);
  return mongo.stop;
}
