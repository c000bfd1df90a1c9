import { randomUUID } from "node:crypto";
import { SessionsError } from "../domain/errors.js";
import { type Endpoint, EndpointError, type Failure } from "../embeddings/endpoint.js";
import { batchesOf, embedAll, textOf } from "../embeddings/texts.js";
import { quantised } from "../embeddings/vectors.js";
import type { Portion, VectorStore } from "../store/vectors/vectors.js";
import { concurrently } from "./concurrently.js";

/**
 * Embeds messages in the background, soon after they were added. What is to be done stands in the database, so one process at a time
 * does it for all, and another goes on when it dies.
 */
export interface Embedder {
  /** Begins; once is enough, more does no harm. */
  start(): void;
  /** Something was added: there is no need to wait for the next look. */
  nudge(): void;
  stop(): Promise<void>;
}

/** Told what operators want to know. */
export interface EmbeddingsObserver {
  /** For how long the oldest message has been waiting that is not embedded yet. */
  lagIs(ms: number): void;
  embedded(messages: number): void;
  /** The endpoint has failed, for a batch of messages or for a query. */
  failed(failure: Failure): void;
}

export interface EmbedderDeps {
  readonly store: VectorStore;
  readonly endpoint: Endpoint;
  readonly dimensions: number;
  /** Whether it is this process's turn, for so long; it spares work when there are several. */
  readonly takeTurn: (holder: string, forMs: number) => Promise<boolean>;
  readonly observer: EmbeddingsObserver;
  /** The endpoint has begun to fail, or is as it should be again. */
  readonly onOutage: (error: EndpointError) => void;
  readonly onRecovery: () => void;
  readonly onError: (error: unknown, message: string) => void;
}

/** How often it looks for what others have added, and how long it lets come together what is added here. */
const POLL_MS = 2_000;
const GATHER_MS = 200;

const TURN_MS = 10_000;
/** How many messages are taken in hand at a time. */
const MESSAGES_AT_ONCE = 256;
const WRITES_AT_A_TIME = 4;
const ANSWER_MS = 30_000;

const FIRST_PAUSE_MS = 1_000;
const LONGEST_PAUSE_MS = 60_000;

/** How often all sessions are looked through for what an older version, or a process that does not embed, has left unembedded. */
const SWEEP_EVERY_MS = 6 * 3_600_000;
/** Between its steps, for nobody waits for it. */
const SWEEP_PAUSE_MS = 100;

