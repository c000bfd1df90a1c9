import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Db, type Document, MongoClient } from "mongodb";
import { chooseMongod, type RunningMongod, startMongod } from "../../../src/local/index.js";
import { freePort, waitUntilListening } from "../../../src/local/port.js";
import { eventually } from "../../support/eventually.js";

/** A replica set of three `mongod` processes, of which the primary may die. */
export interface ReplicaSet {
  readonly uri: string;
  /** Kills the primary with SIGKILL. The promise's function starts it again and waits until it follows the others. */
  killPrimary(): Promise<() => Promise<void>>;
  /** Has the primary give way to another member. */
  stepDown(): Promise<void>;
  stop(): Promise<void>;
}

const NAME = "faults";
const START_MS = 120_000;

/** A member that hears nothing of the primary for this long asks to be elected; by default 10 s. */
const ELECTION_TIMEOUT_MS = 2_000;

export async function startReplicaSet(): Promise<ReplicaSet> {
  const program = await chooseMongod({ env: process.env, log: () => {} });
  const root = await mkdtemp(join(tmpdir(), "sessions-replica-set-"));
  const members: RunningMongod[] = [];
  const start = async (index: number, port: number): Promise<RunningMongod> => {
    const folder = join(root, `member-${index}`);
    const mongod = await startMongod({ program, folder, port, replicaSet: NAME, env: process.env });
    members[index] = mongod;
    const deadline = Date.now() + START_MS;
    if (!(await waitUntilListening(port, () => !mongod.hasEnded() && Date.now() < deadline))) {
      throw new Error(`a member of the replica set did not start: see ${mongod.logFile}`);
    }
    return mongod;
  };
  const primary = (): Promise<number> =>
    eventually(
      "there is a primary",
      async () => {
        const answers = await Promise.all(members.map((mongod) => hello(mongod)));
        const index = answers.findIndex((answer) => answer?.isWritablePrimary === true);
        return index === -1 ? undefined : index;
      },
      START_MS,
    );
  const stop = async (): Promise<void> => {
    for (const mongod of members) mongod.kill();
    await Promise.all(members.map(({ ended }) => ended));
    await rm(root, { recursive: true, force: true });
  };

  try {
    for (const index of [0, 1, 2]) await start(index, await freePort(undefined));
    const hosts = members.map(({ port }, _id) => ({ _id, host: `127.0.0.1:${port}` }));
    const settings = { electionTimeoutMillis: ELECTION_TIMEOUT_MS, heartbeatIntervalMillis: 500 };
    const config = { _id: NAME, members: hosts, settings };
    await withAdmin(members[0] as RunningMongod, (admin) => admin.command({ replSetInitiate: config }));
    await primary();
    await Promise.all(members.map(following));
    return {
      uri: `mongodb://${hosts.map(({ host }) => host).join(",")}/?replicaSet=${NAME}`,
      async killPrimary() {
        const index = await primary();
        const { port, kill, ended } = members[index] as RunningMongod;
        kill();
        await ended;
        return async () => following(await start(index, port));
      },
      async stepDown() {
        const command = { replSetStepDown: 20, secondaryCatchUpPeriodSecs: 10 };
        // On a busy machine another may have become the primary by then, or no secondary has caught up.
        const hasSteppedDown = async (): Promise<boolean> => {
          const member = members[await primary()] as RunningMongod;
          return withAdmin(member, (admin) => admin.command(command)).then(
            () => true,
            () => false,
          );
        };
        await eventually("a primary steps down", hasSteppedDown, START_MS);
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Waits until a member has caught up so far that it can be elected. */
async function following(mongod: RunningMongod): Promise<void> {
  const isFollowing = async (): Promise<boolean> => {
    const answer = await hello(mongod);
    return answer?.secondary === true || answer?.isWritablePrimary === true;
  };
  await eventually("a member follows", isFollowing, START_MS);
}

async function hello(mongod: RunningMongod): Promise<Document | undefined> {
  return withAdmin(mongod, (admin) => admin.command({ hello: 1 }), 1_000).catch(() => undefined);
}

async function withAdmin<T>(
  { port }: RunningMongod,
  use: (admin: Db) => Promise<T>,
  serverSelectionTimeoutMS = 10_000,
): Promise<T> {
  const client = new MongoClient(`mongodb://127.0.0.1:${port}/?directConnection=true`, {
    serverSelectionTimeoutMS,
    maxPoolSize: 1,
  });
  try {
    return await use(client.db("admin"));
  } finally {
    await client.close();
  }
}
