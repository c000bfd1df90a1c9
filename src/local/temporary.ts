import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type LocalMongo, type LocalMongoOptions, startLocalMongo } from "./index.js";

/** A local MongoDB of its own for a test or a benchmark: its data are gone after `stop`. */
export async function startTemporaryMongo(options: Omit<LocalMongoOptions, "dataDir">): Promise<LocalMongo> {
  const dataDir = await mkdtemp(join(tmpdir(), "sessions-mongo-"));
  const remove = () => rm(dataDir, { recursive: true, force: true });
  try {
    const mongo = await startLocalMongo({ ...options, dataDir });
    return { ...mongo, stop: () => mongo.stop().then(remove) };
  } catch (error) {
    await remove();
    throw error;
  }
}
