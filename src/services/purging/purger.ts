import { randomUUID } from "node:crypto";
import { type Call, ownCall } from "../../domain/call.js";
import type { SessionState } from "../../domain/decision.js";
import { memoryNotRestorable, SessionsError } from "../../domain/errors.js";
import { idOf } from "../../domain/keys.js";
import type { ErasureRecord, ErasureRequest, SessionRecord, UserRecord } from "../../domain/records.js";
import { condemn, isTaskOf } from "../../domain/session.js";
import { condemnUser } from "../../domain/user.js";
import type { GroupCommit } from "../../store/changes/group-commit.js";
import type { Retirement } from "../../store/erasing/retirement.js";
import type { Work } from "../../store/erasing/work.js";
import type { UserStore } from "../../store/users.js";
import { concurrently, leavingFailures } from "../concurrently.js";
import type { RestoreSession } from "./restoration.js";

/**
 * Erases what is due, on demand and by its own rhythm, and finishes what was begun and broken off. Every step looks again at
 * the document that it is about before it does anything that cannot be undone.
 */
export interface Purger {
  /**
   * Erases a session and its memory when `isMeant` still holds. The answer is how many messages, or nothing when there is no
   * such session (any more): an erasure that another has begun is finished before.
   */
  purgeSession(call: Call, key: string, isMeant: (session: SessionRecord) => boolean): Promise<number | undefined>;
  /** Erases a user with all their sessions when `isMeant` still holds. Answers like `purgeSession`. With a request it leaves a receipt. */
  purgeUser(
    call: Call,
    key: string,
    isMeant: (user: UserRecord) => boolean,
    request?: ErasureRequest,
  ): Promise<PurgedUser | undefined>;
  /** Erases, or counts, what was deleted at least this long ago. */
  purgeDeleted(call: Call, olderThanMs: number, dryRun: boolean): Promise<Purged>;
  /** Brings the sessions back that an undeleted user's deletion took. */
  restoreSessionsOf(call: Call, user: UserRecord): Promise<void>;
  /** Has the housekeeping after a deletion done soon, in the background. It would be done by the next pass anyway. */
  nudge(session: string): void;
  nudgeUser(user: UserRecord): void;
  /** The same after a copy of a memory that came to nothing, by its epoch. */
  nudgeCopy(epoch: string): void;
  /** One pass over all that is to be done. */
  pass(): Promise<void>;
  /** Begins to make passes by its own rhythm; once is enough, more does no harm. */
  start(): void;
  stop(): Promise<void>;
}

export interface Purged {
  readonly sessions: number;
  readonly messages: number;
  readonly users: number;
}

export interface PurgedUser {
  readonly sessions: number;
  readonly messages: number;
  readonly receipt: ErasureRecord | undefined;
}

export interface PurgerDeps {
  readonly changes: GroupCommit;
  readonly users: UserStore;
  readonly retirement: Retirement;
  readonly work: Work;
  readonly restoreSession: RestoreSession;
  /** Whether this process may make a pass now; it spares work when there are several. */
  readonly takeTurn: (holder: string) => Promise<boolean>;
  readonly intervalMs: number;
  readonly onError: (error: unknown, message: string) => void;
}

/** How many sessions are taken in hand at a time: enough to share transactions, few enough to leave room for callers. */
const CONCURRENCY = 8;

/** A copy of a memory with which nobody has gone on for so long has been abandoned, by a crash say. */
const COPY_PATIENCE_MS = 60_000;

/** Housekeeping after deletions must neither hold up the passes nor pile up. */
const NUDGES_AT_A_TIME = 100;
const MAX_NUDGES = 10_000;

const RESTORED_OR_GONE: ReadonlySet<string> = new Set(["FAILED_PRECONDITION", "ALREADY_EXISTS", "NOT_FOUND"]);

