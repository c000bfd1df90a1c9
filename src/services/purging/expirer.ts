import { randomUUID } from "node:crypto";
import { ownCall } from "../../domain/call.js";
import { expireSession } from "../../domain/session.js";
import type { GroupCommit } from "../../store/changes/group-commit.js";
import type { Work } from "../../store/erasing/work.js";
import { leavingFailures } from "../concurrently.js";
import type { Purger } from "./purger.js";

/**
 * Deletes sessions whose moment has come, by a rhythm of its own: what the purger does may take hours, and an expired session must not
 * wait for it. Each is looked at again in the transaction that deletes it, by the database's clock, so who adds to one at the same time
 * either moves its moment or revives it.
 */
export interface Expirer {
  /** One look for all that is due now. */
  pass(): Promise<void>;
  /** Begins to look by its own rhythm; once is enough, more does no harm. */
  start(): void;
  stop(): Promise<void>;
}

export interface ExpirerDeps {
  readonly changes: GroupCommit;
  readonly work: Pick<Work, "now" | "sessionsExpiring">;
  /** Marks the memory of what has been deleted. */
  readonly nudge: Purger["nudge"];
  /** Whether this process may delete what is due, for so long; it spares work when there are several. */
  readonly takeTurn: (holder: string, forMs: number) => Promise<boolean>;
  /** Within this time after its moment a session is deleted, unless more is due than can be. */
  readonly intervalMs: number;
  readonly retentionMs: number;
  readonly onExpired: () => void;
  readonly onError: (error: unknown, message: string) => void;
}

/**
 * How often it looks in an interval, and for how many looks who finds something due has the turn: when that one dies, another still finds
 * it within the interval.
 */
const LOOKS = 4;
const TURN_LOOKS = 2;

/** How many sessions are taken in hand at a time: they share transactions, and leave most of the room to callers. */
const CONCURRENCY = 32;
/** After so many the turn is taken anew. */
const EACH_TURN = 200;

export function createExpirer(deps: ExpirerDeps): Expirer {
  const { changes, work, retentionMs } = deps;
  const lookMs = deps.intervalMs / LOOKS;
  const stopping = new AbortController();
  const background = ownCall("expirer", stopping.signal);
  const holder = randomUUID();
  let running: Promise<void> = Promise.resolve();
  let timer: NodeJS.Timeout | undefined;

  /** Nobody takes a turn for nothing. */
  async function* whileItsTurn(keys: AsyncIterable<string>): AsyncGenerator<string> {
    let done = 0;
    for await (const key of keys) {
      if (stopping.signal.aborted) return;
      if (done % EACH_TURN === 0 && !(await deps.takeTurn(holder, TURN_LOOKS * lookMs))) return;
      done += 1;
      yield key;
    }
  }

  async function expire(key: string): Promise<void> {
    if (stopping.signal.aborted) return;
    const expired = await changes.submit(background, {
      session: key,
      users: (session) => [session?.user],
      decide: (state) => expireSession(state, retentionMs),
    });
    if (!expired) return;
    deps.onExpired();
    if (expired.retired) deps.nudge(key);
  }

  const pass = async (): Promise<void> => {
    const due = whileItsTurn(work.sessionsExpiring(await work.now()));
    await leavingFailures(due, CONCURRENCY, expire, (error) =>
      deps.onError(error, "a session that is due to expire was not deleted; the next look tries again"),
    );
  };

  const schedule = (): void => {
    if (stopping.signal.aborted) return;
    // Spread, so that processes started together do not all look at once.
    const delay = lookMs * (0.75 + Math.random() / 2);
    timer = setTimeout(() => {
      running = pass()
        .catch((error: unknown) => {
          if (!stopping.signal.aborted)
            deps.onError(error, "a look for expired sessions failed; the next one tries again");
        })
        .finally(schedule);
    }, delay);
  };

  return {
    pass,
    start() {
      if (timer === undefined) schedule();
    },
    async stop() {
      clearTimeout(timer);
      stopping.abort();
      await running;
    },
  };
}
