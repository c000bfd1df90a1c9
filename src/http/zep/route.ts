import type { Call } from "../../domain/call.js";
import { Encoded } from "../../domain/encoded.js";
import type { Query } from "./query.js";

/** One method of one URL of the legacy API: one call to whoever admits, authenticates, limits and logs calls. */
export type Route = CallRoute | ListRoute;

interface Named {
  readonly method: "GET" | "POST" | "PATCH" | "DELETE";
  /** Below `/api/v1`. */
  readonly url: string;
  /** What the call is called in the log and in the table of roles: `/zep.v1/GetMemory`. */
  readonly path: string;
}

export interface CallRoute extends Named {
  /** Of its answers, where that is not 200. */
  readonly status?: number;
  /** Set where the work grows with what is stored: then only its steps are bounded in time, not the whole. */
  readonly isUnbounded?: true;
  /** The text to answer with. */
  run(request: Incoming, call: Call): Promise<string>;
}

/** Answers with a list of any length, in the pieces of a JSON text. */
export interface ListRoute extends Named {
  list(request: Incoming, call: Call): AsyncGenerator<string, void>;
}

export interface Incoming {
  /** The ids in the path. */
  readonly ids: Readonly<Record<"id" | "uuid", string>>;
  readonly query: Query;
  readonly body: Uint8Array;
  /** The connection that it came by. */
  readonly connection: object;
}

export const OK = "OK";

/** An answer in JSON, which the legacy server ends with a newline. */
export function json(value: object): string {
  return `${JSON.stringify(value)}\n`;
}

/** What a service has answered, decoded where it was encoded already. */
export function decoded<T>(codec: { decode(bytes: Uint8Array): T }, answer: T | Encoded<T>): T {
  return answer instanceof Encoded ? codec.decode(answer.bytes) : answer;
}
