import type { Hit, SearchableMessage } from "../../src/search/message.js";
import { ScopeIndex, type Wanted } from "../../src/search/scope-index.js";

/** Does work in one go. */
export function finish<T>(work: Generator<void, T, undefined>): T {
  for (;;) {
    const step = work.next();
    if (step.done) return step.value;
  }
}

export function indexOf(messages: Iterable<SearchableMessage>): ScopeIndex {
  const index = new ScopeIndex();
  finish(index.add(messages));
  return index;
}

/** A message of the session `s` that a user sent in 1970, unless it is said otherwise. */
export function message(sequence: number, content: string, more: Partial<SearchableMessage> = {}): SearchableMessage {
  return {
    session: "s",
    sequence,
    version: 0,
    role: "user",
    roleType: 3,
    content,
    createTime: sequence * 1_000,
    ...more,
  };
}

/** Texts as the messages of sessions of their own, so that none is the context of another. */
export const apart = (texts: readonly string[]): SearchableMessage[] =>
  texts.map((text, at) => message(1, text, { session: `s${at}` }));

/** Which of the texts a query finds, best first. */
export function found(texts: readonly string[], query: string): string[] {
  const hits = indexOf(apart(texts)).search(query, { limit: 100 });
  return hits.map(({ session }) => texts[Number(session.slice(1))] as string);
}

export const sequencesOf = (hits: readonly Hit[]): number[] => hits.map(({ sequence }) => sequence);

export const everything = (index: ScopeIndex, query: string, wanted: Partial<Wanted> = {}): Hit[] =>
  index.search(query, { limit: 1_000, neighbors: 2, ...wanted });
