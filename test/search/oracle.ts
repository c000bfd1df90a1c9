import { analyze, termsOf } from "../../src/search/analyzer.js";
import { headWords } from "../../src/search/head-words.js";
import type { SearchableMessage } from "../../src/search/message.js";

/**
 * The same search as plainly as it can be said, one message after the other and without anything kept: what the index has to
 * answer, to within the error of a sum of fractions. Forms of words are left out: its texts have none.
 */
export function plainSearch(messages: readonly SearchableMessage[], query: string): Map<SearchableMessage, number> {
  const sessions = new Map<string, SearchableMessage[]>();
  for (const message of [...messages].sort((one, other) => one.sequence - other.sequence)) {
    sessions.set(message.session, [...(sessions.get(message.session) ?? []), message]);
  }
  const contents = new Map(messages.map((message) => [message, counted(message.content)]));
  const heads = new Map(messages.map((message) => [message, counted(headWords(message.role, message.createTime))]));
  const own = (message: SearchableMessage, term: string) => contents.get(message)?.get(term) ?? 0;
  const head = (message: SearchableMessage, term: string) => heads.get(message)?.get(term) ?? 0;
  const lengthOf = (counts: Map<string, number> | undefined) => sum([...(counts ?? []).values()]);

  /** What a message has of its own and of those around it. */
  function mixed(message: SearchableMessage, of: (message: SearchableMessage) => number): number {
    const session = sessions.get(message.session) ?? [];
    const at = session.indexOf(message);
    const other = (distance: number) => {
      const found = session[at + distance];
      return found ? of(found) : 0;
    };
    const before = session[at - 1];
    const fromBefore = before && /[?？؟]/.test(before.content.slice(-200)) ? 0.75 : 0.4;
    return of(message) + fromBefore * other(-1) + 0.25 * other(-2) + 0.25 * other(1) + 0.1 * other(2);
  }

  const frequency = (message: SearchableMessage, term: string) =>
    mixed(message, (one) => own(one, term)) + head(message, term);
  const length = (message: SearchableMessage) =>
    mixed(message, (one) => lengthOf(contents.get(one))) + lengthOf(heads.get(message));
  const inSession = (session: readonly SearchableMessage[], term: string) =>
    sum(session.map((message) => own(message, term) + head(message, term)));
  const sessionLength = (session: readonly SearchableMessage[]) =>
    sum(session.map((message) => lengthOf(contents.get(message)) + lengthOf(heads.get(message))));

  const terms = [...termsOf(query).keys()];
  const having = (term: string) => messages.filter((message) => own(message, term) + head(message, term) > 0).length;
  const messageScore = bm25(messages, terms, frequency, length, having);
  const sessionScore = bm25(
    [...sessions.values()],
    terms,
    inSession,
    sessionLength,
    (term) => [...sessions.values()].filter((session) => inSession(session, term) > 0).length,
  );
  const scores = messages.map((message): [SearchableMessage, number] => {
    const score = messageScore(message);
    return [message, score === 0 ? 0 : score + 0.3 * sessionScore(sessions.get(message.session) ?? [])];
  });
  return new Map(scores.filter(([, score]) => score > 0));
}

function bm25<T>(
  all: readonly T[],
  terms: readonly string[],
  frequency: (one: T, term: string) => number,
  length: (one: T) => number,
  having: (term: string) => number,
): (one: T) => number {
  const average = sum(all.map(length)) / all.length;
  return (one) => {
    const scores = terms.map((term) => {
      const times = frequency(one, term);
      const rarity = Math.log(1 + (all.length - having(term) + 0.5) / (having(term) + 0.5));
      return (rarity * times * 2.2) / (times + 1.2 * (0.25 + (0.75 * length(one)) / average));
    });
    return sum(scores) * sum(terms.map((term) => Math.min(1, frequency(one, term))));
  };
}

function counted(text: string): Map<string, number> {
  const counts = new Map<string, number>();
  analyze(text, (term) => counts.set(term, (counts.get(term) ?? 0) + 1));
  return counts;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);
