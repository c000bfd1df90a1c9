import { setLogger } from "@grpc/grpc-js";
import type { Logger } from "pino";
import { isLoopback } from "./config/auth.js";
import { type Config, ConfigError, readConfig } from "./config/index.js";
import { LocalMongoError, startLocalMongo } from "./local/index.js";
import { metricsOfAllWorkers } from "./observability/all-workers.js";
import { createLog } from "./observability/log.js";
import { createProcessMetrics } from "./observability/process-metrics.js";
import type { RunningTraces } from "./observability/traces.js";
import { startServer } from "./server.js";
import { openDatabase } from "./store/database.js";
import { isWorker, type Ready, startWorkers, tellReady } from "./workers.js";

/** The process: environment, signals, exit code. Nothing else reads `process.env`. */

/** EX_CONFIG of sysexits.h: the environment has mistakes. */
const EXIT_CONFIG = 78;
const EXIT_FAILURE = 1;

/** How long after a signal another one still counts as the same. */
const PATIENCE_MS = 1_000;

function configOrExit(): Config {
  try {
    return readConfig(process.env, process.stdout.isTTY === true);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const mistake of error.mistakes) process.stderr.write(`configuration: ${mistake}\n`);
    process.exit(EXIT_CONFIG);
  }
}

async function run(config: Config): Promise<void> {
  let traces: RunningTraces | undefined;
  const log = createLog({
    level: config.logLevel,
    format: config.logFormat,
    more: config.traces ? () => traces?.ids() ?? {} : undefined,
  });
  // What grpc-js writes to stderr by itself comes back as an error or a status, and is told as such.
  const debug = (message: unknown) => log.debug(withoutCredential(String(message)));
  setLogger({ error: debug, info: debug, debug });
  // Each resource pushes its end as it opens; they run in reverse, whether the start succeeded or not.
  const ends: (() => Promise<void>)[] = [];
  let ending: Promise<void> | undefined;
  const endAll = (): Promise<void> => {
    ending ??= (async () => {
      for (const end of ends.reverse()) {
        await end().catch((error: unknown) => log.error({ err: error }, "an end failed"));
      }
    })();
    return ending;
  };
  const stopOn = (signal: NodeJS.Signals): void => {
    let first = 0;
    process.on(signal, () => {
      // Ctrl-C under npm arrives twice at once, from the terminal and from npm; who asks again later has had enough.
      if (first !== 0 && Date.now() - first < PATIENCE_MS) return;
      if (first !== 0) process.exit(EXIT_FAILURE);
      first = Date.now();
      log.info({ signal }, "stopping");
      void endAll().then(() => {
        log.info("stopped");
        process.exit(0);
      });
    });
  };
  stopOn("SIGTERM");
  stopOn("SIGINT");

  try {
    const uri = config.mongodbUri ?? (await startLocal(config, log, ends));
    if (ending) return;
    if (!isWorker()) warnIfOpen(config, log);
    const isServing = config.workers === 1 || isWorker();
    if (isServing) traces = await followCalls(config, log, ends);
    const ready = isServing ? serve(config, uri, log, ends, traces) : startAll(config, uri, log, ends);
    const addresses = await ready;
    if (!ending && !tellReady(addresses)) log.info(addresses, "ready");
  } catch (error) {
    log.fatal(startFailure(error));
    await endAll();
    process.exit(EXIT_FAILURE);
  }
}

/** OpenTelemetry is large: it is loaded only where it is wanted. */
async function followCalls(
  config: Config,
  log: Logger,
  ends: (() => Promise<void>)[],
): Promise<RunningTraces | undefined> {
  if (!config.traces) return undefined;
  const { startTraces } = await import("./observability/traces.js");
  const traces = startTraces(log, config.shutdownGraceMs);
  if (traces) ends.push(traces.stop);
  return traces;
}

/** Serves in this process. */
async function serve(
  config: Config,
  uri: string,
  log: Logger,
  ends: (() => Promise<void>)[],
  traces: RunningTraces | undefined,
): Promise<Ready> {
  const database = openDatabase({ uri, database: config.mongodbDatabase, traces });
  const server = await startServer(
    {
      ...config,
      limits: config,
      database,
      log,
      isWorker: isWorker(),
      processMetrics: createProcessMetrics(),
      metricsOfAll: isWorker() ? metricsOfAllWorkers : undefined,
    },
    config.grpcListen,
  );
  ends.push(server.stop);
  return {
    grpc: server.address,
    http: server.httpAddress,
    tls: config.tls !== undefined,
    database: await server.firstContact,
  };
}

/** Serves in processes of their own. */
async function startAll(config: Config, uri: string, log: Logger, ends: (() => Promise<void>)[]): Promise<Ready> {
  const workers = startWorkers(config.workers, { MONGODB_URI: uri }, log);
  ends.push(workers.stop);
  return workers.ready;
}

async function startLocal(config: Config, log: Logger, ends: (() => Promise<void>)[]): Promise<string> {
  const local = await startLocalMongo({
    dataDir: config.dataDir,
    env: process.env,
    log: (line) => log.info(line),
  });
  let stopping = false;
  ends.push(() => {
    stopping = true;
    return local.stop();
  });
  void local.ended.then(() => {
    if (!stopping) log.error("the local MongoDB has ended by itself: restart this service to start it again");
  });
  return local.uri;
}

/** What grpc-js says of a header that it cannot take, or of all when it is told to trace, holds the header. */
function withoutCredential(message: string): string {
  return message.replace(/authorization.*/is, "authorization …");
}

function warnIfOpen({ auth, tls, grpcListen, httpListen }: Config, log: Logger): void {
  const host = [grpcListen, httpListen].flatMap((listen) => listen?.host ?? []).find((each) => !isLoopback(each));
  if (host === undefined) return;
  if (!auth) {
    const whoever = tls?.clientCa ? "has one of the client certificates" : "reaches this address";
    log.warn({ host }, `no authentication, as configured: whoever ${whoever} can read and erase everything`);
  } else if (!tls) {
    log.warn(
      { host },
      "no TLS, as configured: keys and tokens can be read on their way, unless something else encrypts",
    );
  }
}

/** One line: what went wrong is either the user's to mend, and says how, or a fault, and then its first line tells most. */
function startFailure(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return error instanceof LocalMongoError ? message : `could not start: ${message.split("\n")[0]}`;
}

await run(configOrExit());
