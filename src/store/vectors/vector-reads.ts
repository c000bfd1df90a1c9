import type { EmbeddedRecord, VectorRecord } from "../../domain/records.js";
import type { Database } from "../database.js";
import { LIVE, type MemoryKey } from "../messages.js";
import { type Raw, type RawBatch, readRaw } from "../raw.js";

/** Reads of what is known of the meaning of messages, as part of a moment: whatever is there is of a message that lives then. */
export interface VectorReads {
  /** Of each of these sessions that has any: how far it is embedded. */
  embedded(sessions: readonly string[]): Promise<ReadonlyMap<string, Raw<EmbeddedRecord>>>;
  /** The vectors of some messages, of those that have one. */
  vectorsAt(
    places: readonly { readonly memory: MemoryKey; readonly sequences: readonly number[] }[],
    model: string,
  ): Promise<RawBatch<VectorRecord>>;
  /** The vectors of whole memories, in no order. As many as have room in one batch. */
  vectorsOf(memories: readonly MemoryKey[], model: string): Promise<RawBatch<VectorRecord>>;
  /** The next vectors of a memory behind a sequence, in order. */
  vectorsBehind(memory: MemoryKey, after: number, limit: number, model: string): Promise<RawBatch<VectorRecord>>;
  /** The sequences of so many messages right before and right after another, oldest first. */
  around(memory: MemoryKey, sequence: number, count: number): Promise<{ before: number[]; after: number[] }>;
}

const COMPARED = { _id: 0, session: 1, sequence: 1, vector: 1 } as const;

export function vectorReadsIn(database: Database, options: () => Parameters<typeof readRaw>[3]): VectorReads {
  return {
    async embedded(sessions) {
      const { documents } = await readRaw(database, "embedded", { filter: { _id: { $in: [...sessions] } } }, options());
      return new Map(documents.map((document) => document.fields()).map((row) => [row._id.toString(), row] as const));
    },
    vectorsAt(places, model) {
      const each = places.map(({ memory: { session, epoch }, sequences }) => ({
        session,
        epoch,
        model,
        sequence: { $in: [...sequences] },
      }));
      return readRaw(database, "vectors", { filter: { $or: each }, projection: COMPARED }, options());
    },
    vectorsOf(memories, model) {
      const each = memories.map(({ session, epoch }) => ({ session, epoch, model }));
      return readRaw(database, "vectors", { filter: { $or: each }, projection: COMPARED }, options());
    },
    vectorsBehind({ session, epoch }, after, limit, model) {
      const filter = { session, epoch, model, sequence: { $gt: after } };
      const query = { filter, sort: { sequence: 1 } as const, limit, projection: COMPARED };
      return readRaw(database, "vectors", query, options());
    },
    async around({ session, epoch }, sequence, count) {
      const next = async (range: object, direction: 1 | -1): Promise<number[]> => {
        const filter = { session, epoch, sequence: range, ...LIVE };
        const sort = { sequence: direction };
        const projection = { _id: 0, sequence: 1 };
        const { documents } = await readRaw(
          database,
          "messages",
          { filter, sort, limit: count, projection },
          options(),
        );
        return documents.map((document) => document.pick("sequence").sequence);
      };
      const before = await next({ $lt: sequence }, -1);
      return { before: before.reverse(), after: await next({ $gt: sequence }, 1) };
    },
  };
}
