import MiniSearch from "minisearch";
import type { Collection } from "mongodb";
import type { RoleType, SessionsClient } from "../../src/client/index.js";
import type { Database } from "../../src/store/database.js";
import type { RecordedSession } from "../data/questions.js";
import { insert } from "../data/seed.js";
import type { Find } from "./recall.js";

/** The service, which is given all sessions as any application gives them. */
export async function serviceFinder(client: SessionsClient, sessions: readonly RecordedSession[]): Promise<Find> {
  for (const userId of new Set(sessions.map(({ user_id }) => user_id))) await client.createUser({ userId });
  for (const { session_id: sessionId, user_id: userId, messages } of sessions) {
    await client.addMemory({
      sessionId,
      userId,
      messages: messages.map(({ message_id, role, role_type, content, create_time }) => ({
        messageId: message_id,
        role,
        roleType: role_type.replace("ROLE_TYPE_", "").toLowerCase() as RoleType,
        content,
        createTime: new Date(create_time),
      })),
    });
  }
  return async (userId, text, limit) => {
    const { results } = await client.searchMemory({ userId, text, limit });
    return results.map(({ message }) => message.messageId);
  };
}

/** The text index of the database. */
export async function textIndexFinder({ db }: Database, sessions: readonly RecordedSession[]): Promise<Find> {
  const messages: Collection<{ _id: string; user: string; content: string }> = db.collection("bench_texts");
  await messages.createIndex({ user: 1, content: "text" });
  await insert(
    messages,
    sessions.flatMap(({ user_id: user, messages }) =>
      messages.map(({ message_id: _id, content }) => ({ _id, user, content })),
    ),
  );
  return async (user, text, limit) => {
    const sort = { score: { $meta: "textScore" } } as const;
    const hits = await messages
      .find({ user, $text: { $search: text } }, { projection: { _id: 1 }, sort, limit })
      .toArray();
    return hits.map(({ _id }) => _id);
  };
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
