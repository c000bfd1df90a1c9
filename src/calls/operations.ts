import type { Call } from "../domain/call.js";
import { Encoded } from "../domain/encoded.js";
import { type Decoded, decoding } from "./decoding.js";
import type { MessageType } from "./message-types.js";

/** A method of the API, with all that a door needs to serve it. */
export interface Operation {
  /** As gRPC has it: `/sessions.v1.SessionService/GetSession`. */
  readonly path: string;
  /** Whether it answers with a stream. */
  readonly streams: boolean;
  /** Whether the stream has no end of its own, but waits for what happens. */
  readonly endless: boolean;
  /** How long it may take; a stream's chunks are bounded one by one. */
  readonly limitMs: number;
  decode(bytes: Uint8Array): Decoded<unknown>;
  run(request: unknown, call: Call): Promise<unknown> | AsyncGenerator<unknown, void>;
  encode(response: unknown): Buffer;
}

export type Method<Request, Response> = (
  request: Request,
  call: Call,
) => Promise<Response> | AsyncGenerator<Response, void>;

/** A service as the generated code describes it. */
export type Definition = Readonly<
  Record<
    string,
    {
      readonly path: string;
      readonly responseStream: boolean;
      // Methods, and not functions, because each takes a message of its own.
      requestDeserialize(bytes: Buffer): unknown;
      responseSerialize(response: never): Buffer;
    }
  >
>;

/** How long a call may take when its caller sets no deadline. */
export const LIMIT_MS = 10_000;

/**
 * The operations of a service. `methods` has one function for each method of the definition, by its name there. `unbounded` names
 * those whose work grows with what is stored: only their steps are bounded in time, not the whole. `endless` names those whose streams
 * have no end of their own. `requestTypes` are by their paths.
 */
export function operationsOf<D extends Definition>(
  definition: D,
  methods: { readonly [Name in keyof D]: Method<never, unknown> },
  { unbounded, endless }: Readonly<Record<"unbounded" | "endless", ReadonlySet<string>>>,
  requestTypes: ReadonlyMap<string, MessageType>,
): Operation[] {
  return Object.entries(definition).map(([name, { path, responseStream, requestDeserialize, responseSerialize }]) => {
    const requestType = requestTypes.get(path);
    if (!requestType) throw new Error(`the descriptors do not have ${path}`);
    const serialize = responseSerialize as (response: unknown) => Buffer;
    return {
      path,
      streams: responseStream,
      endless: endless.has(name),
      limitMs: responseStream || unbounded.has(name) ? Number.POSITIVE_INFINITY : LIMIT_MS,
      decode: decoding(requestDeserialize, requestType),
      run: methods[name] as unknown as Operation["run"],
      encode: (response) => (response instanceof Encoded ? response.bytes : serialize(response)),
    };
  });
}

/** The session that a request is about, for the log; undefined when it is about none. */
export function sessionOf(request: unknown): string | undefined {
  const { sessionId } = request as { sessionId?: unknown };
  return typeof sessionId === "string" && sessionId !== "" ? sessionId.slice(0, 256) : undefined;
}
