import { randomUUID } from "node:crypto";
import { type Metadata, ServerInterceptingCall, type ServerInterceptor } from "@grpc/grpc-js";
import type { Logger } from "pino";
import { methodClosed, overloaded, roleRequired, SessionsError } from "../domain/errors.js";
import { ANYBODY, includes, type Principal, type Role } from "../domain/principal.js";
import { createRefusalLog, refuse } from "./admission/refusals.js";

/** Who calls, and whether they still may: a stream can outlive its credential. */
export interface Caller {
  readonly principal: Principal;
  /** Rejects when they may not any more, or when nobody can tell. */
  check?(): Promise<void>;
}

export interface Authentication {
  /** Goes before all that looks at a request. */
  readonly interceptors: readonly ServerInterceptor[];
  /** The caller of a call that has passed, by the metadata that its handler is given. */
  callerOf(metadata: Metadata): Caller;
}

export interface AuthenticationOptions {
  /** All values of `authorization` that a call has → who calls. */
  readonly authenticate: (authorization: readonly string[]) => Principal | Promise<Principal>;
  /** What a method takes, by its path; undefined when nobody may call it. */
  readonly roleFor: (path: string) => Role | "anybody" | undefined;
  /** How many calls may wait for their credentials to be looked up. */
  readonly maxWaiting: number;
  readonly log: Logger;
}

const NOBODY_IN_PARTICULAR: Caller = { principal: ANYBODY };

/** Where no credentials are asked for. */
export const OPEN_TO_ALL: Authentication = { interceptors: [], callerOf: () => NOBODY_IN_PARTICULAR };

/**
 * Lets calls pass whose credential is valid and may do what they ask for, for every service of the process. Until a call has passed
 * nothing of its request is read: what has arrived by then waits in the connection's window, which bounds it.
 */
export function createAuthentication({
  authenticate,
  roleFor,
  maxWaiting,
  log,
}: AuthenticationOptions): Authentication {
  const callers = new WeakMap<Metadata, Caller>();
  // Apart, so that a flood of those whom nobody knows does not hide the use of a key that was revoked.
  const logRefusal = { ofKnown: createRefusalLog(log), ofUnknown: createRefusalLog(log) };
  let waiting = 0;

  const interceptor: ServerInterceptor = ({ path }, call) => {
    const needed = roleFor(path);
    if (needed === "anybody") return new ServerInterceptingCall(call);

    const permitted = (principal: Principal): Principal => {
      if (needed === undefined) throw methodClosed(principal.role);
      if (!includes(principal.role, needed)) throw roleRequired(principal.role, needed);
      return principal;
    };
    const fail = (error: unknown, principal?: Principal): void => {
      const method = path.slice(1);
      const requestId = randomUUID();
      if (error instanceof SessionsError) {
        const about: { readonly project?: string } = { ...whoIs(principal), ...causeOf(error) };
        logRefusal[about.project === undefined ? "ofUnknown" : "ofKnown"](error, { method, ...about });
      } else log.error({ err: error, method, request_id: requestId }, "call failed");
      refuse(call, error, requestId);
    };
    let stopWaiting = (): void => {};

    return new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata(metadata, pass) {
            const shown = metadata.get("authorization").map(String);
            // A secret goes no further.
            metadata.remove("authorization");
            const enter = (principal: Principal): void => {
              try {
                permitted(principal);
              } catch (error) {
                fail(error, principal);
                return;
              }
              const check = async (): Promise<void> => void permitted(await authenticate(shown));
              callers.set(metadata, { principal, check });
              pass(metadata);
            };
            try {
              const found = authenticate(shown);
              if (!(found instanceof Promise)) {
                enter(found);
                return;
              }
              if (waiting >= maxWaiting) {
                found.catch(() => {});
                throw overloaded("calls", maxWaiting);
              }
              waiting += 1;
              stopWaiting = () => {
                waiting -= 1;
                stopWaiting = () => {};
              };
              found.finally(() => stopWaiting()).then(enter, fail);
            } catch (error) {
              fail(error);
            }
          },
          onCancel() {
            stopWaiting();
          },
        }),
    });
  };

  return {
    interceptors: [interceptor],
    callerOf(metadata) {
      const caller = callers.get(metadata);
      if (!caller) throw new Error("a call has come past the authentication");
      return caller;
    },
  };
}

/** What there is to tell of a refusal besides: whose key it was, or what a library had against a token, but never what was in it. */
function causeOf({ cause }: SessionsError): object | undefined {
  if (cause instanceof Error) return { cause: String(cause) };
  return typeof cause === "object" && cause !== null ? cause : undefined;
}

/** What log lines tell of a caller. */
export function whoIs(principal: Principal | undefined): { project?: string; key_id?: string } {
  return principal ? { project: principal.project, ...(principal.keyId && { key_id: principal.keyId }) } : {};
}
