import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import type { Logger } from "pino";
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
import type { AuthSettings } from "./config/auth.js";
import type { Address } from "./config/index.js";
import { idOf } from "./domain/keys.js";
import { MAX_REQUEST_BYTES } from "./domain/limits.js";
import { adapt } from "./rpc/adapter.js";
import { type AdmissionLimits, admission } from "./rpc/admission/index.js";
import { createPresence } from "./rpc/admission/presence.js";
import { createTurns } from "./rpc/admission/turns.js";
import { type Authentication, createAuthentication, OPEN_TO_ALL } from "./rpc/authentication.js";
import { takeLongDeadlinesAsNone } from "./rpc/long-deadlines.js";
import { ownStatuses } from "./rpc/own-statuses.js";
import { createStandardServices } from "./rpc/standard-services.js";
import { tlsCredentials } from "./rpc/tls.js";
import type { TlsFiles } from "./rpc/tls-files.js";
import { encodeMessages } from "./services/encode.js";
import { createKeyService } from "./services/key.js";
import { createMemoryService } from "./services/memory.js";
import { createPurgeService } from "./services/purge.js";
import { createPurger } from "./services/purger.js";
import { withinReach } from "./services/reach.js";
import { createRestoreSession } from "./services/restoration.js";
import { createSessionService } from "./services/session.js";
import { createUserService } from "./services/user.js";
import type { Database } from "./store/database.js";
import { watchDatabase } from "./store/database-watch.js";
import { createGroupCommit } from "./store/group-commit.js";
import { createKeyStore, type KeyStore } from "./store/keys.js";
import { createKnownSessions } from "./store/known/sessions.js";
import { takeLease } from "./store/lease.js";
import { createMemoryReader } from "./store/memory.js";
import { createMessageReader } from "./store/messages.js";
import { createRetirement } from "./store/retirement.js";
import { createSessionReader } from "./store/sessions.js";
import { applyChanges } from "./store/transaction.js";
import { createUserStore } from "./store/users.js";
import { createWork } from "./store/work.js";

export interface ServerDeps {
  readonly database: Database;
  readonly log: Logger;
  readonly retentionMs: number;
  readonly purgeIntervalMs: number;
  readonly memoryWindow: number;
  /** What the memories that this process keeps may take; 0 keeps none. */
  readonly cacheBytes: number;
  readonly shutdownGraceMs: number;
  readonly limits: AdmissionLimits;
  /** How many calls a second one project may make of this process; undefined for as many as it likes. */
  readonly projectRate?: number | undefined;
  /** What callers show; undefined where nobody has to show anything. */
  readonly auth?: AuthSettings | undefined;
  /** Undefined: no encryption. */
  readonly tls?: TlsFiles | undefined;
  /** Whether other processes listen on the same address. */
  readonly isWorker?: boolean;
}

export interface RunningServer {
  /** Where it listens, with the port that it really has. */
  readonly address: string;
  /** Resolves when the database has been reached and prepared, or has turned out to be away. */
  readonly firstContact: Promise<"reachable" | "unreachable">;
  /** Finishes what is under way, within the grace, and closes all that was opened. */
  stop(): Promise<void>;
}

/** When the grace is over: how long the answers that say so have to get out, and then what is left to end. */
const LAST_ANSWERS_MS = 500;

const CONNECTION_AGE_MS = 300_000;

/**
 * How many chunks of streams are made at a time, which is less than there are connections to the database: a thousand who list
 * must not keep those waiting who ask for little, and who has left the queue costs nothing more.
 */
const CHUNKS_AT_A_TIME = 8;

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

/** Methods whose work grows with what is stored. Each of their steps is bounded; the whole is as long as its caller waits. */
const UNBOUNDED = new Set([
  "undeleteSession",
  "purgeSession",
  "deleteUser",
  "undeleteUser",
  "purgeUser",
  "purgeDeleted",
]);

