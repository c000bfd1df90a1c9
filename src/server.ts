import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import type { Logger } from "pino";
import type { Registry } from "prom-client";
import { KeyServiceService } from "../gen/sessions/v1/key_service.js";
import { MemoryServiceService } from "../gen/sessions/v1/memory_service.js";
import { PurgeServiceService } from "../gen/sessions/v1/purge_service.js";
import { SessionServiceService } from "../gen/sessions/v1/session_service.js";
import { UserServiceService } from "../gen/sessions/v1/user_service.js";
import { createAuthenticator } from "./auth/authenticator.js";
import { createKeyCache } from "./auth/key-cache.js";
import { hashOf, newSecret } from "./auth/keys.js";
import { roleFor } from "./auth/roles.js";
import { createTokenReader } from "./auth/tokens.js";
import { type AdmissionLimits, createAdmission } from "./calls/admission/index.js";
import { createPresence } from "./calls/admission/presence.js";
import { createTurns } from "./calls/admission/turns.js";
import { type Authentication, createAuthentication, OPEN_TO_ALL } from "./calls/authentication.js";
import type { Address, Door } from "./calls/door.js";
import { createExecution } from "./calls/execution.js";
import { requestTypesIn } from "./calls/message-types.js";
import { type Operation, operationsOf } from "./calls/operations.js";
import type { AuthSettings } from "./config/auth.js";
import { idOf } from "./domain/keys.js";
import type { EndpointSettings } from "./embeddings/endpoint.js";
import { createHttpCalls } from "./http/calls.js";
import { addConnect } from "./http/connect/index.js";
import { type Origins, openToPages } from "./http/cors.js";
import { healthRoom } from "./http/health.js";
import { metricsRoom } from "./http/metrics.js";
import { openHttpDoor } from "./http/server.js";
import { zepRoom, zepRoutes } from "./http/zep/index.js";
import { type CallRecorder, CONTENT_TYPE, createMetrics, type Metrics } from "./observability/metrics.js";
import { openGrpcDoor } from "./rpc/server.js";
import { createEmbedding } from "./services/embedding.js";
import { encodeMessages } from "./services/encode.js";
import type { Services } from "./services/index.js";
import { createKeyService } from "./services/key.js";
import { createMemoryService } from "./services/memory/memory.js";
import { createExpirer } from "./services/purging/expirer.js";
import { createPurgeService } from "./services/purging/purge.js";
import { watchPurgeLag } from "./services/purging/purge-lag.js";
import { createPurger } from "./services/purging/purger.js";
import { createRestoreSession } from "./services/purging/restoration.js";
import { withinReach } from "./services/reach.js";
import { createSearchService } from "./services/search/index.js";
import { createScopes } from "./services/search/scopes.js";
import { createForkService } from "./services/session/fork.js";
import { createMakeSession } from "./services/session/new-session.js";
import { createSessionService } from "./services/session/session.js";
import { createUserService } from "./services/user.js";
import { createAnswers } from "./services/watch/answers.js";
import { createHub } from "./services/watch/hub.js";
import { createWatchService } from "./services/watch/index.js";
import { createGroupCommit } from "./store/changes/group-commit.js";
import { applyChanges } from "./store/changes/transaction.js";
import type { Database } from "./store/database.js";
import { watchDatabase } from "./store/database-watch.js";
import { createErasureReader } from "./store/erasing/erasures.js";
import { takeLease } from "./store/erasing/lease.js";
import { createRetirement } from "./store/erasing/retirement.js";
import { createWork } from "./store/erasing/work.js";
import { createForkStore } from "./store/forks/forks.js";
import { createKeyStore, type KeyStore } from "./store/keys.js";
import { createKnownSessions } from "./store/known/sessions.js";
import { createMemoryReader } from "./store/memory.js";
import { createMessageReader } from "./store/messages.js";
import { createScopeReader } from "./store/scope-reads.js";
import { createSessionReader } from "./store/sessions.js";
import { createUserStore } from "./store/users.js";
import { openChanges } from "./store/watching/change-stream.js";
import { createWatchReader } from "./store/watching/reads.js";
import type { TlsFiles } from "./tls/files.js";
import { followTls } from "./tls/followed.js";

