import { expect } from "vitest";
import type { SearchMemoryResponse } from "../../gen/sessions/v1/memory_service.js";
import type { Message } from "../../gen/sessions/v1/resources.js";
import { ScopeIndex } from "../../src/search/scope-index.js";

/** Words of which every message of the model has one. */
export const TEXT = "hello höre";

/** An answer must be what an index that is built from nothing answers, of just the messages that the rules have in its scope. */
export function searchAgrees(
  answer: SearchMemoryResponse,
  scope: readonly { session: string; sequence: number }[],
): void {
  const found = answer.results.map(({ message, score }) => ({ message: message as Message, score }));
  const places = found.map(({ message }) => `${message.sessionId} ${message.sequence}`).toSorted();
  expect(places).toEqual(scope.map(({ session, sequence }) => `${session} ${sequence}`).toSorted());

  const index = new ScopeIndex();
  const messages = found.map(({ message }) => searchable(message)).toSorted((a, b) => a.sequence - b.sequence);
  for (const _ of index.add(messages)) void _;
  expect(found.map(({ message, score }) => [message.sessionId, message.sequence, score])).toEqual(
    index.search(TEXT, { limit: 100 }).map(({ session, sequence, score }) => [session, sequence, score]),
  );
}

function searchable({ sessionId, sequence, role, roleType, content, createTime }: Message) {
  const { seconds = 0, nanos = 0 } = createTime ?? {};
  return {
    session: sessionId,
    sequence,
    version: 0,
    role,
    roleType,
    content,
    createTime: seconds * 1000 + nanos / 1e6,
  };
}
