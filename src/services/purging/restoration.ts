import type { Call } from "../../domain/call.js";
import type { SessionState } from "../../domain/decision.js";
import { SessionsError } from "../../domain/errors.js";
import { newId } from "../../domain/new-id.js";
import type { SessionRecord, UserTask } from "../../domain/records.js";
import { beginRestore, finishRestore, isTaskOf } from "../../domain/session.js";
import type { GroupCommit } from "../../store/changes/group-commit.js";
import type { Retirement } from "../../store/erasing/retirement.js";

/**
 * Makes a deleted session live again with its memory; see `beginRestore`. On behalf of a user's restoration, only one that
 * this is about: the answer is nothing for any other.
 */
export type RestoreSession = (
  call: Call,
  key: string,
  onBehalf?: { readonly user: string; readonly task: UserTask },
) => Promise<SessionRecord | undefined>;

export function createRestoreSession(deps: { changes: GroupCommit; retirement: Retirement }): RestoreSession {
  const { changes, retirement } = deps;
  return async (call, key, onBehalf) => {
    const isMeant = (state: SessionState): boolean =>
      onBehalf === undefined || isTaskOf(onBehalf.user, onBehalf.task, state);
    for (;;) {
      const newToken = newId();
      const begun = await changes.submit(call, {
        session: key,
        users: (session) => [session?.user],
        decide: (state) => (isMeant(state) ? beginRestore(state, key, newToken) : { result: undefined }),
      });
      if (begun === undefined) return undefined;
      if ("live" in begun) return begun.live;
      const { token } = begun;
      await retirement.unmark(key, token);
      const restored = await changes.submit(call, {
        session: key,
        users: (session) => [session?.user],
        unmarkedCount: true,
        decide: (state) => finishRestore(state, key, token),
      });
      if (restored instanceof SessionsError) throw restored;
      if (restored) return restored;
    }
  };
}