export interface ServerDeps {
  readonly database: Database;
  readonly log: Logger;
  readonly retentionMs: number;
  readonly purgeIntervalMs: number;
  /** After which time without an addition new sessions expire that say nothing; undefined: never. */
  readonly defaultIdleTtlMs?: number | undefined;
  readonly memoryWindow: number;
  /** What the memories that this process keeps may take; 0 keeps none. */
  readonly cacheBytes: number;
  /** What the indexes that this process keeps for searches may take. */
  readonly searchCacheBytes: number;
  readonly shutdownGraceMs: number;
  /** Where the HTTP side listens; undefined for nowhere. */
  readonly httpListen?: Address | undefined;
  /** Whether it has the legacy API. */
  readonly zepApi?: boolean;
  /** Whose web pages may call the HTTP side. Default: nobody's. */
  readonly corsOrigins?: Origins;
  readonly limits: AdmissionLimits;
  /** How many calls a second one project may make of this process; undefined for as many as it likes. */
  readonly projectRate?: number | undefined;
  /** What turns texts into vectors, for searches by meaning; undefined where nothing does. */
  readonly embeddings?: EndpointSettings | undefined;
  /** What callers show; undefined where nobody has to show anything. */
  readonly auth?: AuthSettings | undefined;
  /** gRPC responses of so many bytes or more are compressed for those who take them so; undefined for none. */
  readonly compressAbove?: number | undefined;
  /** Undefined: no encryption. */
  readonly tls?: TlsFiles | undefined;
  /** Whether other processes listen on the same address. */
  readonly isWorker?: boolean;
  /** Figures of the process, to be told with the service's own. */
  readonly processMetrics?: Registry;
  /** With several processes on one address: makes out of what tells of this one what tells of all. */
  readonly metricsOfAll?: ((report: Metrics["report"]) => Metrics["text"]) | undefined;
}

export interface RunningServer {
  /** Where it listens for gRPC, with the port that it really has. */
  readonly address: string;
  /** The same for HTTP; undefined when it does not. */
  readonly httpAddress: string | undefined;
  /** Resolves when the database has been reached and prepared, or has turned out to be away. */
  readonly firstContact: Promise<"reachable" | "unreachable">;
  /** Finishes what is under way, within the grace, and closes all that was opened. */
  stop(): Promise<void>;
}

/** When the grace is over: how long the answers that say so have to get out, and then what is left to end. */
const LAST_ANSWERS_MS = 500;

/**
 * How many chunks of streams are made at a time, which is less than there are connections to the database: a thousand who list
 * must not keep those waiting who ask for little, and who has left the queue costs nothing more.
 */
const CHUNKS_AT_A_TIME = 8;

/** How many search indexes are built at a time: they share one processor, and several are done no sooner. */
const BUILDS_AT_A_TIME = 1;

/** How many parts of memories are copied at a time, of all forks: they take the database from the others. */
const COPIES_AT_A_TIME = 1;

/**
 * How many calls are worked at at a time of a project that takes all it can get, which is more than this part of all places, while
 * others call: so few that who calls seldom does not wait behind all that it has sent. What takes longer than the turn waits for
 * something of its own. Projects with less in hand are not held back, for the larger groups are the less each call costs.
 */
const CALLS_AT_A_TIME = 4;
const CALL_TURN_MS = 100;
const MODEST_PART = 1 / 8;

/** For how long places are kept for others who have called, and turns taken with them. */
const PLACES_MS = 10_000;
const TURNS_MS = 1_000;

/**
 * Methods whose work grows with what is stored. Each of their steps is bounded; the whole is as long as its caller waits. And those whose
 * streams have no end of their own.
 */
const UNUSUAL = {
  endless: new Set(["watchSessions"]),
  unbounded: new Set([
    "undeleteSession",
    "purgeSession",
    "deleteUser",
    "undeleteUser",
    "purgeUser",
    "purgeDeleted",
    "forkSession",
  ]),
};

