import { Client, credentials, type MethodDefinition, Server, ServerCredentials } from "@grpc/grpc-js";
import { pino } from "pino";
import { onTestFinished } from "vitest";
import { Duration } from "../../gen/google/protobuf/duration.js";
import { createTurns } from "../../src/calls/admission/turns.js";
import { type AuthenticationOptions, createAuthentication, OPEN_TO_ALL } from "../../src/calls/authentication.js";
import { createExecution } from "../../src/calls/execution.js";
import { type Method, operationsOf } from "../../src/calls/operations.js";
import { MAX_REQUEST_BYTES } from "../../src/domain/limits.js";
import { adapt } from "../../src/rpc/adapter.js";
import { authenticated } from "../../src/rpc/authentication.js";
import { ownWays } from "../../src/rpc/own-ways.js";
import type { LogLine } from "../support/observed-service.js";

export interface HandMadeService {
  readonly address: string;
  readonly lines: readonly LogLine[];
  ask(): Promise<Duration>;
  /** Reads to the end. What came before a failure is in `read`. */
  stream(read?: Duration[]): Promise<Duration[]>;
}

const codec = {
  requestStream: false,
  requestSerialize: (value: Duration) => Buffer.from(Duration.encode(value).finish()),
  requestDeserialize: (bytes: Buffer) => Duration.decode(bytes),
  responseSerialize: (value: Duration) => Buffer.from(Duration.encode(value).finish()),
  responseDeserialize: (bytes: Buffer) => Duration.decode(bytes),
} as const;

const definition = {
  ask: { ...codec, path: "/test.Service/Ask", responseStream: false },
  stream: { ...codec, path: "/test.Service/Stream", responseStream: true },
} as const satisfies Record<string, MethodDefinition<Duration, Duration>>;

const TYPES = new Map(Object.values(definition).map(({ path }) => [path, { fields: [] }]));

export const SECOND: Duration = { seconds: 1, nanos: 0 };

/** What the server is made of, around methods of the test's own: for what no method of the real ones ever does. */
export async function startHandMade(parts: {
  ask?: Method<Duration, unknown>;
  stream?: Method<Duration, unknown>;
  /** Who may call; everybody if not said. */
  authentication?: Pick<AuthenticationOptions, "authenticate" | "roleFor" | "maxWaiting">;
}): Promise<HandMadeService> {
  const lines: LogLine[] = [];
  const never = new AbortController().signal;
  const log = pino({ base: undefined }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  const { ask, stream, authentication: asked } = parts;
  const { interceptors, callerOf } = authenticated(asked ? createAuthentication({ ...asked, log }) : OPEN_TO_ALL);
  const execution = createExecution({
    log,
    stopStreams: never,
    stopAll: never,
    chunkTurns: createTurns({ atATime: 8 }),
    callTurns: createTurns({ atATime: 8 }),
  });
  const server = new Server({
    interceptors: [ownWays(), ...interceptors],
    "grpc.max_receive_message_length": MAX_REQUEST_BYTES,
  });
  const nothing = () => Promise.resolve(SECOND);
  const methods = { ask: ask ?? nothing, stream: stream ?? nothing };
  server.addService(
    ...adapt(operationsOf(definition, methods, { unbounded: new Set(), endless: new Set() }, TYPES), {
      execution,
      callerOf,
    }),
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  onTestFinished(() => {
    client.close();
    server.forceShutdown();
  });
  const { requestSerialize, responseDeserialize } = codec;
  return {
    address: `127.0.0.1:${port}`,
    lines,
    ask: () =>
      new Promise((resolve, reject) => {
        client.makeUnaryRequest(definition.ask.path, requestSerialize, responseDeserialize, SECOND, (error, answer) =>
          error ? reject(error) : resolve(answer as Duration),
        );
      }),
    stream: (read = []) =>
      new Promise((resolve, reject) => {
        client
          .makeServerStreamRequest(definition.stream.path, requestSerialize, responseDeserialize, SECOND)
          .on("data", (item: Duration) => read.push(item))
          .on("error", reject)
          .on("end", () => resolve(read));
      }),
  };
}