export function createPurger(deps: PurgerDeps): Purger {
  const { changes, users, retirement, work, restoreSession } = deps;
  const stopping = new AbortController();
  const background = ownCall("purger", stopping.signal);
  const holder = randomUUID();
  const nudged = new Set<() => Promise<void>>();
  /** The sessions that are being erased here. Passes leave them alone: a call tells how much it has erased itself. */
  const inHand = new Map<string, Promise<unknown>>();
  let isDraining = false;
  let running: Promise<void> = Promise.resolve();
  let timer: NodeJS.Timeout | undefined;

  const purgeSession: typeof condemnAndErase = (call, key, isMeant) =>
    inTurn(inHand, key, () => condemnAndErase(call, key, isMeant));

  async function condemnAndErase(
    call: Call,
    key: string,
    isMeant: (session: SessionRecord, state: SessionState) => boolean,
  ) {
    const condemned = await changes.submit(call, {
      session: key,
      users: (session) => [session?.user],
      epochs: true,
      decide: (state) => condemn(state, (session) => isMeant(session, state)),
    });
    if (condemned === "nothing") return undefined;
    // Whoever is told that there is no such session must not be told so before it is erased.
    const erased = await retirement.erase(key);
    return condemned === "begun" ? erased : undefined;
  }

  async function purgeUser(
    call: Call,
    key: string,
    isMeant: (user: UserRecord) => boolean,
    request?: ErasureRequest,
  ): Promise<PurgedUser | undefined> {
    let isBegunByAnother = false;
    const user = await users.change(call, key, (found, now) => {
      isBegunByAnother = found?.task?.kind === "purge";
      return condemnUser(found, isMeant, request, now);
    });
    const purged = user && (await finishPurge(call, user));
    return isBegunByAnother ? undefined : purged;
  }

  async function finishPurge(call: Call, user: UserRecord): Promise<PurgedUser> {
    const { task } = user;
    const purged = { sessions: 0, messages: 0 };
    if (task?.kind !== "purge") return { ...purged, receipt: undefined };
    await retirement.retireSessionsOf(user);
    await concurrently(work.sessionsOf(user._id), CONCURRENCY, async (key) => {
      call.signal.throwIfAborted();
      const messages = await purgeSession(call, key, (_session, state) => isTaskOf(user._id, task, state));
      if (messages === undefined) return;
      purged.sessions += 1;
      purged.messages += messages;
    });
    // Somebody else may have a new session by the id of one that was condemned, with messages of the old one still to be erased.
    if (task.erasure) await concurrently(work.sessionsCountedFor(user._id), CONCURRENCY, retirement.erase);
    return { ...purged, receipt: await retirement.eraseUser(user._id, task) };
  }

  async function restoreSessionsOf(call: Call, user: UserRecord): Promise<void> {
    const { task } = user;
    if (task?.kind !== "restore") return;
    let isPartial = false;
    await concurrently(work.sessionsTakenWith(user._id, task.epoch), CONCURRENCY, async (key) => {
      call.signal.throwIfAborted();
      try {
        await restoreSession(call, key, { user: user._id, task });
      } catch (error) {
        // A session whose user was deleted again meanwhile stays deleted, and so does one that somebody else has restored
        // or erased since it was found.
        if (!(error instanceof SessionsError && RESTORED_OR_GONE.has(error.code))) throw error;
        if (error.reason === "MEMORY_NOT_RESTORABLE") isPartial = true;
      }
    });
    await users.finish(user._id, task);
    if (isPartial) throw memoryNotRestorable({ user_id: idOf(user._id) });
  }

  async function finishTask(user: UserRecord): Promise<void> {
    if (user.task?.kind === "purge") await finishPurge(background, user);
    else if (user.task?.kind === "restore") await restoreSessionsOf(background, user);
    else if (user.deleted) {
      await retirement.retireSessionsOf(user);
      await concurrently(work.sessionsToMark({ user: user._id }), CONCURRENCY, retirement.mark);
      await retirement.release(user);
    }
  }

  /** Does each of them; what fails on one is logged and left for the next pass, unless nothing succeeds any more. */
  const each = <T>(items: AsyncIterable<T>, act: (item: T) => Promise<unknown>): Promise<void> =>
    leavingFailures(
      items,
      CONCURRENCY,
      async (item) => stopping.signal.aborted || act(item),
      (error) => deps.onError(error, "purging one item failed; the next pass tries again"),
    );

  async function pass(): Promise<void> {
    await each(work.usersWithTask(), finishTask);
    await each(work.sessionsToMark(), retirement.mark);
    await each(work.sessionsToErase(), async (key) => inHand.has(key) || retirement.erase(key));
    const now = await work.now();
    const idleSince = new Date(now.getTime() - COPY_PATIENCE_MS);
    await each(work.copiesIdleSince(idleSince), (epoch) => retirement.eraseCopy(epoch, idleSince));
    const isDue = (record: SessionRecord | UserRecord): boolean =>
      record.deleted && record.purgeTime !== undefined && record.purgeTime <= now;
    await each(work.usersDue(now), (key) => purgeUser(background, key, isDue));
    await each(work.sessionsDue(now), async (key) => inHand.has(key) || purgeSession(background, key, isDue));
  }

  /** Nudges and passes run one after the other: housekeeping is to be a small part of the database's load. */
  const enqueue = (run: () => Promise<void>): void => {
    running = running
      .then(() => (stopping.signal.aborted ? undefined : run()))
      .catch((error: unknown) => {
        if (!stopping.signal.aborted) deps.onError(error, "a pass of the purger failed; the next one tries again");
      });
  };

  const schedule = (): void => {
    if (stopping.signal.aborted) return;
    // Spread, so that processes started together do not all ask for their turn at once.
    const delay = deps.intervalMs * (0.75 + Math.random() / 2);
    timer = setTimeout(() => {
      enqueue(async () => {
        if (!(await deps.takeTurn(holder))) return;
        // A pass may take longer than its turn.
        const renewal = setInterval(() => void deps.takeTurn(holder).catch(() => {}), deps.intervalMs / 2);
        await pass().finally(() => clearInterval(renewal));
      });
      running.finally(schedule);
    }, delay);
  };

  /** Does some of the housekeeping that was asked for, and has the rest wait behind what else is queued, such as a pass. */
  const drain = async (): Promise<void> => {
    let done = 0;
    for (const next of nudged) {
      if (stopping.signal.aborted || done === NUDGES_AT_A_TIME) break;
      done += 1;
      nudged.delete(next);
      await next().catch((error: unknown) => deps.onError(error, "housekeeping failed; the next pass does it"));
    }
    isDraining = nudged.size > 0;
    if (isDraining) enqueue(drain);
  };

  const nudge = (run: () => Promise<void>): void => {
    // What is left out here stands on the documents all the same, and the next pass finds it.
    if (nudged.size < MAX_NUDGES) nudged.add(run);
    if (isDraining) return;
    isDraining = true;
    enqueue(drain);
  };

  return {
    purgeSession,
    purgeUser,
    restoreSessionsOf,
    async purgeDeleted(call, olderThanMs, dryRun) {
      const upTo = new Date((await work.now()).getTime() - olderThanMs);
      // What others have deleted is not to show in how long it takes.
      await each(work.sessionsToMark({ project: call.project }), retirement.mark);
      if (dryRun) return work.countDeleted(call, upTo);

      const isMeant = (record: SessionRecord | UserRecord): boolean =>
        record.deleted && record.deleteTime !== undefined && record.deleteTime <= upTo;
      const purged = { sessions: 0, messages: 0, users: 0 };
      await concurrently(work.usersDeleted(call.project, upTo), 1, async (key) => {
        call.signal.throwIfAborted();
        const theirs = await purgeUser(call, key, isMeant);
        if (!theirs) return;
        purged.users += 1;
        purged.sessions += theirs.sessions;
        purged.messages += theirs.messages;
      });
      await concurrently(work.sessionsDeleted(call.project, upTo), CONCURRENCY, async (key) => {
        call.signal.throwIfAborted();
        const messages = await purgeSession(call, key, isMeant);
        if (messages === undefined) return;
        purged.sessions += 1;
        purged.messages += messages;
      });
      await each(work.copiesOfNothing(call.project), (epoch) => retirement.eraseCopy(epoch));
      purged.messages += await retirement.eraseMessages(call.project, upTo);
      return purged;
    },
    nudge: (session) => nudge(() => retirement.mark(session)),
    nudgeCopy: (epoch) => nudge(() => retirement.eraseCopy(epoch)),
    nudgeUser: (user) => nudge(() => finishTask(user)),
    pass,
    start() {
      if (timer === undefined) schedule();
    },
    async stop() {
      clearTimeout(timer);
      stopping.abort();
      await running;
      clearTimeout(timer);
    },
  };
}

/** Does something once whatever else was begun with this key is over, so that what both do is done, and counted, by one. */
async function inTurn<T>(inHand: Map<string, Promise<unknown>>, key: string, act: () => Promise<T>): Promise<T> {
  const own = Promise.resolve(inHand.get(key))
    .catch(() => {})
    .then(act);
  inHand.set(key, own);
  try {
    return await own;
  } finally {
    if (inHand.get(key) === own) inHand.delete(key);
  }
}
