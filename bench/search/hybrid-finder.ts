import { createEndpoint, type EndpointSettings } from "../../src/embeddings/endpoint.js";
import { fused } from "../../src/embeddings/fusion.js";
import { batchesOf, textOf } from "../../src/embeddings/texts.js";
import { directionOf, quantised, similarity } from "../../src/embeddings/vectors.js";
import { ScopeIndex } from "../../src/search/scope-index.js";
import { inSlices } from "../../src/search/slices.js";
import type { RecordedMessage, RecordedSession } from "../data/questions.js";
import type { Find } from "./recall.js";

const ANSWER_MS = 60_000;

/** Hybrid search without the service around it: the first hits by their words, put in order by words and meaning. */
export async function hybridFinder(sessions: readonly RecordedSession[], settings: EndpointSettings): Promise<Find> {
  const endpoint = createEndpoint(settings);
  const indexes = new Map<string, ScopeIndex>();
  const messages = new Map(sessions.map((session) => [session.session_id, session.messages]));
  for (const { user_id, session_id, messages } of sessions) {
    const index = indexes.get(user_id) ?? new ScopeIndex();
    indexes.set(user_id, index);
    await inSlices(index.add(messages.map((message, at) => searchable(session_id, message, at + 1))));
  }
  const vectors = new Map<RecordedMessage, Uint8Array | undefined>();
  const all = sessions.flatMap((session) => session.messages);
  const texts = all.map(({ role, content }) => textOf(role, content) ?? role);
  for (const { from, to } of batchesOf(texts, settings.dimensions)) {
    const made = await endpoint.embed(texts.slice(from, to), { withinMs: ANSWER_MS });
    for (const [place, vector] of made.entries()) {
      const numbers = quantised(vector);
      vectors.set(all[from + place] as RecordedMessage, numbers && new Uint8Array(numbers.buffer));
    }
  }

  return async (user, text, limit) => {
    const [vector] = await endpoint.embed([text], { withinMs: ANSWER_MS });
    const direction = vector && directionOf(vector);
    const hits = indexes.get(user)?.search(text, { limit }) ?? [];
    const found = hits.map(({ session, sequence }) => messages.get(session)?.[sequence - 1] as RecordedMessage);
    const scores = fused(
      found.map((message, place) => {
        const numbers = vectors.get(message);
        return { lexical: hits[place]?.score ?? 0, dense: direction && numbers && similarity(direction, numbers) };
      }),
    );
    const places = [...found.keys()].sort((one, other) => (scores[other] as number) - (scores[one] as number));
    return places.map((place) => found[place]?.message_id ?? "");
  };
}

function searchable(session: string, message: RecordedMessage, sequence: number) {
  const { role, content, create_time } = message;
  return { session, sequence, version: 0, role, roleType: 0, content, createTime: Date.parse(create_time) };
}
