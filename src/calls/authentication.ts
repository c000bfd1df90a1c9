import { randomUUID } from "node:crypto";
import type { Logger } from "pino";
import { methodClosed, overloaded, roleRequired, SessionsError } from "../domain/errors.js";
import { ANYBODY, includes, type Principal, type Role } from "../domain/principal.js";
import { internal } from "./answer.js";
import { createRefusalLog } from "./refusal-log.js";

/** Who calls, and whether they still may: a stream can outlive its credential. */
export interface Caller {
  readonly principal: Principal;
  /** Rejects when they may not any more, or when nobody can tell. */
  check?(): Promise<void>;
}

/** A caller whose credential is being looked up. */
export interface Awaited {
  readonly caller: Promise<Caller>;
  /** To be called when the call is over before that. */
  leave(): void;
}

export interface Authentication {
  /** Whether a method is there for whoever asks, with no look at what they show. */
  isOpen(path: string): boolean;
  /**
   * Who calls a method, by all values of `authorization` that the call has. At once, where nobody has to be asked. Throws, or its
   * promise rejects with, the SessionsError to answer with; that is in the log then.
   */
  enter(path: string, authorization: readonly string[]): Caller | Awaited;
}

export interface AuthenticationOptions {
  /** All values of `authorization` that a call has → who calls. */
  readonly authenticate: (authorization: readonly string[]) => Principal | Promise<Principal>;
  /** What a method takes, by its path; undefined when nobody may call it. */
  readonly roleFor: (path: string) => Role | "anybody" | undefined;
  /** How many calls may wait for their credentials to be looked up. */
  readonly maxWaiting: number;
  readonly log: Logger;
  readonly onRefused?: ((path: string, error: SessionsError) => void) | undefined;
}

export const NOBODY_IN_PARTICULAR: Caller = { principal: ANYBODY };

/** Where no credentials are asked for. */
export const OPEN_TO_ALL: Authentication = { isOpen: () => true, enter: () => NOBODY_IN_PARTICULAR };

/** Lets those in whose credential is valid and may do what they ask for. */
export function createAuthentication({
  authenticate,
  roleFor,
  maxWaiting,
  log,
  onRefused,
}: AuthenticationOptions): Authentication {
  // Apart, so that a flood of those whom nobody knows does not hide the use of a key that was revoked.
  const logRefusal = { ofKnown: createRefusalLog(log), ofUnknown: createRefusalLog(log) };
  let waiting = 0;

  /** What to answer with; it has been logged. */
  const refusal = (path: string, error: unknown, principal?: Principal): SessionsError => {
    const method = path.slice(1);
    if (!(error instanceof SessionsError)) {
      const requestId = randomUUID();
      log.error({ err: error, method, request_id: requestId }, "call failed");
      return internal(requestId);
    }
    const about: { readonly project?: string } = { ...whoIs(principal), ...causeOf(error) };
    logRefusal[about.project === undefined ? "ofUnknown" : "ofKnown"](error, { method, ...about });
    onRefused?.(path, error);
    return error;
  };

  const permit = (path: string, principal: Principal): void => {
    const needed = roleFor(path);
    if (needed === undefined) throw methodClosed(principal.role);
    if (needed !== "anybody" && !includes(principal.role, needed)) throw roleRequired(principal.role, needed);
  };

  const callerOf = (path: string, authorization: readonly string[], principal: Principal): Caller => {
    try {
      permit(path, principal);
    } catch (error) {
      throw refusal(path, error, principal);
    }
    return { principal, check: async () => permit(path, await authenticate(authorization)) };
  };

  const wait = (path: string, authorization: readonly string[], found: Promise<Principal>): Awaited => {
    waiting += 1;
    let isWaiting = true;
    const leave = (): void => {
      if (isWaiting) waiting -= 1;
      isWaiting = false;
    };
    const caller = found.finally(leave).then(
      (principal) => callerOf(path, authorization, principal),
      (error: unknown) => {
        throw refusal(path, error);
      },
    );
    return { caller, leave };
  };

  return {
    isOpen: (path) => roleFor(path) === "anybody",
    enter(path, authorization) {
      let found: Principal | Promise<Principal>;
      try {
        found = authenticate(authorization);
      } catch (error) {
        throw refusal(path, error);
      }
      if (!(found instanceof Promise)) return callerOf(path, authorization, found);
      if (waiting < maxWaiting) return wait(path, authorization, found);
      found.catch(() => {});
      throw refusal(path, overloaded("calls", maxWaiting));
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
