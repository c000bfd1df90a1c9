import { projectOf } from "../../domain/keys.js";
import { indexTerms } from "../../domain/metadata-terms.js";
import type { MessageRecord } from "../../domain/records.js";
import type { SearchableMessage } from "../../search/message.js";
import type { ScopeIndex } from "../../search/scope-index.js";
import { inSlices } from "../../search/slices.js";
import type { RawDocument } from "../../store/raw.js";
import type { Range, ScopeMoment, ScopeSession } from "../../store/scope-reads.js";
import { loadedMetadata } from "../convert.js";

/** The index of a scope, and of which state of each session it is. */
export interface KnownScope {
  readonly index: ScopeIndex;
  /** By the sessions' keys. */
  readonly sessions: Map<string, Seen>;
}

/**
 * What of a session is in the index: all messages that lived, under this epoch and this version of its memory, up to and with a sequence.
 * Whatever adds, changes or removes a message moves one of the three in the same transaction.
 */
interface Seen {
  readonly epoch: string;
  /** undefined: nobody knows which, for it was being brought up to another. */
  readonly version: number | undefined;
  readonly to: number;
}

/** What is read at a time. */
const MESSAGES_AT_ONCE = 1_000;
const SESSIONS_AT_ONCE = 100;

/** How many messages a scope has that are not in its index, at most. */
export function missing({ sessions }: KnownScope, now: readonly ScopeSession[]): number {
  return now.reduce((sum, session) => {
    const seen = sessions.get(session.session);
    const isKnown = seen?.epoch === session.epoch && isOf(seen, session);
    return sum + (isKnown ? session.lastSequence - seen.to : session.messageCount);
  }, 0);
}

/** Not of a later state either: another primary may show an older moment than the one before it did. */
const isOf = ({ version, to }: Seen, { memoryVersion, lastSequence }: ScopeSession): boolean =>
  version === memoryVersion && to <= lastSequence;

/**
 * Brings an index from what it is of to the moment that is read. When it is broken off, what has been done so far counts, and the
 * next one goes on from there. `checkSize` breaks it off by what it throws.
 */
export async function catchUp(
  known: KnownScope,
  now: readonly ScopeSession[],
  moment: ScopeMoment,
  signal: AbortSignal,
  checkSize: () => void,
): Promise<void> {
  await takeAway(known, now, signal);
  for (const session of now) {
    const seen = known.sessions.get(session.session);
    if (seen && !isOf(seen, session)) await reconcile(known, session, seen, moment, signal);
  }
  for await (const { ranges, documents } of ahead(newParts(known, now, moment))) {
    const see = (memory: ScopeSession, to: number): void => {
      const { session, epoch, memoryVersion: version } = memory;
      known.sessions.set(session, { epoch, version, to });
    };
    // Before anything of a session is in the index, so that it is taken away again if this is broken off and the session changes or goes.
    for (const { memory, after } of ranges) see(memory, after);
    await inSlices(known.index.add(searchable(documents)), signal);
    for (const { memory, upTo } of ranges) see(memory, upTo);
    checkSize();
  }
}

/** What is behind what is known. */
async function* newParts(
  known: KnownScope,
  now: readonly ScopeSession[],
  moment: ScopeMoment,
): AsyncGenerator<Part<SessionRange>> {
  for (const ranges of batchesOf(known, now)) yield* read(moment, ranges);
}

/** Has the next one made while the one before is worked at. */
async function* ahead<T>(items: AsyncGenerator<T>): AsyncGenerator<T> {
  let next = items.next();
  try {
    for (;;) {
      const { done, value } = await next;
      if (done) return;
      next = items.next();
      yield value;
    }
  } finally {
    // It is not wanted any more, but its reads have to be over before their moment is.
    await next.catch(() => {});
  }
}

/** What is not a session of the scope any more, or has begun anew. */
async function takeAway(
  { index, sessions }: KnownScope,
  now: readonly ScopeSession[],
  signal: AbortSignal,
): Promise<void> {
  const current = new Map(now.map(({ session, epoch }) => [session, epoch]));
  for (const [session, seen] of sessions) {
    if (current.get(session) === seen.epoch) continue;
    // It may come back as it was, and by then be half taken away.
    sessions.set(session, { ...seen, version: undefined });
    await inSlices(index.removeSession(session), signal);
    sessions.delete(session);
  }
}

