import { type Call, reaches } from "../domain/call.js";
import { asSeenBy } from "../domain/decision.js";
import { otherUser, sessionNotFound } from "../domain/errors.js";
import type { ForkState } from "../domain/fork.js";
import { idOf } from "../domain/keys.js";
import type { UserRecord } from "../domain/records.js";
import type { GroupCommit } from "../store/changes/group-commit.js";
import type { ForkStore } from "../store/forks/forks.js";
import type { MemoryReader } from "../store/memory.js";
import type { MessageReader } from "../store/messages.js";
import type { SessionReader } from "../store/sessions.js";
import type { UserStore } from "../store/users.js";
import type { Scopes } from "./search/scopes.js";

/**
 * The one place that says what a caller reaches who is bound to a user: to them whatever is not that user's is missing. All that the
 * services read and change goes through these doors; calls of others pass as they are.
 *
 * It is decided on the very document that a call is about, as it was read for it, or in its transaction: a session may
 * change hands at any time.
 */
export interface Stores {
  readonly changes: GroupCommit;
  readonly sessions: SessionReader;
  readonly messages: MessageReader;
  readonly memory: MemoryReader;
  readonly users: UserStore;
  readonly scopes: Scopes;
  readonly forks: ForkStore;
}

export function withinReach({ changes, sessions, messages, memory, users, scopes, forks }: Stores): Stores {
  const own: SessionReader = {
    ...sessions,
    async get(call, key, showDeleted) {
      const session = await sessions.get(call, key, showDeleted);
      return session && reaches(call, session.user?.toString()) ? session : undefined;
    },
    async getMany(call, keys) {
      const found = await sessions.getMany(call, keys);
      if (call.user === undefined) return found;
      return new Map([...found].filter(([, session]) => reaches(call, session.user?.toString())));
    },
    async page(call, listing, after, limit) {
      if (call.user !== undefined && listing.user !== call.user) return [];
      return sessions.page(call, listing, after, limit);
    },
  };
  return {
    changes: {
      close: changes.close,
      async submit(call, change, cost) {
        if (call.user === undefined) return changes.submit(call, change, cost);
        // First the session alone, as for a read of its memory.
        if (change.later && !(await own.get(call, change.session))) throw sessionNotFound(idOf(change.session));
        // What is known of a session without reading it need not tell whose it is now.
        const { adds, ...read } = change;
        return changes.submit(call, { ...read, decide: (state) => change.decide(asSeenBy(call, state)) }, cost);
      },
    },
    sessions: own,
    messages: {
      ...messages,
      async get(call, place, messageId) {
        const message = await messages.get(call, place, messageId);
        // The session was theirs when it was read; the message may have been added since, by another.
        return call.user === undefined || (await sessions.isCurrent(call, place)) ? message : undefined;
      },
    },
    memory: {
      ...memory,
      async read(call, query) {
        // First the session alone: what is not theirs costs as much as what is not there, also when its memory is large.
        if (call.user !== undefined && !(await own.get(call, query.session))) return undefined;
        const found = await memory.read(call, query);
        return found && reaches(call, found.session.user?.toString()) ? found : undefined;
      },
    },
    users: {
      ...users,
      get: (call, key) => (reaches(call, key) ? users.get(call, key) : Promise.resolve(undefined)),
      async page(call, after, limit) {
        if (call.user === undefined) return users.page(call, after, limit);
        const own = await users.get(call, call.user);
        return own && !own.deleted && isAfter(own, after) ? [own] : [];
      },
      async insert(call, user) {
        if (!reaches(call, user._id)) throw otherUser(idOf(user._id));
        return users.insert(call, user);
      },
      async change(call, key, decide) {
        return reaches(call, key) ? users.change(call, key, decide) : decide(undefined, new Date());
      },
    },
    forks: {
      ...forks,
      begin: (call, fork, decide) => forks.begin(call, fork, (state) => decide(bothAsSeenBy(call, state))),
      publish: (call, copy, decide) =>
        forks.publish(call, copy, (state, copied) => decide(bothAsSeenBy(call, state), copied)),
    },
    scopes: {
      get bytes() {
        return scopes.bytes;
      },
      async look(call, scope, into) {
        if (call.user === undefined) return scopes.look(call, scope, into);
        if ("user" in scope) return reaches(call, scope.user) ? scopes.look(call, scope, into) : undefined;
        // First the session alone, as for a read of its memory.
        if (!(await own.get(call, scope.session))) return undefined;
        return scopes.look(call, scope, async (at) =>
          reaches(call, at.sessions.get(scope.session)?.user) ? into(at) : undefined,
        );
      },
    },
  };
}

const bothAsSeenBy = (call: Call, { source, target }: ForkState): ForkState => ({
  source: asSeenBy(call, source),
  target: asSeenBy(call, target),
});

function isAfter({ createTime, _id }: UserRecord, after: readonly [number, string] | undefined): boolean {
  if (after === undefined) return true;
  const [time, key] = after;
  return createTime.getTime() > time || (createTime.getTime() === time && _id > key);
}

/**
 * The user whom a session is to belong to, given what the request says: undefined when it says nothing. Throws PERMISSION_DENIED where
 * a caller who is bound to a user names another, or nobody ("").
 */
export function ownerFor({ user }: Call, named: string | undefined): string | undefined {
  if (user === undefined) return named;
  const own = idOf(user);
  if (named !== undefined && named !== own) throw otherUser(named);
  return own;
}
