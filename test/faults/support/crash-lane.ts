import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { ServiceError } from "@grpc/grpc-js";
import {
  type ForkRecord,
  type MessageRecord,
  NO_TIME,
  type SessionRecord,
  type UserRecord,
} from "../../../src/domain/records.js";
import { type Database, openDatabase } from "../../../src/store/database.js";
import { INDEXES } from "../../../src/store/indexes.js";
import { type Api, decodeFailure } from "../../support/api.js";
import { eventually } from "../../support/eventually.js";
import { type Command, type CommandProxy, startCommandProxy } from "./command-proxy.js";
import { type RunningService, startProcess } from "./processes.js";
import { faultsOf, isSettled } from "./settled.js";

/** An operation that takes more than one write. */
export interface Operation {
  /** Makes what it is done to, through the API. */
  prepare(api: Api): Promise<void>;
  /** Brings about what only a crash could, after that. */
  alter?(database: Database): Promise<void>;
  /** What its caller does; nothing when the purger does it by itself. */
  readonly act?: (api: Api) => Promise<unknown>;
  /** It is done to one after the other: whoever asks again gets the rest. */
  readonly inParts?: true;
  /** What readers look at, over and over. Each answers as before or as after, and never as before again. */
  readonly probes: Readonly<Record<string, (api: Api) => Promise<unknown>>>;
}

export interface Step {
  readonly number: number;
  /** Before the write is passed on, or after the database has made it and before the service knows. */
  readonly moment: "before" | "after";
}

interface Stored {
  readonly sessions: SessionRecord[];
  readonly messages: MessageRecord[];
  readonly users: UserRecord[];
  readonly forks: ForkRecord[];
}

export interface Fixture extends Stored {
  /** What each probe answers before the operation, and after it. */
  readonly before: View;
  readonly after: View;
  /** The writes of the operation, in order. */
  readonly steps: readonly string[];
}

export type View = Readonly<Record<string, string>>;

export interface Crash {
  /** Whether it came to the step at all. */
  readonly hit: boolean;
  /** How many writes it has sent, of those that are counted as steps. */
  readonly writes: number;
  readonly reads: number;
  readonly violations: string[];
}

/**
 * A database of its own with two services: one that dies, anew each time, and one that lives on. The latter answers the
 * readers, and its purger, which is held up meanwhile, finishes what was begun.
 */
export interface Lane {
  /** Makes the operation's fixture, and does it once without a fault. */
  rehearse(operation: Operation): Promise<Fixture>;
  /** Does it with a service that dies at this step. */
  crash(operation: Operation, fixture: Fixture, step: Step): Promise<Crash>;
  /** Starts a service that dies at this step of its start, on a database without indexes; another is started then. */
  crashAtStart(step: Step): Promise<Crash>;
  stop(): Promise<void>;
}

const WRITES = new Set(["insert", "update", "delete", "findAndModify", "bulkWrite", "commitTransaction"]);

const isStep = ({ name, target }: Command): boolean => WRITES.has(name) && target !== "leases";
const isIndexing = ({ name }: Command): boolean => name === "createIndexes";

const EMPTY: Stored = { sessions: [], messages: [], users: [], forks: [] };

const firstMemory = async ({ memory }: Api): Promise<unknown> =>
  (await memory.getMemory({ sessionId: "first" })).messages.map(({ content }) => content);

interface Victim {
  readonly proxy: CommandProxy;
  readonly turns: Gate;
  readonly service: RunningService;
}