/** The composition root: builds the house out of its parts and opens it. */
export async function startServer(deps: ServerDeps, listen: Address): Promise<RunningServer> {
  const { database, log, retentionMs } = deps;
  const known = createKnownSessions({ memoryBytes: deps.cacheBytes, usualWindow: deps.memoryWindow }, encodeMessages);
  const { changes, sessions, messages, memory, users } = withinReach({
    changes: createGroupCommit((group) => applyChanges(database, known, group)),
    sessions: createSessionReader(database),
    messages: createMessageReader(database),
    memory: createMemoryReader(database, known, encodeMessages),
    users: createUserStore(database),
  });
  const keys = createKeyStore(database);
  const retirement = createRetirement(database);
  const restoreSession = createRestoreSession({ changes, retirement });
  const purger = createPurger({
    changes,
    users,
    retirement,
    work: createWork(database),
    restoreSession,
    takeTurn: (holder) => takeLease(database, "purger", holder, deps.purgeIntervalMs),
    intervalMs: deps.purgeIntervalMs,
    onError: (err, message) => log.warn({ err }, message),
  });

  const stopStreams = new AbortController();
  const stopAll = new AbortController();
  const authentication = authenticationOf(deps, keys);
  const options = {
    log,
    callerOf: authentication.callerOf,
    stopStreams: stopStreams.signal,
    stopAll: stopAll.signal,
    unbounded: UNBOUNDED,
    chunkTurns: createTurns({ atATime: CHUNKS_AT_A_TIME }),
    callTurns: createTurns({
      atATime: CALLS_AT_A_TIME,
      atMostMs: CALL_TURN_MS,
      eachProject: true,
      unless: { presence: createPresence(TURNS_MS), modest: deps.limits.maxCalls * MODEST_PART },
    }),
  };
  const server = new Server({
    interceptors: [
      ownStatuses,
      ...authentication.interceptors,
      admission({
        limits: deps.limits,
        projectRate: deps.projectRate,
        isShared: deps.auth !== undefined,
        presence: createPresence(PLACES_MS),
        isSubject: isOurs,
        callerOf: authentication.callerOf,
        log,
      }),
    ],
    "grpc.max_receive_message_length": MAX_REQUEST_BYTES,
    // Finds clients that vanished without a word within 80 s, so that their streams do not stay for ever.
    "grpc.keepalive_time_ms": 60_000,
    "grpc.keepalive_timeout_ms": 20_000,
    // Bounds what one connection may hold in the server's memory, in MB; by default it is next to unlimited.
    "grpc-node.max_session_memory": 64,
    "grpc.max_concurrent_streams": 1_000,
    // A connection stays with one worker: clients are asked to connect anew now and then, and so come to others.
    ...(deps.isWorker && { "grpc.max_connection_age_ms": CONNECTION_AGE_MS }),
  });
  server.addService(
    ...adapt(
      SessionServiceService,
      createSessionService({ changes, sessions, users, purger, restoreSession, retentionMs }),
      options,
    ),
  );
  server.addService(
    ...adapt(
      MemoryServiceService,
      createMemoryService({
        changes,
        sessions,
        messages,
        memory,
        purger,
        retentionMs,
        memoryWindow: deps.memoryWindow,
        now: database.now,
      }),
      options,
    ),
  );
  server.addService(
    ...adapt(
      UserServiceService,
      createUserService({ users, retirement, purger, retentionMs, now: database.now }),
      options,
    ),
  );
  server.addService(...adapt(PurgeServiceService, createPurgeService({ purger, retentionMs }), options));
  server.addService(
    ...adapt(
      KeyServiceService,
      createKeyService({
        keys,
        newSecret() {
          const secret = newSecret();
          return { secret, hash: hashOf(secret) };
        },
        onChange: (change, { _id, project, name, role }, { requestId }) =>
          log.info({ key_id: idOf(_id), project, name, role, request_id: requestId }, `a key was ${change}`),
        now: database.now,
      }),
      options,
    ),
  );
  const standard = createStandardServices(SERVICE_NAMES, descriptors());
  standard.addTo(server);

  const credentials = deps.tls ? await tlsCredentials(deps.tls, log) : ServerCredentials.createInsecure();
  const port = await bind(server, listen, credentials);
  takeLongDeadlinesAsNone(server);
  const watch = watchDatabase(database, {
    onReachable() {
      purger.start();
      standard.setServing(true);
      log.info("the database is reachable");
    },
    onIndexConflict({ collection, index, found }) {
      log.warn({ collection, index, found }, "an index is not the one that this version needs: it is built anew");
    },
    onUnreachable(error) {
      standard.setServing(false);
      log.warn({ cause: String(error) }, "the database is not reachable; calls are answered UNAVAILABLE until it is");
    },
  });

  const stop = async (): Promise<void> => {
    const watching = watch.stop();
    standard.setServing(false);
    stopStreams.abort();
    standard.endStreams();
    const drained = new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
    const done = Promise.all([drained, purger.stop()]).then(() => changes.close());
    if (!(await settles(done, deps.shutdownGraceMs))) {
      stopAll.abort();
      await settles(drained, LAST_ANSWERS_MS);
    }
    server.forceShutdown();
    // Whatever still waits for the database fails now.
    await database.close();
    await settles(Promise.all([done, watching]), LAST_ANSWERS_MS);
  };
  let stopped: Promise<void> | undefined;
  return {
    address: `${listen.host}:${port}`,
    firstContact: watch.firstContact,
    stop: () => {
      stopped ??= stop();
      return stopped;
    },
  };
}

const SERVICE_NAMES = [
  "sessions.v1.SessionService",
  "sessions.v1.MemoryService",
  "sessions.v1.UserService",
  "sessions.v1.PurgeService",
  "sessions.v1.KeyService",
];

function authenticationOf({ auth, database, log, limits }: ServerDeps, keys: KeyStore): Authentication {
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
  });
}

/** Health and reflection are not: who asks whether a loaded process is well must get an answer. */
function isOurs(path: string): boolean {
  return SERVICE_NAMES.some((name) => path.startsWith(`/${name}/`));
}

/** Named in package.json, because sources and build results lie at different depths. */
function descriptors(): URL[] {
  const { resolve } = createRequire(import.meta.url);
  const files = ["sessions.binpb", "health.binpb", "errors.binpb"];
  return files.map((file) => pathToFileURL(resolve(`#descriptors/${file}`)));
}

function bind(server: Server, { host, port }: Address, credentials: ServerCredentials): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(`${host}:${port}`, credentials, (error, boundPort) =>
      error
        ? reject(new Error(`cannot listen on ${host}:${port}: ${error.message}`, { cause: error }))
        : resolve(boundPort),
    );
  });
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
