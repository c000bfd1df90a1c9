import type { JsonObject } from "../../domain/json.js";
import type { Filter, Hit } from "../../search/message.js";
import { inSlices } from "../../search/slices.js";
import { loadedMetadata } from "../convert.js";
import type { Wanted } from "./by-meaning.js";
import type { Found } from "./found.js";
import { readHits, readMetadata } from "./hits.js";
import type { Look } from "./scopes.js";

export interface Query {
  readonly matches: ((metadata: JsonObject) => boolean) | undefined;
  readonly filter: Filter;
  readonly limit: number;
  readonly neighbors: number;
}

/** About as many as an answer has room for, of the smallest messages. */
export const MAX_HITS = 20_000;

/** So many messages have their metadata looked at together. */
const LOOKED_AT_ONCE = 1_000;

/** The best hits. What the index cannot tell of their metadata is looked up, best first, until there are enough that match. */
export async function find(
  at: Look,
  rank: (wanted: Wanted) => Promise<readonly Hit[]>,
  { matches, filter, limit, neighbors }: Query,
  signal: AbortSignal,
): Promise<readonly Found[]> {
  const best = (most: number) => rank({ filter, limit: most, neighbors });
  if (!matches) return readHits(at, await best(limit), limit);
  const matching: Hit[] = [];
  let looked = 0;
  for (let candidates = LOOKED_AT_ONCE; ; candidates *= 4) {
    const hits = await best(candidates);
    while (looked < hits.length && matching.length < limit) {
      const some = hits.slice(looked, looked + LOOKED_AT_ONCE);
      matching.push(...(await inSlices(whose(matches, some, await readMetadata(at, some)), signal)));
      looked += some.length;
    }
    if (matching.length >= limit || hits.length < candidates) return readHits(at, matching, limit);
  }
}

/** Stops after each: it may take long to see whether one matches. */
function* whose(
  matches: (metadata: JsonObject) => boolean,
  hits: readonly Hit[],
  stored: ReadonlyMap<Hit, Uint8Array>,
): Generator<void, Hit[], undefined> {
  const matching: Hit[] = [];
  for (const hit of hits) {
    if (matches(loadedMetadata(stored.get(hit)))) matching.push(hit);
    yield;
  }
  return matching;
}