export async function startLane(mongodbUri: string): Promise<Lane> {
  const databaseName = `crash-${randomUUID()}`;
  const database = openDatabase({ uri: mongodbUri, database: databaseName });
  await database.ping();

  const start = async (env: Record<string, string> = {}): Promise<Victim> => {
    const proxy = await startCommandProxy(mongodbUri);
    const turns = closedGate();
    proxy.passage = turns.passage();
    const service = await startProcess({
      MONGODB_URI: proxy.uri,
      MONGODB_DATABASE: databaseName,
      // Passes come often, and each waits at the gate.
      SESSIONS_PURGE_INTERVAL: "100ms",
      ...env,
    });
    return { proxy, turns, service };
  };
  const survivor = await start();
  // Without turns of their own: what they do is what they are asked to.
  const spare: Record<"asked" | "byItself", Promise<Victim>[]> = { asked: [], byItself: [] };
  const nextVictim = (kind: "asked" | "byItself"): Promise<Victim> => {
    const begin = () => start(kind === "asked" ? { SESSIONS_PURGE_INTERVAL: "1d" } : {});
    const victim = spare[kind].shift() ?? begin();
    spare[kind].push(begin());
    return victim;
  };
  const dispose = async ({ service, proxy }: Victim): Promise<void> => {
    service.kill();
    await service.exited;
    await proxy.stop();
  };

  const look = async ({ probes }: Operation): Promise<View> => {
    const seen = Object.entries(probes).map(async ([name, probe]) => [name, await seenBy(probe, survivor.service)]);
    return Object.fromEntries(await Promise.all(seen));
  };
  const store = async ({ sessions, messages, users, forks }: Stored): Promise<void> => {
    const { erasures } = database;
    for (const collection of [database.sessions, database.messages, database.users, database.forks, erasures]) {
      await collection.deleteMany({});
    }
    if (users.length > 0) await database.users.insertMany(users);
    if (sessions.length > 0) await database.sessions.insertMany(sessions);
    if (messages.length > 0) await database.messages.insertMany(messages);
    if (forks.length > 0) await database.forks.insertMany(forks);
  };
  const settled = (): Promise<true> => eventually("all work is done", () => isSettled(database));
  const actWith = async (victim: Victim, { act }: Operation): Promise<void> => {
    if (act) await act(victim.service);
    else victim.turns.open();
  };

  return {
    async rehearse(operation) {
      await store(EMPTY);
      survivor.turns.open();
      await operation.prepare(survivor.service);
      await settled();
      await survivor.turns.close();
      await operation.alter?.(database);
      const fixture = {
        sessions: await database.sessions.find().toArray(),
        messages: await database.messages.find().toArray(),
        users: await database.users.find().toArray(),
        forks: await database.forks.find().toArray(),
        before: await look(operation),
      };
      const victim = await nextVictim(operation.act ? "asked" : "byItself");
      const steps: string[] = [];
      try {
        victim.proxy.passage = victim.turns.passage({
          after: (command) => {
            if (isStep(command))
              steps.push(`${command.name} ${command.name === "commitTransaction" ? "" : command.target}`.trim());
          },
        });
        await actWith(victim, operation);
        await settled();
        // Its last answer may still be on its way through the proxy.
        await eventually("no more steps", async () => {
          const before = steps.length;
          await look(operation);
          return steps.length === before;
        });
        const faults = await faultsOf(database);
        if (faults.length > 0) throw new Error(`without any crash: ${faults.join("; ")}`);
      } finally {
        await dispose(victim);
      }
      return { ...fixture, after: await look(operation), steps };
    },

    async crash(operation, fixture, step) {
      const victim = await nextVictim(operation.act ? "asked" : "byItself");
      await store(fixture);
      const watch = watchViews(() => look(operation));
      try {
        const death = arm(victim, victim.service.kill, step, isStep);
        const acted = actWith(victim, operation).catch(() => {});
        const hit = await Promise.race([death.hit, acted.then(settled).then(() => false)]);
        await dispose(victim);
        await death.abortTransactions(database);
        await abandonClaims(database);
        survivor.turns.open();
        await settled();
        const violations = [...(await faultsOf(database))];
        const views = await watch.stop();

        const last = await look(operation);
        violations.push(...judge([...views, last], fixture));
        const side = sideOf(last, fixture);
        if (side === undefined && !operation.inParts)
          violations.push(`ends neither as before nor as after: ${JSON.stringify(last)}`);
        if (side !== "after" && operation.act) {
          // Nothing has happened, then, or a part. Whoever asks again gets it.
          await operation.act(survivor.service);
          await settled();
          const again = await look(operation);
          if (sideOf(again, fixture) !== "after") violations.push(`asked again: ${JSON.stringify(again)}`);
          violations.push(...(await faultsOf(database)));
        }
        await survivor.turns.close();
        return { hit, writes: death.writes(), reads: views.length * Object.keys(fixture.before).length, violations };
      } finally {
        await watch.stop();
        await dispose(victim);
      }
    },

    async crashAtStart(step) {
      const { sessions, messages, users, erasures, leases } = database;
      await store(EMPTY);
      await survivor.service.memory.addMemory({ sessionId: "first", messages: [{ content: "text" }] });
      for (const collection of [sessions, messages, users, erasures, leases]) await collection.dropIndexes();
      const look = async (): Promise<View> => ({ memory: await seenBy(firstMemory, survivor.service) });
      const before = await look();
      const watch = watchViews(look);

      const proxy = await startCommandProxy(mongodbUri);
      const turns = closedGate();
      let death: ReturnType<typeof arm> | undefined;
      const env = { MONGODB_URI: proxy.uri, MONGODB_DATABASE: databaseName };
      const victim = await startProcess(env, (kill) => {
        death = arm({ proxy, turns }, kill, step, isIndexing);
      }).catch(() => undefined);
      // One that could not reach the database in time is ready before it has made its indexes, and dies later.
      const hit = await Promise.race([death?.hit, sleep(10_000, false, { ref: false })]);
      victim?.kill();
      await proxy.stop();

      const next = await startProcess({ MONGODB_URI: mongodbUri, MONGODB_DATABASE: databaseName });
      const views = await watch.stop();
      const violations = judge(views, { before, after: before });
      for (const [name, indexes] of Object.entries(INDEXES)) {
        const there = (await database.db.collection(name).indexes()).map((index) => index.name);
        const missing = indexes.filter((index) => !there.includes(index.name)).map((index) => index.name);
        if (missing.length > 0) violations.push(`without the indexes ${missing} of ${name}`);
      }
      if ((await seenBy(firstMemory, next)) !== before.memory) violations.push("the next service sees something else");
      next.kill();
      await next.exited;
      return { hit: hit === true, writes: death?.writes() ?? 0, reads: views.length, violations };
    },

    async stop() {
      const victims = await Promise.all([...spare.asked, ...spare.byItself]);
      await Promise.all([survivor, ...victims].map(dispose));
      await database.db.dropDatabase();
      await database.close();
    },
  };
}