/** The composition root: builds the house out of its parts and opens it. */
export async function startServer(deps: ServerDeps, listen: Address): Promise<RunningServer> {
  const { database, log, retentionMs } = deps;
  const known = createKnownSessions({ memoryBytes: deps.cacheBytes, usualWindow: deps.memoryWindow }, encodeMessages);
  const metrics = createMetrics({
    version: ownVersion(),
    figures: () => ({
      requestBytes: admission.requestBytes,
      cache: known.size(),
      searchIndexBytes: scopes.bytes,
      watchers: hub.figures,
    }),
    process: deps.processMetrics,
  });
  const builds = createTurns({ atATime: BUILDS_AT_A_TIME });
  const groupCommit = createGroupCommit(
    (group) => applyChanges(database, known, group, metrics.store),
    database.traces,
    metrics.store,
  );
  const embedding =
    deps.embeddings && createEmbedding(deps.embeddings, { database, log, observer: metrics.embeddings });
  const forkStore = createForkStore(database);
  const { changes, sessions, messages, memory, users, scopes, forks } = withinReach({
    changes: embedding?.noting(groupCommit) ?? groupCommit,
    sessions: createSessionReader(database, metrics.store),
    messages: createMessageReader(database),
    memory: createMemoryReader(database, known, encodeMessages, metrics.store),
    users: createUserStore(database),
    forks: embedding?.notingForks(forkStore) ?? forkStore,
    scopes: createScopes({
      reader: createScopeReader(database),
      cacheBytes: deps.searchCacheBytes,
      builds,
      observer: metrics.store,
      traces: database.traces,
    }),
  });
  const keys = createKeyStore(database);
  const retirement = createRetirement(database, metrics.store);
  const work = createWork(database);
  const restoreSession = createRestoreSession({ changes, retirement });
  const purger = createPurger({
    changes,
    users,
    retirement,
    work,
    restoreSession,
    takeTurn: (holder) => takeLease(database, "purger", holder, deps.purgeIntervalMs),
    intervalMs: deps.purgeIntervalMs,
    onError: (err, message) => log.warn({ err }, message),
  });

  const purgeLag = watchPurgeLag({ work, intervalMs: deps.purgeIntervalMs, onLag: metrics.lagIs });
  const expirer = createExpirer({
    changes,
    work,
    nudge: purger.nudge,
    takeTurn: (holder, forMs) => takeLease(database, "expirer", holder, forMs),
    intervalMs: deps.purgeIntervalMs,
    retentionMs,
    onExpired: metrics.sessionExpired,
    onError: (err, message) => log.warn({ err }, message),
  });

  const watchReader = createWatchReader(database);
  const hub = createHub({
    openChanges: (after, batchSize) => openChanges(database, after, batchSize),
    reader: watchReader,
    observer: metrics.watching,
    now: database.now,
    onError: (err, message) => log.warn({ err }, message),
  });

  const { now } = database;
  const makeSession = createMakeSession(deps.defaultIdleTtlMs);
  const services: Services = {
    session: createSessionService({ changes, sessions, users, purger, restoreSession, makeSession, retentionMs, now }),
    fork: createForkService({ forks, purger, makeSession, turns: createTurns({ atATime: COPIES_AT_A_TIME }) }),
    memory: createMemoryService({
      changes,
      sessions,
      messages,
      memory,
      purger,
      makeSession,
      retentionMs,
      memoryWindow: deps.memoryWindow,
      now,
    }),
    search: createSearchService({ scopes, memory, meanings: embedding?.meanings }),
    watch: createWatchService({ hub, answers: createAnswers(watchReader) }),
    user: createUserService({ users, retirement, purger, retentionMs, now }),
    purge: createPurgeService({ purger, erasures: createErasureReader(database), retentionMs }),
    key: createKeyService({
      keys,
      newSecret() {
        const secret = newSecret();
        return { secret, hash: hashOf(secret) };
      },
      onChange: (change, { _id, project, name, role }, { requestId }) =>
        log.info({ key_id: idOf(_id), project, name, role, request_id: requestId }, `a key was ${change}`),
      now,
    }),
  };

  const stopStreams = new AbortController();
  const stopAll = new AbortController();
  const admission = createAdmission({
    limits: deps.limits,
    projectRate: deps.projectRate,
    isShared: deps.auth !== undefined,
    presence: createPresence(PLACES_MS),
    log,
    onRefused: metrics.calls.refused,
  });
  const execution = createExecution({
    log,
    traces: database.traces,
    observer: metrics.calls,
    stopStreams: stopStreams.signal,
    stopAll: stopAll.signal,
    chunkTurns: createTurns({ atATime: CHUNKS_AT_A_TIME }),
    callTurns: createTurns({
      atATime: CALLS_AT_A_TIME,
      atMostMs: CALL_TURN_MS,
      eachProject: true,
      unless: { presence: createPresence(TURNS_MS), modest: deps.limits.maxCalls * MODEST_PART },
    }),
  });
  const authentication = authenticationOf(deps, keys, metrics.calls.refused);
  const tls = deps.tls && (await followTls(deps.tls, log));
  const operations = operationsIn(services);
  const zep = deps.httpListen && deps.zepApi !== false ? zepRoutes(services) : [];
  metrics.knows([...operations, ...zep.map((route) => ({ path: route.path, streams: "list" in route }))]);
  const grpc = await openGrpcDoor(listen, {
    operations,
    descriptors: descriptors(),
    authentication,
    admission,
    execution,
    tls,
    compressAbove: deps.compressAbove,
    isWorker: deps.isWorker === true,
  });
  let isServing = false;
  const setServing = (serving: boolean): void => {
    isServing = serving;
    grpc.setServing(serving);
  };
  const doors: Door[] = [grpc];
  let http: Door | undefined;
  try {
    const calls = createHttpCalls({ authentication, admission, execution });
    const rooms = [
      metricsRoom({ figures: deps.metricsOfAll?.(metrics.report) ?? metrics.text, contentType: CONTENT_TYPE }),
      openToPages(deps.corsOrigins ?? [], [
        healthRoom({ isServing: () => isServing }),
        (app) => addConnect(app, { operations, descriptors: descriptors(), calls, log }),
        ...(zep.length > 0 ? [zepRoom({ routes: zep, calls })] : []),
      ]),
    ];
    http = deps.httpListen && (await openHttpDoor(deps.httpListen, { tls, rooms }));
    if (http) doors.push(http);
  } catch (error) {
    grpc.close();
    throw error;
  }
  const watch = watchDatabase(database, {
    onReachable() {
      purger.start();
      expirer.start();
      purgeLag.start();
      metrics.databaseIs("reachable");
      embedding?.embedder.start();
      setServing(true);
      log.info("the database is reachable");
    },
    onIndexConflict({ collection, index, found }) {
      log.warn({ collection, index, found }, "an index is not the one that this version needs: it is built anew");
    },
    onUnreachable(error) {
      metrics.databaseIs("unreachable");
      setServing(false);
      log.warn({ cause: String(error) }, "the database is not reachable; calls are answered UNAVAILABLE until it is");
    },
  });

  const stop = async (): Promise<void> => {
    const watching = watch.stop();
    setServing(false);
    stopStreams.abort();
    const drained = Promise.all(doors.map((door) => door.drain()));
    const background = [purger.stop(), expirer.stop(), purgeLag.stop(), embedding?.embedder.stop(), hub.stop()];
    const ended = [drained, ...background];
    const done = Promise.all(ended).then(() => changes.close());
    if (!(await settles(done, deps.shutdownGraceMs))) {
      stopAll.abort();
      await settles(drained, LAST_ANSWERS_MS);
    }
    for (const door of doors) door.close();
    // Whatever still waits for the database fails now.
    await database.close();
    await settles(Promise.all([done, watching]), LAST_ANSWERS_MS);
  };
  let stopped: Promise<void> | undefined;
  return {
    address: grpc.address,
    httpAddress: http?.address,
    firstContact: watch.firstContact,
    stop: () => {
      stopped ??= stop();
      return stopped;
    },
  };
}

