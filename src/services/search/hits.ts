import { MAX_SEARCH_BYTES } from "../../domain/limits.js";
import type { MessageRecord } from "../../domain/records.js";
import type { Hit } from "../../search/message.js";
import type { RawDocument } from "../../store/raw.js";
import type { Place, ScopeSession } from "../../store/scope-reads.js";
import { messageBytes } from "../encode.js";
import type { Found } from "./found.js";
import type { Look } from "./scopes.js";

type Message = RawDocument<MessageRecord>;

/** So many messages are read at once. */
const READ_AT_ONCE = 100;

/** The first so many of the hits with their neighbors; less when there is no room for more in an answer, which there is for the first. */
export async function readHits(at: Look, hits: readonly Hit[], limit: number): Promise<readonly Found[]> {
  const chosen: { hit: Hit; message: Message }[] = [];
  const end = Math.min(hits.length, limit);
  let room = MAX_SEARCH_BYTES;
  for (let from = 0; from < end && room >= 0; from += READ_AT_ONCE) {
    const batch = hits.slice(from, Math.min(from + READ_AT_ONCE, end));
    const messages = await read(
      at,
      batch.map(({ session, sequence }) => ({ session, sequences: [sequence] })),
    );
    for (const hit of batch) {
      const message = messages.get(placeOf(hit.session, hit.sequence));
      // Those for which there cannot be room have not even been read.
      room -= message ? messageBytes(message) : MAX_SEARCH_BYTES;
      if (!message || (room < 0 && chosen.length > 0)) break;
      chosen.push({ hit, message });
    }
  }
  return withNeighbors(at, chosen, Math.max(room, 0));
}

/** The metadata of hits, as it is stored, of those that have any. */
export async function readMetadata(at: Look, hits: readonly Hit[]): Promise<ReadonlyMap<Hit, Uint8Array>> {
  const stored = new Map<string, Uint8Array>();
  const readSome = async (some: readonly Hit[]): Promise<void> => {
    const { documents, mayBeCut } = await at.moment.metadata(
      placesOf(
        at,
        some.map(({ session, sequence }) => ({ session, sequences: [sequence] })),
      ),
    );
    if (mayBeCut && some.length > 1) {
      const half = some.length >> 1;
      await readSome(some.slice(0, half));
      await readSome(some.slice(half));
      return;
    }
    for (const document of documents) {
      const { session, sequence, metadata } = document.pick("session", "sequence", "metadata");
      if (metadata) stored.set(placeOf(session.toString(), sequence), metadata);
    }
  };
  await readSome(hits);
  return new Map(
    hits.flatMap((hit) => {
      const metadata = stored.get(placeOf(hit.session, hit.sequence));
      return metadata ? [[hit, metadata] as const] : [];
    }),
  );
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
async function read(at: Look, wanted: readonly Wanted[]): Promise<ReadonlyMap<string, Message>> {
  const messages = new Map<string, Message>();
  let bytes = 0;
  const readSome = async (some: readonly Wanted[]): Promise<void> => {
    if (some.length === 0 || bytes > MAX_SEARCH_BYTES) return;
    const { documents, mayBeCut, bytes: read } = await at.moment.messages(placesOf(at, some));
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

/** Of each session once, with all that is wanted of it: a query has one branch for each. */
export function placesOf({ sessions }: Look, wanted: readonly Wanted[]): Place[] {
  const bySession = new Map<ScopeSession, number[]>();
  for (const { session, sequences } of wanted) {
    const memory = sessions.get(session);
    if (!memory) continue;
    const all = bySession.get(memory);
    if (all) all.push(...sequences);
    else bySession.set(memory, [...sequences]);
  }
  return [...bySession].map(([memory, sequences]) => ({ memory, sequences }));
}

export const placeOf = (session: string, sequence: number): string => `${sequence} ${session}`;