/** Kills the service at this step, counted from now. */
function arm(
  { proxy, turns }: Pick<Victim, "proxy" | "turns">,
  killService: () => void,
  { number, moment }: Step,
  counts: (command: Command) => boolean,
) {
  const transactions = new Map<string, unknown>();
  const numbers = new Map<Command, number>();
  let strike = (_: true): void => {};
  const hit = new Promise<true>((resolve) => {
    strike = resolve;
  });
  const kill = (): void => {
    killService();
    proxy.freeze();
    strike(true);
  };
  proxy.passage = turns.passage({
    before(command) {
      if (command.body.autocommit === false) transactions.set(String(command.body.lsid.id), command.body.lsid);
      if (!counts(command)) return;
      numbers.set(command, numbers.size + 1);
      if (moment === "before" && numbers.size === number) kill();
    },
    after(command) {
      if (moment === "after" && numbers.get(command) === number) kill();
    },
  });
  return {
    hit,
    writes: () => numbers.size,
    /** What the database does by itself after `transactionLifetimeLimitSeconds`: what the dead had open is in nobody's way then. */
    async abortTransactions({ client }: Database) {
      const killSessions = [...transactions.values()].map((lsid) => ({ id: (lsid as { id: unknown }).id }));
      // Naming none would kill those of everybody.
      if (killSessions.length > 0) await client.db("admin").command({ killSessions });
    },
  };
}