export function createEmbedder(deps: EmbedderDeps): Embedder {
  const { store, endpoint, observer } = deps;
  const stopping = new AbortController();
  const holder = randomUUID();
  let running: Promise<void> | undefined;
  let hasBegun = false;
  let failures = 0;
  let outSince: number | undefined;

  /** One look, and what there is to do at a time. How long to wait for the next one. */
  async function round(): Promise<number> {
    if (!hasBegun) await store.beginSweep();
    hasBegun = true;
    const sweep = await store.lastSweep();
    // A process that was started later embeds with another model, so this one is about to be stopped.
    if (!sweep) return POLL_MS;
    const now = await store.now();
    const first = await store.firstWaiting();
    // Those to whose sessions more is added wait since then; but not longer than nothing has been embedded any more.
    const outMs = outSince === undefined ? 0 : performance.now() - outSince;
    observer.lagIs(first ? Math.max(0, now.getTime() - first.getTime(), outMs) : 0);
    const isSweeping = sweep.endTime === undefined;
    const isDue = sweep.endTime !== undefined && now.getTime() - sweep.endTime.getTime() > SWEEP_EVERY_MS;
    if (!first && !isSweeping && !isDue) return POLL_MS;
    if (!(await deps.takeTurn(holder, TURN_MS))) return POLL_MS;

    const renewal = setInterval(() => void deps.takeTurn(holder, TURN_MS).catch(() => {}), TURN_MS / 3);
    try {
      if (first) return (await embedNext()) < MESSAGES_AT_ONCE ? GATHER_MS : 0;
      if (isDue) await store.beginSweep();
      await store.sweep();
      return SWEEP_PAUSE_MS;
    } finally {
      clearInterval(renewal);
    }
  }

  /** How many messages it has had in hand. */
  async function embedNext(): Promise<number> {
    const portions = await store.next(MESSAGES_AT_ONCE);
    const made = new Map(portions.map((portion) => [portion, new Map<string, Uint8Array | undefined>()]));
    const texts: { text: string; take: (vector: Float32Array | undefined) => void }[] = [];
    for (const [portion, vectors] of made) {
      for (const { _id, role, content } of portion.messages) {
        const text = textOf(role, content);
        const take = (vector: Float32Array | undefined): void => {
          const numbers = vector && quantised(vector);
          vectors.set(_id, numbers && Buffer.from(numbers.buffer));
        };
        if (text === undefined) take(undefined);
        else texts.push({ text, take });
      }
    }
    const failure = await embedTexts(texts);
    const isMade = (portion: Portion): boolean => made.get(portion)?.size === portion.messages.length;
    const write = async (portion: Portion): Promise<void> => {
      observer.embedded(await store.write(portion, made.get(portion) ?? new Map()));
    };
    await concurrently(each(portions.filter(isMade)), WRITES_AT_A_TIME, write);
    if (failure) throw failure;
    return texts.length;
  }

  /** What it has failed by, if it has. */
  async function embedTexts(
    texts: readonly { text: string; take: (vector: Float32Array | undefined) => void }[],
  ): Promise<EndpointError | undefined> {
    const options = { withinMs: ANSWER_MS, signal: stopping.signal };
    const batches = batchesOf(
      texts.map(({ text }) => text),
      deps.dimensions,
    );
    for (const { from, to } of batches) {
      const batch = texts.slice(from, to);
      try {
        const vectors = await embedAll(
          endpoint,
          batch.map(({ text }) => text),
          options,
        );
        for (const [place, { take }] of batch.entries()) take(vectors[place]);
      } catch (error) {
        if (error instanceof EndpointError) return error;
        throw error;
      }
      recovered();
    }
    return undefined;
  }

  function recovered(): void {
    if (outSince !== undefined) deps.onRecovery();
    outSince = undefined;
    failures = 0;
  }

  /** How long to wait after a failure: longer each time, and not as long as others do who fail at the same time. */
  function pauseAfter(error: unknown): number {
    const pause = Math.min(FIRST_PAUSE_MS * 2 ** failures, LONGEST_PAUSE_MS) * (0.5 + Math.random() / 2);
    failures += 1;
    if (error instanceof EndpointError) {
      observer.failed(error.failure);
      if (outSince === undefined) deps.onOutage(error);
      outSince ??= performance.now();
      return Math.max(pause, Math.min(error.retryAfterMs ?? 0, LONGEST_PAUSE_MS));
    }
    // While the database is away everybody knows.
    if (!(error instanceof SessionsError)) deps.onError(error, "embedding failed; it is tried again");
    return pause;
  }

  let isNudged = false;
  /** Set while a nudge may bring the next look forward. */
  let mayHurry = false;
  let wakeIn = (_ms: number): void => {};
  const pause = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      let timer = setTimeout(resolve, isNudged && mayHurry ? Math.min(ms, GATHER_MS) : ms);
      wakeIn = (sooner) => {
        clearTimeout(timer);
        timer = setTimeout(resolve, sooner);
      };
      if (stopping.signal.aborted) wakeIn(0);
    });

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      isNudged = false;
      let pauseMs: number;
      try {
        pauseMs = await round();
        mayHurry = true;
      } catch (error) {
        pauseMs = stopping.signal.aborted ? 0 : pauseAfter(error);
        mayHurry = false;
      }
      await pause(pauseMs);
    }
  }

  return {
    start() {
      running ??= run();
    },
    nudge() {
      if (isNudged) return;
      isNudged = true;
      if (mayHurry) wakeIn(GATHER_MS);
    },
    async stop() {
      stopping.abort();
      wakeIn(0);
      await running;
    },
  };
}

async function* each<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items;
}
