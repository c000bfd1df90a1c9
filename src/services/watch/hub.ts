import { SessionsError, shuttingDown, storageUnavailable } from "../../domain/errors.js";
import type { LogTime } from "../../domain/watching/changes.js";
import type { Position } from "../../domain/watching/position.js";
import type { ChangeBatch, ChangeStream } from "../../store/watching/change-stream.js";
import type { WatchReader } from "../../store/watching/reads.js";
import { Audience } from "./audience.js";
import { toldOf } from "./told.js";
import { MAX_QUEUE, Watcher, type WatchFilter } from "./watcher.js";

/**
 * Tells those who watch what has been committed. One stream of the database's log feeds all who are at its head; it is there only while
 * somebody watches, or has just now. Those who are further back are taken there by streams of their own, several together.
 */
export interface Hub {
  /**
   * Begins to tell: from now on, or of all that came behind a position. Throws UNAVAILABLE when the database is away. `leave` has to
   * follow.
   */
  join(filter: WatchFilter, from: Position | undefined): Promise<Watcher>;
  /** Has those who are behind told of what they have missed, when they have taken all that was kept for them. */
  catchUp(watcher: Watcher): void;
  leave(watcher: Watcher): void;
  /** Up to where somebody has been told who has taken all that there was. */
  positionOf(watcher: Watcher): Position;
  readonly figures: HubFigures;
  stop(): Promise<void>;
}

export interface HubFigures {
  readonly atHead: number;
  readonly catchingUp: number;
}

export interface HubDeps {
  readonly openChanges: (after: LogTime | undefined, batchSize: number) => ChangeStream;
  readonly reader: WatchReader;
  /** Something that nobody has foreseen has gone wrong; it is tried again. */
  readonly onError: (error: unknown, message: string) => void;
  readonly observer: WatchObserver;
  /** About what the database's clock says. */
  readonly now: () => Date;
}

export interface WatchObserver {
  /** Events have been told at the head, the last of them so many seconds after its commit. */
  told(events: number, seconds: number): void;
  ended(reason: "too slow" | "expired"): void;
}

/** How long the database waits for something to tell before it says how far it has come. */
const WAIT_MS = 1_000;
/** The same for those who are about to be at the head. */
const SHORT_WAIT_MS = 20;

const HEAD_BATCH = 10_000;
/** Half of what waits for a reader, so that all of it has room when there is some. */
const CATCH_UP_BATCH = MAX_QUEUE / 2;

/** How long the stream stays when nobody watches any more. */
const LINGER_MS = 30_000;

/** How long watchers wait for a database that is away. */
const AWAY_MS = 30_000;
/** And those who have just come. */
const JOIN_MS = 10_000;

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2_000;

/** How many streams there are for those who catch up, and how far apart those may be whom one of them takes along. */
const CATCH_UPS_AT_A_TIME = 4;
const TOGETHER_SECONDS = 60n;
/** How long the others of a stream wait for one who does not read. */
const ROOM_MS = 1_000;

