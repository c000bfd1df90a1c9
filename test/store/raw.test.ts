import { randomUUID } from "node:crypto";
import fc from "fast-check";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { GetMemoryResponse, ListMessagesResponse } from "../../gen/sessions/v1/memory_service.js";
import {
  BatchGetSessionsResponse,
  GetSessionResponse,
  ListSessionsResponse,
} from "../../gen/sessions/v1/session_service.js";
import { type MessageRecord, NO_TIME, type SessionRecord } from "../../src/domain/records.js";
import { encodeStruct } from "../../src/domain/struct.js";
import { toMessage, toSession, toSummary } from "../../src/services/convert.js";
import {
  encodeBatchGetSessions,
  encodeGetMemory,
  encodeGetSession,
  encodeListMessages,
  encodeListSessions,
  encodeMessages,
  encodeRestOfMemory,
} from "../../src/services/encode.js";
import { type Database, openDatabase } from "../../src/store/database.js";
import { findRaw, type RawName, type RawRecords } from "../../src/store/raw.js";
import { anyJson } from "../domain/any-json.js";

/**
 * What is encoded from the bytes of a stored document must be what the generated code makes of the document itself, for every
 * document that can be stored.
 */
let database: Database;
beforeAll(async () => {
  database = openDatabase({ uri: inject("mongodbUri"), database: `test-${randomUUID()}` });
  await database.ping();
});
afterAll(async () => {
  await database.db.dropDatabase();
  await database.close();
});

const text = fc.string({ unit: "grapheme", maxLength: 80 });
const id = fc.string({ unit: "grapheme", minLength: 1, maxLength: 40 });
// From the first to the last that a Timestamp can hold.
const time = fc.date({
  min: new Date("0001-01-01T00:00:00Z"),
  max: new Date("9999-12-31T23:59:59.999Z"),
  noInvalidDate: true,
});
const count = fc.oneof(fc.nat(), fc.maxSafeNat());
const int32 = fc.oneof(fc.nat(), fc.constant(2 ** 31 - 1));
const metadata = fc.option(anyJson.map(encodeStruct), { nil: undefined });
const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });

const epoch = fc.constant("0123456789abcdef");

const message = fc.record({
  _id: id.map((messageId) => `0123456789abcdef/${messageId}`),
  session: id.map((sessionId) => `default/${sessionId}`),
  epoch,
  sequence: count,
  role: text,
  roleType: fc.nat({ max: 5 }),
  content: fc.oneof(text, fc.string({ unit: "grapheme", minLength: 200, maxLength: 20_000 })),
  payload: maybe(fc.uint8Array({ maxLength: 300 })),
  payloadType: maybe(text),
  metadata,
  tokenCount: int32,
  createTime: time,
  addTime: time,
  updateTime: maybe(time),
  version: maybe(count),
  groupId: maybe(id),
}) satisfies fc.Arbitrary<MessageRecord>;

const summary = fc.record({
  content: text,
  recentMessageId: id,
  recentSequence: count,
  metadata,
  tokenCount: int32,
  createTime: time,
});

const session = fc.record({
  _id: id.map((sessionId) => `default/${sessionId}`),
  project: fc.constant("default"),
  uid: fc.uuid(),
  user: maybe(id.map((userId) => `default/${userId}`)),
  userEpoch: maybe(epoch),
  metadata,
  terms: maybe(fc.array(text)),
  createTime: time,
  updateTime: time,
  lastMessageTime: fc.oneof(time, fc.constant(NO_TIME)),
  version: count,
  epoch,
  messageCount: count,
  lastSequence: count,
  summary: maybe(summary),
  deleted: fc.boolean(),
  deleteTime: maybe(time),
  purgeTime: maybe(time),
}) satisfies fc.Arbitrary<SessionRecord>;

/** Stores the documents, under ids that are made unique, and reads them back in both ways. */
async function stored<Name extends RawName>(name: Name, made: readonly RawRecords[Name][]) {
  const records = made.map((record) => ({ ...record, _id: `${record._id}${randomUUID()}` }));
  const collection = database.db.collection<{ _id: string }>(name);
  await collection.insertMany(records);
  const filter = { _id: { $in: records.map(({ _id }) => _id) } };
  const sort = { _id: 1 } as const;
  const decoded = await collection.find(filter, { sort, promoteBuffers: true }).toArray();
  const { documents } = await findRaw(database, name, { filter: filter as never, sort }, { maxTimeMS: 10_000 });
  return { decoded: decoded as unknown as RawRecords[Name][], documents };
}

const RUNS = { numRuns: 40 };
const sequenceOf = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

test("messages", () =>
  fc.assert(
    fc.asyncProperty(fc.array(message, { minLength: 1, maxLength: 20 }), text, async (records, nextCursor) => {
      const { decoded, documents } = await stored("messages", records);
      const encoded = encodeListMessages(documents, nextCursor);
      const response = ListMessagesResponse.fromPartial({ nextCursor });
      response.messages = decoded.map(toMessage);
      expect(sequenceOf(encoded.bytes)).toBe(sequenceOf(ListMessagesResponse.encode(response).finish()));
    }),
    RUNS,
  ));

test("sessions", () =>
  fc.assert(
    fc.asyncProperty(fc.array(session, { minLength: 1, maxLength: 20 }), text, async (records, last) => {
      const { decoded, documents } = await stored("sessions", records);
      const sessions = decoded.map(toSession);
      const fields = documents.map((document) => document.fields());
      const same = (encoded: { bytes: Buffer }, expected: Uint8Array) =>
        expect(sequenceOf(encoded.bytes)).toBe(sequenceOf(expected));
      same(encodeListSessions(documents, last), ListSessionsResponse.encode({ sessions, nextCursor: last }).finish());
      const ids = [...fields.keys(), last].map(String);
      same(
        encodeBatchGetSessions(ids, (id) => (id === last ? undefined : fields[Number(id)])),
        BatchGetSessionsResponse.encode({ sessions, missingSessionIds: [last], unreadSessionIds: [] }).finish(),
      );
      for (const [index, one] of fields.entries()) {
        same(encodeGetSession(one), GetSessionResponse.encode({ session: sessions[index] }).finish());
      }
    }),
    RUNS,
  ));

test("a memory with its session and summary", () =>
  fc.assert(
    fc.asyncProperty(
      session,
      fc.array(message, { minLength: 1, maxLength: 10 }),
      fc.nat(),
      fc.boolean(),
      async (record, records, tokens, isCut) => {
        const [sessions, messages] = [await stored("sessions", [record]), await stored("messages", records)];
        const found = sessions.decoded[0] as SessionRecord;
        const fields = sessions.documents[0]?.fields();
        if (!fields) throw new Error("not stored");
        const expected = {
          messages: messages.decoded.map(toMessage),
          summary: found.summary && toSummary(found.summary),
          session: toSession(found),
          truncated: isCut,
          tokenCount: tokens,
        };
        const encoded = encodeGetMemory({
          session: fields,
          messages: [encodeMessages(messages.documents).bytes],
          rest: encodeRestOfMemory(fields),
          tokens,
          isCut,
        });
        expect(sequenceOf(encoded.bytes)).toBe(sequenceOf(GetMemoryResponse.encode(expected).finish()));
      },
    ),
    RUNS,
  ));
