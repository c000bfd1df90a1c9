import { Server, ServerCredentials } from "@grpc/grpc-js";
import type { Admission } from "../calls/admission/index.js";
import type { Authentication } from "../calls/authentication.js";
import type { Address, Door } from "../calls/door.js";
import type { Execution } from "../calls/execution.js";
import type { Operation } from "../calls/operations.js";
import { MAX_REQUEST_BYTES } from "../domain/limits.js";
import type { FollowedTls } from "../tls/followed.js";
import { adapt } from "./adapter.js";
import { admitted } from "./admission.js";
import { authenticated } from "./authentication.js";
import { createCompressedResponses } from "./compressed-responses.js";
import { takeLongDeadlinesAsNone } from "./long-deadlines.js";
import { ownWays } from "./own-ways.js";
import { createStandardServices } from "./standard-services.js";
import { tlsCredentials } from "./tls.js";
import { answerUnknownMethods } from "./unknown-methods.js";
import { dropUnread } from "./unread.js";

export interface GrpcDoorOptions {
  readonly operations: readonly Operation[];
  /** Files that describe the API, for reflection. */
  readonly descriptors: readonly URL[];
  readonly authentication: Authentication;
  readonly admission: Admission;
  readonly execution: Execution;
  /** Undefined: no encryption. */
  readonly tls: FollowedTls | undefined;
  /** Responses of so many bytes or more are packed for those who take them so; undefined for none. */
  readonly compressAbove: number | undefined;
  /** Whether other processes listen on the same address. */
  readonly isWorker: boolean;
}

const CONNECTION_AGE_MS = 300_000;

export interface GrpcDoor extends Door {
  /** What probes are told. */
  setServing(serving: boolean): void;
}

/** The door for gRPC. Rejects when it cannot listen. */
export async function openGrpcDoor(listen: Address, options: GrpcDoorOptions): Promise<GrpcDoor> {
  const { operations, authentication, admission, execution, tls, compressAbove, isWorker } = options;
  const services = new Set(operations.map(({ path }) => serviceOf(path)));
  /** Health and reflection are not: who asks whether a loaded process is well must get an answer. */
  const isSubject = (path: string): boolean => services.has(serviceOf(path));
  const endless = new Set(operations.filter((operation) => operation.endless).map(({ path }) => path));
  const responses = compressAbove === undefined ? undefined : createCompressedResponses(compressAbove);
  const { interceptors, callerOf } = authenticated(authentication);
  const server = new Server({
    interceptors: [
      ownWays(responses),
      dropUnread,
      ...interceptors,
      admitted(admission, isSubject, callerOf, (path) => endless.has(path)),
    ],
    "grpc.max_receive_message_length": MAX_REQUEST_BYTES,
    // Finds clients that vanished without a word within 80 s, so that their streams do not stay for ever.
    "grpc.keepalive_time_ms": 60_000,
    "grpc.keepalive_timeout_ms": 20_000,
    // Bounds what one connection may hold in the server's memory, in MB; by default it is next to unlimited.
    "grpc-node.max_session_memory": 64,
    "grpc.max_concurrent_streams": 1_000,
    // A connection stays with one worker: clients are asked to connect anew now and then, and so come to others.
    ...(isWorker && { "grpc.max_connection_age_ms": CONNECTION_AGE_MS }),
  });
  server.addService(...adapt(operations, { execution, callerOf }));
  const standard = createStandardServices([...services], options.descriptors);
  standard.addTo(server);

  const credentials = tls ? tlsCredentials(tls) : ServerCredentials.createInsecure();
  const port = await bind(server, listen, credentials);
  takeLongDeadlinesAsNone(server);
  answerUnknownMethods(server);
  responses?.follow(server);
  return {
    address: `${listen.host}:${port}`,
    setServing: standard.setServing,
    drain() {
      standard.endStreams();
      return new Promise((resolve) => server.tryShutdown(() => resolve()));
    },
    close: () => server.forceShutdown(),
  };
}

/** `/sessions.v1.SessionService/GetSession` → `sessions.v1.SessionService` */
function serviceOf(path: string): string {
  return path.slice(1, path.lastIndexOf("/"));
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
