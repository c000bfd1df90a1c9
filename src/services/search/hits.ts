import { MAX_SEARCH_BYTES } from "../../domain/limits.js";
import type { MessageRecord } from "../../domain/records.js";
import type { Hit } from "../../search/message.js";
import type { RawDocument } from "../../store/raw.js";
import { messageBytes } from "../encode.js";
import type { Found } from "./found.js";
import type { Look } from "./scopes.js";

type Message = RawDocument<MessageRecord>;

/**
 * The first so many of the hits that match, with their neighbors; less when there is no room for more in an answer, which there is for
 * the first one. `isCut` tells of that.
 */
export async function readHits(
  at: Look,
  hits: readonly Hit[],
  matches: (message: Message) => boolean,
  limit: number,
): Promise<{ found: readonly Found[]; isCut: boolean }> {
  const chosen: { hit: Hit; message: Message }[] = [];
  let room = MAX_SEARCH_BYTES;
  let isCut = false;
  for (let from = 0; from < hits.length && chosen.length < limit && !isCut; from += limit) {
    const batch = hits.slice(from, from + limit);
    const messages = await read(
      at,
      batch.map(({ session, sequence }) => ({ session, sequences: [sequence] })),
    );
    for (const hit of batch) {
      const message = messages.get(placeOf(hit.session, hit.sequence));
      if (!message || !matches(message) || chosen.length === limit) continue;
      room -= messageBytes(message);
      isCut = room < 0 && chosen.length > 0;
      if (isCut) break;
      chosen.push({ hit, message });
    }
  }
  return { found: await withNeighbors(at, chosen, room), isCut };
}

/** Those next to their hits come first, of each hit after the other, as long as there is room. */
async function withNeighbors(
  at: Look,
  chosen: readonly { hit: Hit; message: Message }[],
  room: number,
): Promise<readonly Found[]> {
  const wanted = chosen.map(({ hit: { session, before, after } }) => ({ session, sequences: [...before, ...after] }));
  const messages = await read(
    at,
    wanted.filter(({ sequences }) => sequences.length > 0),
  );
  let left = room;
  return chosen.map(({ hit, message }) => {
    const taken = (sequences: readonly number[]): Message[] => {
      const some: Message[] = [];
      for (const sequence of sequences) {
        const neighbor = messages.get(placeOf(hit.session, sequence));
        if (!neighbor || messageBytes(neighbor) > left) break;
        left -= messageBytes(neighbor);
        some.push(neighbor);
      }
      return some;
    };
    return { score: hit.score, message, before: taken(hit.before.toReversed()).reverse(), after: taken(hit.after) };
  });
}

interface Wanted {
  /** The session's key. */
  readonly session: string;
  readonly sequences: readonly number[];
}

/** Messages by their places. What does not have room in one batch is read in smaller ones, up to about what an answer may have. */
async function read({ moment, sessions }: Look, wanted: readonly Wanted[]): Promise<ReadonlyMap<string, Message>> {
  const messages = new Map<string, Message>();
  let bytes = 0;
  const readSome = async (some: readonly Wanted[]): Promise<void> => {
    if (some.length === 0 || bytes > MAX_SEARCH_BYTES) return;
    const places = some.flatMap(({ session, sequences }) => {
      const memory = sessions.get(session);
      return memory ? [{ memory, sequences }] : [];
    });
    const { documents, mayBeCut, bytes: read } = await moment.messages(places);
    if (mayBeCut && some.length > 1) {
      const half = some.length >> 1;
      await readSome(some.slice(0, half));
      await readSome(some.slice(half));
      return;
    }
    bytes += read;
    for (const document of documents) {
      const { session, sequence } = document.pick("session", "sequence");
      messages.set(placeOf(session.toString(), sequence), document);
    }
  };
  await readSome(wanted);
  return messages;
}

export const placeOf = (session: string, sequence: number): string => `${sequence} ${session}`;