function operationsIn({ session, fork, watch, memory, search, user, purge, key }: Services): Operation[] {
  const types = requestTypesIn(descriptors());
  return [
    ...operationsOf(SessionServiceService, { ...session, ...fork, ...watch }, UNUSUAL, types),
    ...operationsOf(MemoryServiceService, { ...memory, ...search }, UNUSUAL, types),
    ...operationsOf(UserServiceService, user, UNUSUAL, types),
    ...operationsOf(PurgeServiceService, purge, UNUSUAL, types),
    ...operationsOf(KeyServiceService, key, UNUSUAL, types),
  ];
}

function authenticationOf(
  { auth, database, log, limits }: ServerDeps,
  keys: KeyStore,
  onRefused: CallRecorder["refused"],
): Authentication {
  if (!auth) return OPEN_TO_ALL;
  return createAuthentication({
    authenticate: createAuthenticator({
      keys: auth.keys && createKeyCache(keys),
      adminKey: auth.keys?.adminKey,
      readToken: auth.tokens && createTokenReader(auth.tokens, Math.ceil(limits.maxCalls / 2)),
      now: database.now,
    }),
    roleFor,
    maxWaiting: limits.maxCalls,
    log,
    onRefused,
  });
}

function ownVersion(): string {
  const { version } = createRequire(import.meta.url)("#package") as { version: string };
  return version;
}

/** Named in package.json, because sources and build results lie at different depths. */
function descriptors(): URL[] {
  const { resolve } = createRequire(import.meta.url);
  const files = ["sessions.binpb", "health.binpb", "errors.binpb"];
  return files.map((file) => pathToFileURL(resolve(`#descriptors/${file}`)));
}

async function settles(done: Promise<unknown>, withinMs: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), withinMs);
  });
  try {
    return await Promise.race([done.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}