/** Lets the minute pass after which a restoration or a copy that went no further counts as abandoned. */
async function abandonClaims({ sessions, forks }: Database): Promise<void> {
  await forks.updateMany({ aliveTime: { $gt: NO_TIME } }, { $set: { aliveTime: new Date(Date.now() - 61_000) } });
  await sessions.updateMany(
    { "retired.task": "unmark" },
    { $set: { "retired.$[claim].claimTime": new Date(Date.now() - 61_000) } },
    { arrayFilters: [{ "claim.task": "unmark" }] },
  );
}

async function seenBy(probe: (api: Api) => Promise<unknown>, api: Api): Promise<string> {
  try {
    return JSON.stringify(await probe(api));
  } catch (error) {
    return error instanceof Error && "metadata" in error ? decodeFailure(error as ServiceError).code : String(error);
  }
}

/** Looks again and again until it is stopped. */
function watchViews(look: () => Promise<View>): { stop(): Promise<View[]> } {
  const views: View[] = [];
  let stopped = false;
  const watching = (async () => {
    while (!stopped) {
      views.push(await look());
      await sleep(20);
    }
  })();
  return {
    async stop() {
      stopped = true;
      await watching;
      return views;
    },
  };
}

function judge(views: readonly View[], { before, after }: Pick<Fixture, "before" | "after">): string[] {
  return Object.keys(before).flatMap((name) => {
    const seen = views.map((view) => view[name]).filter((value, index, all) => value !== all[index - 1]);
    const strange = seen.filter((value) => value !== before[name] && value !== after[name]);
    if (strange.length > 0) return [`${name}: ${strange[0]}, neither ${before[name]} nor ${after[name]}`];
    return seen.join() === seen.slice(-2).join() && seen[0] !== undefined && isForward(seen, before[name])
      ? []
      : [`${name} went back and forth: ${seen.join(", ")}`];
  });
}

const isForward = (seen: readonly (string | undefined)[], before: string | undefined): boolean =>
  seen.length === 1 || seen[0] === before;

/** On which side of the operation all probes are; those that it does not change are on both. */
function sideOf(view: View, { before, after }: Fixture): "before" | "after" | undefined {
  const names = Object.keys(before);
  if (names.every((name) => view[name] === after[name])) return "after";
  if (names.every((name) => view[name] === before[name])) return "before";
  return undefined;
}

/** Where the purger waits for its turn: its wish for the lease is held up on the wire. */
interface Gate {
  passage(then?: CommandProxy["passage"]): CommandProxy["passage"];
  open(): void;
  /** Resolves when the purger has come to wait again, and so does nothing any more. */
  close(): Promise<void>;
}

function closedGate(): Gate {
  let opened: { readonly promise: Promise<void>; resolve(): void } | undefined = latch();
  let arrived = latch();
  /** A pass also renews its lease on the way; only who wants a new one has nothing under way. */
  let inPass = false;
  const isWish = ({ target, name }: Command): boolean => target === "leases" && name === "findAndModify";
  // Who deletes what has expired has no last command, and nothing under way once nothing is due any more.
  const isTurn = (command: Command): boolean => isWish(command) && command.body.query?._id === "purger";
  const isLastOfPass = ({ target, body }: Command): boolean => target === "sessions" && body.filter?.purgeTime;
  return {
    passage: (then = {}) => ({
      before(command) {
        if (!isWish(command) || !opened) return then.before?.(command);
        if (isTurn(command) && !inPass) arrived.resolve();
        return opened.promise.then(() => then.before?.(command));
      },
      after(command) {
        if (isTurn(command)) inPass = true;
        if (isLastOfPass(command)) inPass = false;
        return then.after?.(command);
      },
    }),
    open() {
      opened?.resolve();
      opened = undefined;
    },
    async close() {
      opened ??= latch();
      arrived = latch();
      // A turn that was refused, or a pass that failed, has no last command.
      await Promise.race([arrived.promise, sleep(1_000)]);
    },
  };
}

function latch(): { readonly promise: Promise<void>; resolve(): void } {
  let resolve = (): void => {};
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}
