import { setTimeout as sleep } from "node:timers/promises";
import {
  type Db,
  type Document,
  MongoClient,
  MongoNetworkError,
  MongoServerError,
  MongoServerSelectionError,
} from "mongodb";

const NOT_YET_INITIALIZED = 94;
const ALREADY_INITIALIZED = 23;
/** Also what a member answers that does not find its own address in the configuration. */
const INVALID_CONFIG = 93;

/**
 * Makes the `mongod` on this port the writable primary of a replica set of one, whatever its configuration was before.
 * Answers false when `keepTrying` does so first.
 */
export async function ensureSingleNodePrimary(
  port: number,
  replicaSet: string,
  keepTrying: () => boolean,
): Promise<boolean> {
  return withAdmin(port, async (admin) => {
    while (keepTrying()) {
      if (await configureAndAsk(admin, replicaSet, `127.0.0.1:${port}`)) return true;
      await sleep(20);
    }
    return false;
  });
}

async function configureAndAsk(admin: Db, replicaSet: string, host: string): Promise<boolean> {
  try {
    const problem = await serverErrorCode(admin.command({ replSetGetStatus: 1 }));
    if (problem === NOT_YET_INITIALIZED) await initiate(admin, replicaSet, host);
    if (problem === INVALID_CONFIG) await moveTo(admin, host);
    return problem === undefined && (await admin.command({ hello: 1 })).isWritablePrimary === true;
  } catch (error) {
    // A member drops its connections when its state changes.
    if (error instanceof MongoNetworkError || error instanceof MongoServerSelectionError) return false;
    throw error;
  }
}

/** Asks for an orderly shutdown. The connection breaks instead of an answer: that is a success. */
export async function requestShutdown(port: number): Promise<void> {
  await withAdmin(port, (admin) => admin.command({ shutdown: 1, force: true, timeoutSecs: 0 })).catch(() => {});
}

async function initiate(admin: Db, replicaSet: string, host: string): Promise<void> {
  const config = { _id: replicaSet, members: [{ _id: 0, host }] };
  // A `mongod` that has not read its configuration yet also says that it has none.
  const code = await serverErrorCode(admin.command({ replSetInitiate: config }));
  if (code !== undefined && code !== ALREADY_INITIALIZED) throw new Error(`replSetInitiate failed with code ${code}`);
}

/**
 * The port is another one than in the run before. Only a forced change is possible while there is no primary. Before this
 * member knows that it is not the one at its former address it asks there: what listens and does not answer holds the
 * start up for the half minute that it gives it.
 */
async function moveTo(admin: Db, host: string): Promise<void> {
  const config = await admin.client.db("local").collection<Document>("system.replset").findOne({});
  if (config === null) return;
  const moved = { ...config, version: config.version + 1, members: [{ ...config.members[0], host }] };
  await admin.command({ replSetReconfig: moved, force: true });
}

/** Undefined when the command succeeded. */
async function serverErrorCode(answer: Promise<unknown>): Promise<number | undefined> {
  try {
    await answer;
    return undefined;
  } catch (error) {
    if (error instanceof MongoServerError && typeof error.code === "number") return error.code;
    throw error;
  }
}

async function withAdmin<T>(port: number, use: (admin: Db) => Promise<T>): Promise<T> {
  const client = new MongoClient(`mongodb://127.0.0.1:${port}/?directConnection=true`, {
    serverSelectionTimeoutMS: 2_000,
    maxPoolSize: 1,
    retryReads: false,
    retryWrites: false,
  });
  try {
    return await use(client.db("admin"));
  } finally {
    await client.close();
  }
}