/** Messages that were there have changed, or are gone: which ones, only their states tell. */
async function reconcile(
  { index, sessions }: KnownScope,
  session: ScopeSession,
  seen: Seen,
  moment: ScopeMoment,
  signal: AbortSignal,
): Promise<void> {
  const { epoch } = seen;
  const to = Math.min(seen.to, session.lastSequence);
  const states = await moment.states(session, to);
  sessions.set(session.session, { epoch, to, version: undefined });
  const changed = await inSlices(index.reconcile(session.session, states), signal);
  for (let from = 0; from < changed.length; from += MESSAGES_AT_ONCE) {
    const sequences = changed.slice(from, from + MESSAGES_AT_ONCE);
    const ranges = rangesOf(sequences).map(([after, upTo]) => ({ memory: session, after, upTo }));
    for await (const { documents } of read(moment, ranges)) await inSlices(index.add(searchable(documents)), signal);
  }
  sessions.set(session.session, { epoch, to, version: session.memoryVersion });
}

/** What is behind what is known, in pieces that can be read at once. */
function* batchesOf({ sessions }: KnownScope, now: readonly ScopeSession[]): Generator<SessionRange[]> {
  let batch: SessionRange[] = [];
  let messages = 0;
  for (const session of now) {
    const { lastSequence, messageCount } = session;
    // A memory that was cleared begins far up: there may be many sequences, and few messages.
    const step = messageCount <= MESSAGES_AT_ONCE ? lastSequence : MESSAGES_AT_ONCE;
    for (let after = sessions.get(session.session)?.to ?? 0; after < lastSequence; after += step) {
      const upTo = Math.min(after + step, lastSequence);
      const expected = Math.min(upTo - after, messageCount);
      if (batch.length === SESSIONS_AT_ONCE || messages + expected > MESSAGES_AT_ONCE) {
        if (batch.length > 0) yield batch;
        batch = [];
        messages = 0;
      }
      batch.push({ memory: session, after, upTo });
      messages += expected;
    }
  }
  if (batch.length > 0) yield batch;
}

interface SessionRange extends Range {
  readonly memory: ScopeSession;
}

interface Part<R> {
  /** What has been read now, and is complete. */
  readonly ranges: readonly R[];
  readonly documents: readonly RawDocument<MessageRecord>[];
}

/** Reads ranges, in as many batches as it takes: messages can be so large that a few fill one. */
async function* read<R extends Range>(moment: ScopeMoment, ranges: readonly R[]): AsyncGenerator<Part<R>> {
  const { documents, mayBeCut } = await moment.searchable(ranges);
  const [range] = ranges as readonly [R];
  if (!mayBeCut) yield { ranges, documents };
  else if (ranges.length > 1) {
    const half = ranges.length >> 1;
    yield* read(moment, ranges.slice(0, half));
    yield* read(moment, ranges.slice(half));
  } else {
    const upTo = (documents.at(-1) as RawDocument<MessageRecord>).pick("sequence").sequence;
    yield { ranges: [{ ...range, upTo }], documents };
    if (upTo < range.upTo) yield* read(moment, [{ ...range, after: upTo }]);
  }
}

/** Sequences that follow each other, as ranges. */
function rangesOf(sequences: readonly number[]): [number, number][] {
  const ranges: [number, number][] = [];
  for (const sequence of sequences) {
    const last = ranges.at(-1);
    if (last && last[1] === sequence - 1) last[1] = sequence;
    else ranges.push([sequence - 1, sequence]);
  }
  return ranges;
}

/** Each only when it is its turn: to make them of thousands of documents takes long, too. */
function* searchable(documents: readonly RawDocument<MessageRecord>[]): Generator<SearchableMessage, void> {
  for (const document of documents) {
    const { session, sequence, version = 0, role, roleType, content, metadata, createTime } = document.fields();
    const key = session.toString();
    yield {
      session: key,
      sequence,
      version,
      role: role.toString(),
      roleType,
      content: content.toString(),
      createTime,
      ...(metadata && { terms: indexTerms(projectOf(key), loadedMetadata(metadata)) }),
    };
  }
}
