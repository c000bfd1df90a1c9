import { randomUUID } from "node:crypto";
import type { CommandStartedEvent, Document } from "mongodb";
import { pino } from "pino";
import { inject } from "vitest";
import { startServer } from "../../src/server.js";
import { type Database, openDatabase } from "../../src/store/database.js";
import { type Api, connect } from "../support/api.js";
import { eventually } from "../support/eventually.js";
import { createTestPurger } from "../support/purger.js";
import { CACHE_BYTES, LIMITS } from "../support/service.js";

/**
 * What the service asks of the database, as the database itself sees it: the commands of each operation are captured and
 * explained, over data in which a bad plan costs much.
 */
export interface Explainer {
  readonly api: Api;
  /** The service's own connection. */
  readonly monitored: Database;
  /** Runs an operation and gives the plans of all that it asked for. */
  plansOf(operation: () => Promise<unknown>): Promise<Plan[]>;
  /** The plans of what the operation's first transaction asked for, of that only. */
  plansOfFirstTransaction(operation: () => Promise<unknown>): Promise<Plan[]>;
  stop(): Promise<void>;
}

export interface Plan {
  readonly shape: string;
  readonly stages: readonly string[];
  readonly keysExamined: number;
  readonly docsExamined: number;
}

const EXPLAINED = ["find", "aggregate", "count", "distinct", "update", "delete"];
const SESSIONS = 1_000;
const USERS = 8;
export const RETENTION_MS = 86_400_000;
/** The id of a session with a thousand messages. */
export const LONG = "session-long";

/** A service with a thousand sessions, on a connection that is watched. */
export async function startExplainer(): Promise<Explainer> {
  const options = { uri: inject("mongodbUri"), database: `test-${randomUUID()}` };
  const monitored = openDatabase({ ...options, monitorCommands: true });
  let captured: Document[] = [];
  monitored.client.on("commandStarted", ({ commandName, command }: CommandStartedEvent) => {
    if (EXPLAINED.includes(commandName)) captured.push(command);
  });
  const server = await startServer(
    {
      database: monitored,
      log: pino({ level: "silent" }),
      retentionMs: RETENTION_MS,
      purgeIntervalMs: 2 ** 30,
      memoryWindow: 50,
      cacheBytes: CACHE_BYTES,
      searchCacheBytes: 128 * 1024 * 1024,
      shutdownGraceMs: 5_000,
      limits: LIMITS,
    },
    { host: "127.0.0.1", port: 0 },
  );
  await server.firstContact;
  const database = openDatabase(options);
  const api = connect(server.address);
  await fill(api, database);

  const captureOf = async (operation: () => Promise<unknown>): Promise<Document[]> => {
    captured = [];
    await operation();
    return captured;
  };
  return {
    api,
    monitored,
    plansOf: async (operation) => explainAll(database, await captureOf(operation)),
    async plansOfFirstTransaction(operation) {
      // What follows an earlier deletion is done in transactions, too, and would be taken for the operation's.
      const isDone = async () => (await database.sessions.countDocuments({ "retired.task": "mark" })) === 0;
      await eventually("the housekeeping is done", isDone);
      const inTransactions = (await captureOf(operation)).filter(({ autocommit }) => autocommit === false);
      const [first] = inTransactions;
      const isOfFirst = ({ lsid, txnNumber }: Document) =>
        String(txnNumber) === String(first?.txnNumber) && String(lsid.id) === String(first?.lsid.id);
      return explainAll(database, inTransactions.filter(isOfFirst));
    },
    async stop() {
      api.close();
      await server.stop();
      await database.db.dropDatabase();
      await database.close();
    },
  };
}

/** A thousand sessions, two thirds of them of eight users, a tenth of all deleted, with messages; and one with a long memory. */
async function fill(api: Api, database: Database): Promise<void> {
  for (let user = 0; user < USERS; user++) await api.users.createUser({ userId: `user-${user}` });
  const ids = Array.from({ length: SESSIONS }, (_, index) => index);
  for (let from = 0; from < SESSIONS; from += 100) {
    await Promise.all(
      ids.slice(from, from + 100).map(async (index) => {
        const sessionId = `session-${index}`;
        const metadata = { topic: index % 10, nested: { tags: ["all", `tag-${index % 50}`] } };
        const userId = index % 3 === 0 ? undefined : `user-${index % USERS}`;
        await api.sessions.createSession({ sessionId, userId, metadata });
        if (index % 4 > 0) await api.memory.addMemory({ sessionId, messages: [{ messageId: "m0" }, { content: "x" }] });
        if (index % 10 === 9) await api.sessions.deleteSession({ sessionId });
      }),
    );
  }
  const messages = Array.from({ length: 1_000 }, (_, index) => ({ messageId: `m${index}` }));
  await api.memory.addMemory({ sessionId: LONG, messages });
  for (let index = 0; index < 20; index++) {
    const sessionId = `cleared-${index}`;
    await api.memory.addMemory({ sessionId, messages: messages.slice(0, 20) });
    await api.memory.clearMemory({ sessionId });
    await api.memory.addMemory({ sessionId, messages: messages.slice(0, 5) });
  }
  await api.users.deleteUser({ userId: "user-0" });
  await createTestPurger(database).pass();
}

/** Explains each distinct shape once; values do not make a shape. */
async function explainAll(database: Database, commands: readonly Document[]): Promise<Plan[]> {
  const shapes = new Map<string, Document>();
  for (const command of commands) {
    for (const single of split(command)) shapes.set(shapeOf(single), single);
  }
  return Promise.all([...shapes].map(([shape, command]) => explain(database, shape, command)));
}

/** Explain takes one update or delete at a time. */
function split(command: Document): Document[] {
  for (const list of ["updates", "deletes"]) {
    if (Array.isArray(command[list])) return command[list].map((one: Document) => ({ ...command, [list]: [one] }));
  }
  return [command];
}

function shapeOf(command: Document): string {
  const [[name, collection] = []] = Object.entries(command);
  const { filter, query, pipeline, updates, deletes, sort } = command;
  const asked = { filter, query, pipeline, q: (updates ?? deletes)?.[0].q, sort };
  return `${name} ${collection} ${JSON.stringify(asked, (_, value) => (isPlain(value) || Array.isArray(value) || value === undefined ? value : "?"))}`;
}

function isPlain(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

async function explain(database: Database, shape: string, command: Document): Promise<Plan> {
  const {
    lsid,
    $clusterTime,
    $db,
    txnNumber,
    autocommit,
    startTransaction,
    readConcern,
    writeConcern,
    maxTimeMS,
    ...asked
  } = command;
  const explained = await database.db.command({ explain: asked, verbosity: "executionStats" });
  const stages: string[] = [];
  let keysExamined = 0;
  let docsExamined = 0;
  const walk = (value: unknown): void => {
    if (typeof value !== "object" || value === null) return;
    const { stage, executionStats, rejectedPlans, allPlansExecution, ...rest } = value as Document;
    if (typeof stage === "string") stages.push(stage);
    if (executionStats) {
      keysExamined += executionStats.totalKeysExamined;
      docsExamined += executionStats.totalDocsExamined;
    }
    for (const inner of Object.values(rest)) walk(inner);
  };
  walk(explained);
  return { shape, stages, keysExamined, docsExamined };
}