export function createHub(deps: HubDeps): Hub {
  const { reader } = deps;
  // Thousands who come at once ask for it once.
  const logTime = together(reader.now);
  const head = new Audience();
  const waiting = new Set<Watcher>();
  /** With whom each of them is taken to the head. */
  const catchingUp = new Map<Watcher, Audience>();
  let catchUps = 0;
  let isStopped = false;

  let position: LogTime | undefined;
  let running: Promise<void> | undefined;
  let isTelling = false;
  let lastContact = performance.now();
  let idleSince = performance.now();
  let joining = 0;
  /** What is done between two batches. */
  const between = new Set<Between>();
  let stream: ChangeStream | undefined;
  const underWay = new Set<Promise<void>>();
  let wakePause = (): void => {};

  const isWanted = (): boolean => head.all.size + waiting.size + catchingUp.size + joining > 0;

  async function tell(batch: ChangeBatch, audience: Audience, how: "tell" | "tellAgain"): Promise<void> {
    for await (const some of toldOf(batch.moments, audience.watches, reader)) {
      for (const told of some) {
        for (const watcher of audience.unsure(told)) watcher.expire();
        for (const watcher of audience.of(told)) watcher[how](told);
      }
      const last = some.at(-1);
      if (how === "tell" && last)
        deps.observer.told(some.length, Math.max(0, deps.now().getTime() - last.clock) / 1000);
    }
  }

  /** Reads the log from the head on until nobody watches any more. */
  async function run(): Promise<void> {
    let failures = 0;
    lastContact = performance.now();
    while (!isStopped) {
      if (isWanted()) idleSince = performance.now();
      else if (performance.now() - idleSince > LINGER_MS) break;
      try {
        stream ??= deps.openChanges(position, HEAD_BATCH);
        const batch = await stream.next(WAIT_MS);
        isTelling = true;
        // Who comes now is told of what is behind the batch before.
        await tell(batch, head, "tell");
        position = batch.position;
        lastContact = performance.now();
        failures = 0;
      } catch (error) {
        await stream?.close();
        stream = undefined;
        if (isExpired(error)) {
          // Nobody can be told in full what has happened.
          position = undefined;
          for (const watcher of head.all) watcher.expire();
          await pause(FIRST_PAUSE_MS);
        } else if (!isStopped) {
          if (!(error instanceof SessionsError)) deps.onError(error, "watching the database failed; it is tried again");
          isTelling = false;
          await pause(Math.min(FIRST_PAUSE_MS * 2 ** failures, LONGEST_PAUSE_MS));
          failures += 1;
        }
      } finally {
        isTelling = false;
      }
      if (position !== undefined) {
        for (const { act } of between) act(position);
      }
      if (performance.now() - lastContact > AWAY_MS) {
        for (const watcher of [...head.all, ...waiting, ...catchingUp.keys()]) watcher.end(noContact());
      }
    }
    // Who comes from here on must not be told that they are at the head: it begins anew, and later.
    const last = stream;
    stream = undefined;
    position = undefined;
    await last?.close();
  }

  const pause = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      wakePause = () => {
        clearTimeout(timer);
        resolve();
      };
    });

  function start(): void {
    running ??= run()
      .catch((error: unknown) => deps.onError(error, "watching the database has ended"))
      .finally(() => {
        running = undefined;
        if (isWanted() && !isStopped) start();
      });
  }

  /** Does something between two batches, when all has been told up to the position that it gets. */
  function atHead<T>(act: (position: LogTime) => T): Promise<T> {
    start();
    if (position !== undefined && !isTelling) return Promise.resolve(act(position));
    return new Promise((resolve, reject) => {
      const end = (finish: () => void): void => {
        clearTimeout(late);
        between.delete(mine);
        finish();
      };
      const mine: Between = {
        act: (reached) => end(() => resolve(act(reached))),
        fail: (error) => end(() => reject(error)),
      };
      const late = setTimeout(() => mine.fail(storageUnavailable(new Error("no answer in time"))), JOIN_MS);
      between.add(mine);
    });
  }

  function schedule(): void {
    while (!isStopped && catchUps < CATCH_UPS_AT_A_TIME && waiting.size > 0) {
      const newest = [...waiting].reduce((a, b) => (a.position.time > b.position.time ? a : b)).position.time;
      const group = [...waiting].filter(({ position: { time } }) => newest - time <= TOGETHER_SECONDS << 32n);
      for (const watcher of group) {
        waiting.delete(watcher);
        watcher.catchUp();
      }
      catchUps += 1;
      const done = takeToHead(group).finally(() => {
        catchUps -= 1;
        underWay.delete(done);
        schedule();
      });
      underWay.add(done);
    }
  }

  /** Tells of what was before, up to the head; whoever does not take it in has to come again. */
  async function takeToHead(group: readonly Watcher[]): Promise<void> {
    const lane = new Audience();
    for (const watcher of group) {
      lane.add(watcher);
      catchingUp.set(watcher, lane);
    }
    const drop = (watcher: Watcher): void => {
      lane.remove(watcher);
      catchingUp.delete(watcher);
      head.remove(watcher);
    };
    const from = group.reduce((a, b) => (a.position.time < b.position.time ? a : b)).position;
    // Of its own time a part may not have been told.
    const changes = deps.openChanges(from.within ? from.time - 1n : from.time, CATCH_UP_BATCH);
    let target: LogTime | undefined;
    try {
      for (;;) {
        const batch = await changes.next(target === undefined ? WAIT_MS : SHORT_WAIT_MS);
        await tell(batch, lane, "tellAgain");
        for (const watcher of lane.all) {
          watcher.reached(batch.position);
          if (watcher.hasEnded) drop(watcher);
        }
        if (lane.all.size === 0) return;
        if (target !== undefined && batch.position >= target) break;
        if (target === undefined && batch.isAll) {
          target = await atHead((reached) => {
            for (const watcher of lane.all) {
              watcher.hold();
              head.add(watcher);
            }
            return reached;
          });
        }
        await roomIn(lane);
        for (const watcher of lane.all) {
          if (watcher.queued <= CATCH_UP_BATCH && !watcher.isBehind) continue;
          drop(watcher);
          watcher.fallBehind();
        }
        if (lane.all.size === 0) return;
      }
      for (const watcher of lane.all) {
        catchingUp.delete(watcher);
        watcher.release();
      }
    } catch (error) {
      for (const watcher of lane.all) {
        drop(watcher);
        if (isExpired(error)) watcher.expire();
        else if (performance.now() - watcher.lastContact > AWAY_MS) watcher.end(noContact());
        else if (!watcher.hasEnded) waiting.add(watcher);
      }
      if (isExpired(error)) return;
      if (!(error instanceof SessionsError)) deps.onError(error, "catching up failed; it is tried again");
      await pauseBetween();
    } finally {
      await changes.close();
    }
  }

  /** Until somebody has taken in what was told, or not for long. */
  async function roomIn({ all }: Audience): Promise<void> {
    const until = performance.now() + ROOM_MS;
    const isFull = (watcher: Watcher): boolean => watcher.queued > CATCH_UP_BATCH && !watcher.hasEnded;
    while ([...all].every(isFull) && performance.now() < until && !isStopped) await pauseBetween(5);
  }

  /** From here on nobody tells them anything. */
  function part(watcher: Watcher): void {
    head.remove(watcher);
    waiting.delete(watcher);
    catchingUp.get(watcher)?.remove(watcher);
    catchingUp.delete(watcher);
  }

  const pauseBetween = (ms = LONGEST_PAUSE_MS / 4): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

  return {
    async join(filter, from) {
      joining += 1;
      try {
        if (from) {
          const watcher = new Watcher(filter, from);
          await atHead(() => {});
          waiting.add(watcher);
          schedule();
          return watcher;
        }
        const now = await logTime();
        return await atHead(() => {
          // The head may be a little behind: of what they can read already they are not told.
          const watcher = new Watcher(filter, { time: now });
          head.add(watcher);
          return watcher;
        });
      } finally {
        joining -= 1;
      }
    },
    catchUp(watcher) {
      part(watcher);
      watcher.lastContact = performance.now();
      waiting.add(watcher);
      schedule();
    },
    leave(watcher) {
      if (watcher.endReason) deps.observer.ended(watcher.endReason);
      part(watcher);
      idleSince = performance.now();
    },
    positionOf(watcher) {
      const isAtHead = head.all.has(watcher) && !catchingUp.has(watcher);
      if (isAtHead && position !== undefined) watcher.reached(position);
      return watcher.position;
    },
    get figures() {
      return { atHead: head.all.size, catchingUp: waiting.size + catchingUp.size };
    },
    async stop() {
      isStopped = true;
      wakePause();
      for (const { fail } of between) fail(shuttingDown());
      await stream?.close();
      await running;
      await Promise.all(underWay);
    },
  };
}

/** Has all who ask while it is done share the next time: each gets what was begun after they had asked. */
function together<T>(act: () => Promise<T>): () => Promise<T> {
  let underWay: Promise<T> | undefined;
  let next: Promise<T> | undefined;
  const begin = (): Promise<T> => {
    const mine = act().finally(() => {
      underWay = undefined;
    });
    underWay = mine;
    return mine;
  };
  return () => {
    if (!underWay) return begin();
    next ??= underWay
      .catch(() => {})
      .then(() => {
        next = undefined;
        return begin();
      });
    return next;
  };
}

interface Between {
  act(position: LogTime): void;
  fail(error: unknown): void;
}

const noContact = () => storageUnavailable(new Error("no contact for too long"));

const isExpired = (error: unknown): boolean =>
  error instanceof SessionsError && error.reason === "RESUME_TOKEN_EXPIRED";
