import type { Call } from "../../domain/call.js";
import { type SessionsError, scopeTooLarge } from "../../domain/errors.js";
import { idOf } from "../../domain/keys.js";
import { MAX_SCOPE_MESSAGES } from "../../domain/limits.js";
import type { Traces } from "../../domain/traces.js";
import { ScopeIndex } from "../../search/scope-index.js";
import { createGroups, type Outcome } from "../../store/groups.js";
import type { StoreObserver } from "../../store/observer.js";
import type { Scope, ScopeMoment, ScopeReader, ScopeSession } from "../../store/scope-reads.js";
import { catchUp, type KnownScope, missing } from "./catch-up.js";

/**
 * What this process knows of scopes that were searched: their indexes, as many as there is room for. Each is as old as the last
 * search of its scope, so every search first reads what the scope is now, and brings the index there. All of it can be dropped at any
 * time.
 */
export interface Scopes {
  /** Has the index of a scope looked into as it is at one moment, at which more can be read. undefined: there is nothing to search in. */
  look<T>(call: Call, scope: Scope, into: (at: Look) => Promise<T>): Promise<T | undefined>;
  /** What all indexes take. */
  readonly bytes: number;
}

export interface Look {
  readonly index: ScopeIndex;
  readonly moment: ScopeMoment;
  /** The sessions of the scope, by their keys. */
  readonly sessions: ReadonlyMap<string, ScopeSession>;
}

export interface ScopesOptions {
  readonly reader: ScopeReader;
  /** What the indexes of one process may take. */
  readonly cacheBytes: number;
  /** Whose turn it is to bring an index far: what several do at a time they do no sooner. */
  readonly builds: { take<T>(project: string, signal: AbortSignal, act: () => Promise<T>): Promise<T> };
  readonly observer: StoreObserver;
  readonly traces: Traces | undefined;
}

interface Search {
  readonly call: Call;
  readonly scope: Scope;
  into(at: Look): Promise<unknown>;
}

/** Each has one search in work, or all that have come while it had another. */
const SCOPES_IN_WORK = 64;

/** To bring an index further than this is worth waiting for a turn. */
const FEW_MESSAGES = 1_000;

/** What a message takes in an index at least. */
const LEAST_BYTES = 100;

export function createScopes({ reader, cacheBytes, builds, observer, traces }: ScopesOptions): Scopes {
  /** The one used last comes last, as maps give their keys in the order in which they were put in. */
  const all = new Map<string, { readonly known: KnownScope; readonly bytes: number }>();
  let bytes = 0;

  /** Takes it out, for one alone works with an index at a time. */
  const take = (key: string): KnownScope => {
    const found = all.get(key);
    all.delete(key);
    bytes -= found?.bytes ?? 0;
    return found && !found.known.index.isWorn ? found.known : { index: new ScopeIndex(), sessions: new Map() };
  };

  const put = (key: string, known: KnownScope): void => {
    // One that is refused for its size must not cost all others theirs.
    if (known.index.bytes > cacheBytes) return;
    all.set(key, { known, bytes: known.index.bytes });
    bytes += known.index.bytes;
    for (const [oldest, { bytes: freed }] of all) {
      if (bytes <= cacheBytes) return;
      all.delete(oldest);
      bytes -= freed;
    }
  };

  const searchTogether = (searches: readonly Search[]): Promise<Outcome<unknown>[]> =>
    reader.at(searches, async (moment) => {
      const [{ call, scope }] = searches as readonly [Search];
      const sessions = await moment.sessions(scope);
      if (sessions?.length === 0) return searches.map(() => ({ result: undefined }));
      const messages = sessions?.reduce((sum, { messageCount }) => sum + messageCount, 0) ?? Number.POSITIVE_INFINITY;
      if (!sessions || messages > MAX_SCOPE_MESSAGES)
        throw tooLarge(scope, messages, { max_messages: String(MAX_SCOPE_MESSAGES) });
      const checkSize = (size: number): void => {
        if (size > cacheBytes) throw tooLarge(scope, messages, { max_index_mib: String(cacheBytes / MIB) });
      };
      checkSize(messages * LEAST_BYTES);

      const key = keyOf(scope);
      const known = take(key);
      const { signal, stopListening } = whenAllHaveGone(searches);
      try {
        const behind = missing(known, sessions);
        observer.cacheAsked(
          "index",
          known.sessions.size === 0 ? "miss" : behind === 0 ? "hit" : "partial",
          searches.length,
        );
        const bring = () => catchUp(known, sessions, moment, signal, () => checkSize(known.index.bytes));
        await (behind > FEW_MESSAGES ? builds.take(call.project, signal, bring) : bring());
        const at = { index: known.index, moment, sessions: new Map(sessions.map((one) => [one.session, one])) };
        const outcomes: Outcome<unknown>[] = [];
        for (const search of searches) outcomes.push(await outcomeOf(search, at));
        return outcomes;
      } finally {
        stopListening();
        put(key, known);
      }
    });

  const groups = createGroups<Search>(
    {
      name: "search",
      maxInFlight: SCOPES_IN_WORK,
      choose(waiting, underWay) {
        const busy = new Set(underWay.map(({ scope }) => keyOf(scope)));
        const next = waiting.find(({ scope }) => !busy.has(keyOf(scope)));
        const group = next ? waiting.filter(({ scope }) => keyOf(scope) === keyOf(next.scope)) : [];
        return { group, isFull: true };
      },
      run: searchTogether,
      onEnd: (searches, seconds) => observer.groupEnded("search", searches, seconds),
    },
    traces,
  );
  return {
    get bytes() {
      return bytes;
    },
    look: <T>(call: Call, scope: Scope, into: (at: Look) => Promise<T>) =>
      groups.submit({ call, scope, into }) as Promise<T | undefined>,
  };
}

const MIB = 1024 * 1024;

/** Users and sessions have keys of the same form. */
const keyOf = (scope: Scope): string => ("user" in scope ? `user ${scope.user}` : `session ${scope.session}`);

function tooLarge(scope: Scope, messages: number, atMost: Parameters<typeof scopeTooLarge>[2]): SessionsError {
  const of = "user" in scope ? { user_id: idOf(scope.user) } : { session_id: idOf(scope.session) };
  return scopeTooLarge(of, messages, atMost);
}

async function outcomeOf({ call, into }: Search, at: Look): Promise<Outcome<unknown>> {
  try {
    call.signal.throwIfAborted();
    return { result: await into(at) };
  } catch (error) {
    return { error };
  }
}

/** Aborted once nobody waits any more. */
function whenAllHaveGone(searches: readonly Search[]): { readonly signal: AbortSignal; stopListening(): void } {
  const aborter = new AbortController();
  const signals = searches.map(({ call }) => call.signal);
  const look = (): void => {
    if (signals.every(({ aborted }) => aborted)) aborter.abort(signals[0]?.reason);
  };
  for (const signal of signals) signal.addEventListener("abort", look, { once: true });
  look();
  return {
    signal: aborter.signal,
    stopListening() {
      for (const signal of signals) signal.removeEventListener("abort", look);
    },
  };
}
