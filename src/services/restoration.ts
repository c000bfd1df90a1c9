import type { Call } from "../domain/call.js";
import { SessionsError } from "../domain/errors.js";
import { newId } from "../domain/new-id.js";
import type { SessionRecord } from "../domain/records.js";
import { beginRestore, finishRestore, isTakenBy } from "../domain/session.js";
import type { GroupCommit } from "../store/group-commit.js";
import type { Retirement } from "../store/retirement.js";

/** Whose deletion must have taken a session for it to be restored with a user. */
export interface TakenBy {
  readonly user: string;
  readonly epoch: string;
}

/**
 * Makes a deleted session live again with its memory; see `beginRestore`. With `takenBy`, only one that this deletion of
 * its user took: the answer is nothing for any other.
 */
export type RestoreSession = (call: Call, key: string, takenBy?: TakenBy) => Promise<SessionRecord | undefined>;

export function createRestoreSession(deps: { changes: GroupCommit; retirement: Retirement }): RestoreSession {
  const { changes, retirement } = deps;
  return async (call, key, takenBy) => {
    const isMeant = (session: SessionRecord | undefined): boolean =>
      takenBy === undefined || isTakenBy(session, takenBy.user, takenBy.epoch);
    for (;;) {
      const newToken = newId();
      const begun = await changes.submit(call, {
        session: key,
        users: (session) => [session?.user],
        decide: (state) => (isMeant(state.session) ? beginRestore(state, key, newToken) : { result: undefined }),
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
