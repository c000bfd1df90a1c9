import type { VectorRecord } from "../../domain/records.js";
import { fused } from "../../embeddings/fusion.js";
import { similarity } from "../../embeddings/vectors.js";
import type { Filter, Hit } from "../../search/message.js";
import type { RawBatch, RawDocument } from "../../store/raw.js";
import type { ScopeSession } from "../../store/scope-reads.js";
import { placeOf, placesOf } from "./hits.js";
import type { Look } from "./scopes.js";

/** What is looked for, as the vectors of a model have it. */
export interface Meaning {
  readonly model: string;
  /** Undefined for a text that means nothing. */
  readonly direction: Float32Array | undefined;
}

export interface Wanted {
  readonly filter: Filter;
  readonly limit: number;
  readonly neighbors: number;
}

/** So many of the best by their words are put in order by their meaning, too: with more it becomes no better. */
const COMPARED = 100;

/**
 * The best by their words, put in order by words and meaning. Behind them come all others by their words alone: so the first are the same
 * ones however many are wanted.
 */
export async function rankByBoth(at: Look, text: string, meaning: Meaning, wanted: Wanted): Promise<readonly Hit[]> {
  const hits = at.index.search(text, { ...wanted, limit: Math.max(wanted.limit, COMPARED) });
  const compared = hits.slice(0, COMPARED);
  const dense = await similaritiesOf(at, compared, meaning);
  const scores = fused(
    compared.map(({ session, sequence, score }) => ({ lexical: score, dense: dense.get(placeOf(session, sequence)) })),
  );
  const first = compared
    .map((hit, place) => ({ ...hit, score: scores[place] as number }))
    .sort((one, other) => other.score - one.score);
  // Hits have words in common with what is looked for, so the scores of all are above 0.
  const part = (first.at(-1)?.score ?? 0) / (compared.at(-1)?.score ?? 1);
  const others = hits.slice(COMPARED).map((hit) => ({ ...hit, score: hit.score * part }));
  return [...first, ...others].slice(0, wanted.limit);
}

/** Of those that have a vector, by their places. */
async function similaritiesOf(
  at: Look,
  hits: readonly Hit[],
  { model, direction }: Meaning,
): Promise<ReadonlyMap<string, number>> {
  const places = placesOf(
    at,
    hits.map(({ session, sequence }) => ({ session, sequences: [sequence] })),
  );
  if (!direction || places.length === 0) return new Map();
  const { documents } = await at.moment.vectorsAt(places, model);
  const scored = documents.map((document) => scoredBy(document, direction));
  return new Map(scored.flatMap((one) => (one ? [[placeOf(one.session, one.sequence), one.score] as const] : [])));
}

/** The nearest of all that have a vector. */
export async function rankByMeaning(
  at: Look,
  { model, direction }: Meaning,
  { filter, limit, neighbors }: Wanted,
): Promise<readonly Hit[]> {
  if (!direction) return [];
  const isWanted = maskOf(at, filter);
  let best: Scored[] = [];
  for await (const { documents } of vectorsOf(at, model)) {
    for (const document of documents) {
      const scored = scoredBy(document, direction);
      if (scored && isWanted(scored)) best.push(scored);
    }
    best = best.sort((one, other) => other.score - one.score).slice(0, limit);
  }
  const hits: Hit[] = [];
  for (const { session, sequence, score } of best) {
    const memory = at.sessions.get(session);
    const around = memory && neighbors > 0 ? await at.moment.around(memory, sequence, neighbors) : NOTHING_AROUND;
    hits.push({ session, sequence, score, ...around });
  }
  return hits;
}

const NOTHING_AROUND = { before: [], after: [] };

interface Scored {
  readonly session: string;
  readonly sequence: number;
  readonly score: number;
}

function scoredBy(document: RawDocument<VectorRecord>, direction: Float32Array): Scored | undefined {
  const { session, sequence, vector } = document.fields();
  if (!vector || vector.length !== direction.length) return undefined;
  return { session: session.toString(), sequence, score: similarity(direction, vector) };
}

/** Which messages a filter lets through. */
function maskOf({ index }: Look, filter: Filter): (message: Scored) => boolean {
  const { roleTypes = [], terms = [], createdAfter, createdBefore } = filter;
  const isEmpty =
    roleTypes.length === 0 && terms.length === 0 && createdAfter === undefined && createdBefore === undefined;
  if (isEmpty) return () => true;
  const wanted = new Set<string>();
  for (const { session, sequence } of index.wanted(filter)) wanted.add(placeOf(session, sequence));
  return ({ session, sequence }) => wanted.has(placeOf(session, sequence));
}

/** What is read at a time. */
const VECTORS_AT_ONCE = 1_000;

/** The vectors of a scope: those of small sessions together, those of a large one a part at a time. */
async function* vectorsOf(
  { moment, sessions }: Look,
  model: string,
): AsyncGenerator<Pick<RawBatch<VectorRecord>, "documents">> {
  let some: ScopeSession[] = [];
  let messages = 0;
  for (const session of sessions.values()) {
    // There may be any number of them, and a query has a branch for each.
    if (session.messageCount === 0) continue;
    if (session.messageCount > VECTORS_AT_ONCE) {
      for (let after = 0; ; ) {
        const { documents } = await moment.vectorsBehind(session, after, VECTORS_AT_ONCE, model);
        yield { documents };
        const last = documents.at(-1);
        if (!last || documents.length < VECTORS_AT_ONCE) break;
        after = last.pick("sequence").sequence;
      }
      continue;
    }
    if (messages + session.messageCount > VECTORS_AT_ONCE) {
      yield await moment.vectorsOf(some, model);
      some = [];
      messages = 0;
    }
    some.push(session);
    messages += session.messageCount;
  }
  if (some.length > 0) yield await moment.vectorsOf(some, model);
}

/** How many messages of a scope are not embedded yet. */
export async function countUnembedded({ moment, sessions }: Look, model: string): Promise<number> {
  const rows = await moment.embedded([...sessions.keys()]);
  let unembedded = 0;
  for (const { session, epoch, messageCount } of sessions.values()) {
    const row = rows.get(session);
    const embedded = row?.epoch.toString() === epoch && row.model.toString() === model ? row.count : 0;
    unembedded += Math.max(0, messageCount - embedded);
  }
  return unembedded;
}
