import { resumeTokenExpired, SessionsError, watcherTooSlow } from "../../domain/errors.js";
import type { LogTime } from "../../domain/watching/changes.js";
import { type Position, partsTold } from "../../domain/watching/position.js";
import type { Told } from "./told.js";

/** What a watcher is told of: all of a project, one session, one user's, or that of one session which is that user's. */
export interface WatchFilter {
  readonly project: string;
  /** Keys. */
  readonly session: string | undefined;
  readonly user: string | undefined;
}

/** An event that somebody is told, and how many of its parts they have been told already. */
export interface Entry {
  readonly told: Told;
  readonly parts: number;
  /** What it counts for: nothing while somebody catches up. */
  readonly bytes: number;
}

/** How far a reader may fall behind. */
export const MAX_BEHIND_BYTES = 16 * 1024 * 1024;

/** How many events wait for a reader; for more they come back later. Events are shared by all who are told of them. */
export const MAX_QUEUE = 1000;

/**
 * One who watches, between what is told and what they take of it. Who does not keep up keeps a place and no more: what has come since is
 * counted, and read again when they ask for it.
 */
export class Watcher {
  readonly filter: WatchFilter;
  /** Up to where they have been told, or what they have been told of waits here. */
  #upTo: Position;
  readonly #queue: Entry[] = [];
  /** What the head tells while they are still being told what was before, see {@link hold}. */
  #held: Told[] | undefined;
  /** Whether more was told meanwhile than is held. */
  #isHeldCut = false;
  #behindBytes = 0;
  #isBehind = false;
  #error: unknown;
  #wake = (): void => {};
  /** Told when they are ended: they may be in the midst of taking something in. */
  onEnd: ((error: unknown) => void) | undefined;
  /** When they were last told how far it has come, or began to ask for it. */
  lastContact = performance.now();

  constructor(filter: WatchFilter, from: Position) {
    this.filter = filter;
    this.#upTo = from;
  }

  get position(): Position {
    return this.#upTo;
  }

  /** Whether what has come since is nowhere but in the database. */
  get isBehind(): boolean {
    return this.#isBehind;
  }

  get queued(): number {
    return this.#queue.length;
  }

  /** Why they have been ended, where that is for what they are, and not for what this process is. */
  get endReason(): "too slow" | "expired" | undefined {
    if (!(this.#error instanceof SessionsError)) return undefined;
    if (this.#error.reason === "WATCHER_TOO_SLOW") return "too slow";
    return this.#error.reason === "RESUME_TOKEN_EXPIRED" ? "expired" : undefined;
  }

  get hasEnded(): boolean {
    return this.#error !== undefined;
  }

  /** An event that has just happened. */
  tell(told: Told): void {
    if (this.#held) {
      if (this.#held.length < MAX_QUEUE) this.#held.push(told);
      else this.#isHeldCut = true;
      return;
    }
    this.#take(told, told.bytes);
  }

  /** One that has happened before. */
  tellAgain(told: Told): void {
    this.#take(told, 0);
  }

  #take(told: Told, bytes: number): void {
    if (this.hasEnded) return;
    const parts = partsTold(this.#upTo, told.time, told.place);
    if (parts === undefined || parts >= told.parts) return;
    this.#count(bytes);
    if (this.#isBehind) return;
    if (this.#queue.length >= MAX_QUEUE) {
      this.#isBehind = true;
      return;
    }
    this.#queue.push({ told, parts, bytes });
    this.#upTo = { time: told.time, within: { ...told.place, parts: told.parts } };
    this.#wake();
  }

  #count(bytes: number): void {
    this.#behindBytes += bytes;
    if (this.#behindBytes > MAX_BEHIND_BYTES) this.end(watcherTooSlow(MAX_BEHIND_BYTES));
  }

  /** Nothing is left to be told up to this time. */
  reached(time: LogTime): void {
    this.lastContact = performance.now();
    if (!this.#isBehind && time > this.#upTo.time) this.#upTo = { time };
  }

  /** Those who are told of what was before begin to be told of what happens, too, and get to it behind that. */
  hold(): void {
    this.#held = [];
    this.#isHeldCut = false;
  }

  /** They have been told of all that was before, unless that was too much for them: then what came behind it is not theirs yet. */
  release(): void {
    const held = this.#isBehind ? [] : (this.#held ?? []);
    this.#held = undefined;
    for (const told of held) this.#take(told, 0);
    this.#isBehind ||= this.#isHeldCut;
    this.#wake();
  }

  /** They are about to be told again of what they have missed. */
  catchUp(): void {
    this.#held = undefined;
    this.#isBehind = false;
    this.#behindBytes = 0;
  }

  /** Told of no more; what waits here is theirs all the same. */
  fallBehind(): void {
    this.#held = undefined;
    this.#isBehind = true;
    this.#wake();
  }

  end(error: unknown): void {
    if (this.hasEnded) return;
    this.#error = error;
    this.#queue.length = 0;
    this.#wake();
    this.onEnd?.(error);
  }

  expire(): void {
    this.end(resumeTokenExpired());
  }

  /** What waits, the next first. */
  peek(atMost: number): readonly Entry[] {
    return this.#queue.slice(0, atMost);
  }

  /** Has whoever waits look again. */
  nudge(): void {
    this.#wake();
  }

  /** The next event, if one waits. Throws what has ended them. */
  take(): Entry | undefined {
    if (this.#error !== undefined) throw this.#error;
    const entry = this.#queue.shift();
    if (entry) this.#behindBytes -= entry.bytes;
    return entry;
  }

  /** Until there is something to look for, or somebody has {@link nudge}d. */
  async wait(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = () => {};
  }
}
