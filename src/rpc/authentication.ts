import { type Metadata, ServerInterceptingCall, type ServerInterceptor } from "@grpc/grpc-js";
import { type Authentication, type Caller, NOBODY_IN_PARTICULAR, OPEN_TO_ALL } from "../calls/authentication.js";
import { refuse } from "./refuse.js";

export interface CallersOfGrpc {
  /** Goes before all that looks at a request. */
  readonly interceptors: readonly ServerInterceptor[];
  /** The caller of a call that has passed, by the metadata that its handler is given. */
  callerOf(metadata: Metadata): Caller;
}

/**
 * Lets calls pass that the authentication lets in, for every service of the process. Until a call has passed nothing of its request
 * is read: what has arrived by then waits in the connection's window, which bounds it.
 */
export function authenticated(authentication: Authentication): CallersOfGrpc {
  if (authentication === OPEN_TO_ALL) return { interceptors: [], callerOf: () => NOBODY_IN_PARTICULAR };
  const callers = new WeakMap<Metadata, Caller>();

  const interceptor: ServerInterceptor = ({ path }, call) => {
    if (authentication.isOpen(path)) return new ServerInterceptingCall(call);
    let leave = (): void => {};
    return new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata(metadata, pass) {
            const shown = metadata.get("authorization").map(String);
            // A secret goes no further.
            metadata.remove("authorization");
            const enter = (caller: Caller): void => {
              callers.set(metadata, caller);
              pass(metadata);
            };
            try {
              const entered = authentication.enter(path, shown);
              if ("principal" in entered) {
                enter(entered);
                return;
              }
              leave = entered.leave;
              entered.caller.then(enter, (error: unknown) => refuse(call, error));
            } catch (error) {
              refuse(call, error);
            }
          },
          onCancel() {
            leave();
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
