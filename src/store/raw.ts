import { BSON, type ClientSession, type Document, type Filter } from "mongodb";
import type { EmbeddedRecord, MessageRecord, SessionRecord, VectorRecord } from "../domain/records.js";
import type { Database } from "./database.js";
import { isWorthAnotherRead, translated } from "./driver-errors.js";

/**
 * A record as its bytes came from the database: texts are their UTF-8, times are milliseconds since 1970. Most of what is
 * read is only passed on: to turn every text into a string and back takes several times as long as all else here.
 */
export type Raw<R> = { readonly [K in keyof R as R[K] extends List ? never : K]: RawValue<R[K]> };

type List = readonly unknown[] | undefined;

type RawValue<V> = V extends string
  ? Buffer
  : V extends Date
    ? number
    : V extends Uint8Array
      ? Buffer
      : V extends object
        ? Raw<V>
        : V;

/**
 * A document as its bytes. Its fields are read when they are needed, each time anew: thousands of messages can be
 * under way, and their fields in memory would be what the collector is busy with.
 */
export class RawDocument<R> {
  readonly #bytes: Buffer;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /** A record as it would come from the database. */
  static of<R extends Document>(record: R): RawDocument<R> {
    const { buffer, byteOffset, byteLength } = BSON.serialize(record, { ignoreUndefined: true });
    return new RawDocument(Buffer.from(buffer, byteOffset, byteLength));
  }

  /** How many bytes it has in the database. */
  get size(): number {
    return this.#bytes.length;
  }

  fields(): Raw<R> {
    return fieldsOf(this.#bytes, 0) as Raw<R>;
  }

  /** As the driver gives it. */
  record(): R {
    return BSON.deserialize(this.#bytes, { promoteBuffers: true }) as R;
  }

  /** Some fields only, for less. */
  pick<K extends keyof Raw<R> & string>(...names: K[]): Pick<Raw<R>, K> {
    return fieldsOf(this.#bytes, 0, names) as Pick<Raw<R>, K>;
  }
}

/** What can be read in this way, by collection. */
export interface RawRecords {
  readonly sessions: SessionRecord;
  readonly messages: MessageRecord;
  readonly vectors: VectorRecord;
  readonly embedded: EmbeddedRecord;
}

export type RawName = keyof RawRecords;

export interface RawQuery<R> {
  readonly filter: Filter<R>;
  readonly sort?: Record<string, 1 | -1>;
  readonly limit?: number;
  readonly projection?: Document;
}

export interface RawBatch<R> {
  readonly documents: readonly RawDocument<R>[];
  readonly bytes: number;
  /** Whether more may be there that the query asks for: the database cuts a batch before 16 MiB. */
  readonly mayBeCut: boolean;
}

/** What was cut has this many at least, for no document has more than 3 MiB. */
const CUT_BYTES = 12 * 1024 * 1024;

/**
 * Runs a query for one batch, and leaves no cursor open. By the command itself, because the driver's cursors make an object of
 * each document before they give away its bytes. In a session the reads see what its first one saw.
 */
export async function findRaw<Name extends RawName>(
  { db }: Database,
  collection: Name,
  query: RawQuery<RawRecords[Name]>,
  options: {
    readonly maxTimeMS: number;
    readonly session?: ClientSession;
    readonly readConcern?: Document | undefined;
  },
): Promise<RawBatch<RawRecords[Name]>> {
  const { session, maxTimeMS, readConcern = { level: "majority" } } = options;
  const command = {
    find: collection,
    ...query,
    // As many as there are.
    batchSize: query.limit ?? 2 ** 30,
    singleBatch: true,
    maxTimeMS,
    // A snapshot's is the session's business.
    ...(!session && { readConcern }),
  };
  const run = () => db.command(command, { ...BATCH_AS_BYTES, session, readPreference: "primary" });
  // As the driver does for its own reads.
  const { cursor } = await run().catch((error: unknown) => {
    if (isWorthAnotherRead(error)) return run();
    throw error;
  });
  const documents = (cursor.firstBatch as Buffer[]).map((document) => new RawDocument<RawRecords[Name]>(document));
  const bytes = documents.reduce((sum, { size }) => sum + size, 0);
  return { documents, bytes, mayBeCut: bytes > CUT_BYTES };
}

/** The same, for whoever hands on what it throws as it is. */
export function readRaw<Name extends RawName>(
  ...query: Parameters<typeof findRaw<Name>>
): Promise<RawBatch<RawRecords[Name]>> {
  return translated(() => findRaw(...query));
}

/** Not `raw`, which makes bytes of what an error tells of the server, too: the driver keeps that, and fails on it later. */
const BATCH_AS_BYTES = { fieldsAsRaw: { firstBatch: true } };

const elementsOf = BSON.onDemand.parseToElements;

/** The fields of the document that begins here, or those of them that are wanted. */
function fieldsOf(bytes: Buffer, start: number, wanted?: readonly string[]): Record<string, unknown> {
  const fields: Record<string, unknown> = {};
  let position = 0;
  for (const [type, nameAt, nameLength, at, length] of elementsOf(bytes, start)) {
    const name = nameOf(bytes, nameAt, nameLength, position);
    position += 1;
    if (type !== TYPES.array && (wanted?.includes(name) ?? true)) fields[name] = readValue(bytes, type, at, length);
  }
  return fields;
}

const TYPES = {
  double: 1,
  string: 2,
  object: 3,
  array: 4,
  binary: 5,
  boolean: 8,
  date: 9,
  int32: 16,
  int64: 18,
} as const;

function readValue(bytes: Buffer, type: number, at: number, length: number): unknown {
  switch (type) {
    case TYPES.string:
      // Its length comes before it, and a zero behind it.
      return bytes.subarray(at + 4, at + length - 1);
    case TYPES.int32:
      return bytes.readInt32LE(at);
    case TYPES.date:
      return bytes.readUInt32LE(at) + bytes.readInt32LE(at + 4) * 2 ** 32;
    case TYPES.double:
      return bytes.readDoubleLE(at);
    // Not stored by us, but perhaps by whoever has repaired something by hand.
    case TYPES.int64:
      return Number(bytes.readBigInt64LE(at));
    case TYPES.boolean:
      return bytes[at] === 1;
    case TYPES.binary:
      // Its length and its subtype come before it.
      return bytes.subarray(at + 5, at + length);
    case TYPES.object:
      return fieldsOf(bytes, at);
    default:
      // Null, which is as good as absent, or of a type that this service never stores.
      return undefined;
  }
}

/** The name that a field at this place had when one was last read: documents of a collection are much alike. */
const lastNames: string[] = [];

/** A field's name, which is ASCII. To compare it with the one that is likely is quicker than to make a string of it. */
function nameOf(bytes: Buffer, at: number, length: number, position: number): string {
  const likely = lastNames[position];
  if (likely !== undefined && isName(bytes, at, length, likely)) return likely;
  const name = bytes.toString("latin1", at, at + length);
  lastNames[position] = name;
  return name;
}

function isName(bytes: Buffer, at: number, length: number, name: string): boolean {
  if (length !== name.length) return false;
  for (let index = 0; index < length; index++) if (bytes[at + index] !== name.charCodeAt(index)) return false;
  return true;
}
