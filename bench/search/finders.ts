import MiniSearch from "minisearch";
import { ScopeIndex } from "../../src/search/scope-index.js";
import { inSlices } from "../../src/search/slices.js";
import type { RecordedMessage, RecordedSession } from "../data/questions.js";
import type { Find } from "./recall.js";

/** Our index, without the service around it. */
export async function scopeIndexFinder(sessions: readonly RecordedSession[]): Promise<Find> {
  const indexes = new Map<string, ScopeIndex>();
  const messages = new Map(sessions.map((session) => [session.session_id, session.messages]));
  for (const { user_id, session_id, messages } of sessions) {
    const index = indexes.get(user_id) ?? new ScopeIndex();
    indexes.set(user_id, index);
    await inSlices(index.add(messages.map((message, at) => searchable(session_id, message, at + 1))));
  }
  return (user, text, limit) =>
    (indexes.get(user)?.search(text, { limit }) ?? []).flatMap(
      ({ session, sequence }) => messages.get(session)?.[sequence - 1]?.message_id ?? [],
    );
}

function searchable(session: string, message: RecordedMessage, sequence: number) {
  const { role, content, create_time } = message;
  return { session, sequence, version: 0, role, roleType: 0, content, createTime: Date.parse(create_time) };
}

/** A library for this, as it comes. */
export function miniSearchFinder(sessions: readonly RecordedSession[]): Find {
  const indexes = new Map<string, MiniSearch>();
  for (const { user_id, messages } of sessions) {
    const index = indexes.get(user_id) ?? new MiniSearch({ fields: ["text"] });
    indexes.set(user_id, index);
    index.addAll(messages.map(({ message_id, role, content }) => ({ id: message_id, text: `${role}: ${content}` })));
  }
  return (user, text, limit) => {
    const hits = indexes.get(user)?.search(text) ?? [];
    return hits.slice(0, limit).map(({ id }) => id as string);
  };
}
