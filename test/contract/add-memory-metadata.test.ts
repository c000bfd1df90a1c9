import { afterAll, beforeAll, expect, test } from "vitest";
import { MetadataMode } from "../../gen/sessions/v1/resources.js";
import {
  aMoment,
  invalid,
  messageConflict,
  millis,
  newId,
  refusal,
  sequenceMismatch,
  sessionNotFound,
  texts,
  withIds,
} from "../support/contract.js";
import { startService, type TestService } from "../support/service.js";

/** State with the append: AddMemory that changes the session's metadata in the same step. */

const { METADATA_MODE_MERGE_PATCH, METADATA_MODE_REPLACE } = MetadataMode;

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.stop());

const stored = async (sessionId: string) => (await service.sessions.getSession({ sessionId })).session;
type Request = Parameters<TestService["memory"]["addMemory"]>[0];
const add = (sessionId: string, request: Request) =>
  service.memory.addMemory({ sessionId, messages: texts("x"), ...request });

test("metadata is applied as its mode says", async () => {
  const sessionId = newId();
  await service.sessions.createSession({ sessionId, metadata: { a: { b: 1 }, c: [1], d: 4 } });
  await add(sessionId, { mergeSessionMetadata: { a: { x: null }, c: [2] } });
  expect((await stored(sessionId))?.metadata).toEqual({ a: { b: 1, x: null }, c: [2], d: 4 });
  await add(sessionId, { mergeSessionMetadata: { a: { b: null }, d: null }, metadataMode: METADATA_MODE_MERGE_PATCH });
  expect((await stored(sessionId))?.metadata).toEqual({ a: { x: null }, c: [2] });
  await add(sessionId, { mergeSessionMetadata: { new: 1 }, metadataMode: METADATA_MODE_REPLACE });
  expect((await stored(sessionId))?.metadata).toEqual({ new: 1 });
  await add(sessionId, { metadataMode: METADATA_MODE_REPLACE });
  expect(await stored(sessionId)).toMatchObject({ metadata: { new: 1 }, messageCount: 4 });
});

test("it moves what an update moves, and without it a call moves nothing of the session itself", async () => {
  const sessionId = newId();
  await add(sessionId, {});
  const before = await stored(sessionId);
  await aMoment();
  await add(sessionId, {});
  expect(await stored(sessionId)).toMatchObject({ etag: before?.etag, updateTime: before?.updateTime });
  for (const mergeSessionMetadata of [{ a: 1 }, {}]) {
    const last = await stored(sessionId);
    await aMoment();
    await add(sessionId, { mergeSessionMetadata });
    const after = await stored(sessionId);
    expect(after?.etag).not.toBe(last?.etag);
    expect(millis(after?.updateTime)).toBeGreaterThan(millis(last?.updateTime));
    expect(after?.metadata).toEqual({ a: 1 });
  }
  const etag = (await stored(sessionId))?.etag;
  expect((await service.sessions.updateSession({ sessionId, metadata: { b: 2 }, etag })).session?.metadata).toEqual({
    a: 1,
    b: 2,
  });
});

test("a session that the call creates has it over session_metadata, and is found by it", async () => {
  const sessionId = newId();
  const mark = newId("mark");
  const added = await add(sessionId, {
    sessionMetadata: { topic: "travel", of: { a: 1 } },
    mergeSessionMetadata: { of: { b: mark } },
  });
  expect(added.sessionCreated).toBe(true);
  expect((await stored(sessionId))?.metadata).toEqual({ topic: "travel", of: { a: 1, b: mark } });
  const listed = await service.sessions.listSessions({ metadata: { of: { b: mark } } });
  expect(listed.flatMap(({ sessions }) => sessions).map((session) => session.sessionId)).toEqual([sessionId]);
});

test("a session that the call undeletes has it over what it had", async () => {
  const sessionId = newId();
  await add(sessionId, { sessionMetadata: { a: 1 } });
  await service.sessions.deleteSession({ sessionId });
  await add(sessionId, { sessionMetadata: { no: 1 }, mergeSessionMetadata: { b: 2 } });
  expect(await stored(sessionId)).toMatchObject({ metadata: { a: 1, b: 2 }, messageCount: 1 });
});

test("a repetition does not apply it again, and one that goes on does", async () => {
  const sessionId = newId();
  const call = { messages: withIds("m1", "m2"), mergeSessionMetadata: { turn: 1 } };
  const first = await add(sessionId, call);
  await service.sessions.updateSession({ sessionId, metadata: { turn: 7 } });
  const before = await stored(sessionId);
  expect(await add(sessionId, call)).toEqual(first);
  expect(await stored(sessionId)).toEqual(before);

  const grown = { messages: withIds("m1", "m2", "m3"), mergeSessionMetadata: { turn: 8 } };
  await add(sessionId, grown);
  expect((await stored(sessionId))?.metadata).toEqual({ turn: 8 });
  await service.sessions.updateSession({ sessionId, metadata: { turn: 9 } });
  for (const again of [call, grown]) await add(sessionId, again);
  expect((await stored(sessionId))?.metadata).toEqual({ turn: 9 });
});

test("repetitions at once apply it once", async () => {
  const sessionId = newId();
  await add(sessionId, {});
  const { etag } = (await stored(sessionId)) as { etag: string };
  const call = { messages: withIds("m1"), mergeSessionMetadata: { a: 1 } };
  await Promise.all(Array.from({ length: 8 }, () => add(sessionId, call)));
  const version = (text: string) => Number(text.split("-").at(-1));
  expect(version((await stored(sessionId))?.etag as string)).toBe(version(etag) + 1);
});

test("without messages it is all that the call does, each time", async () => {
  const sessionId = newId();
  await add(sessionId, { messages: [], mergeSessionMetadata: { a: 1 } });
  const created = await stored(sessionId);
  expect(created).toMatchObject({ metadata: { a: 1 }, messageCount: 0 });
  await add(sessionId, { messages: [], mergeSessionMetadata: { a: 1 } });
  expect((await stored(sessionId))?.etag).not.toBe(created?.etag);
});

test("a call that fails leaves the metadata as it was", async () => {
  const sessionId = newId();
  await add(sessionId, { messages: withIds("m1"), sessionMetadata: { a: 1 } });
  const before = await stored(sessionId);
  const mergeSessionMetadata = { a: 2 };
  const conflict = add(sessionId, { messages: [{ messageId: "m1", content: "other" }], mergeSessionMetadata });
  expect(await refusal(conflict)).toEqual(messageConflict(sessionId, "m1"));
  const unexpected = add(sessionId, { mergeSessionMetadata, expectedLastSequence: 9 });
  expect(await refusal(unexpected)).toEqual(sequenceMismatch(sessionId, 9, 1));
  expect(await stored(sessionId)).toEqual(before);
});

test("a result that is over 64 KiB is refused, and nothing is added, created or undeleted", async () => {
  const half = "x".repeat(40 * 1024);
  const sessionId = newId();
  await add(sessionId, { sessionMetadata: { first: half } });
  const before = await stored(sessionId);
  const tooMuch = { mergeSessionMetadata: { second: half } };
  expect(await refusal(add(sessionId, tooMuch))).toEqual(invalid("merge_session_metadata"));
  expect(await stored(sessionId)).toEqual(before);
  await service.sessions.deleteSession({ sessionId });
  expect(await refusal(add(sessionId, tooMuch))).toEqual(invalid("merge_session_metadata"));
  expect(await refusal(service.sessions.getSession({ sessionId }))).toEqual(sessionNotFound(sessionId));
  const created = newId();
  expect(await refusal(add(created, { sessionMetadata: { first: half }, ...tooMuch }))).toEqual(
    invalid("merge_session_metadata"),
  );
  expect(await refusal(service.sessions.getSession({ sessionId: created }))).toEqual(sessionNotFound(created));
});

test("merges of calls that add and of updates at once all survive, with all messages", async () => {
  const sessionId = newId();
  await Promise.all(
    Array.from({ length: 30 }, (_, n) => {
      const metadata = { all: { [`key-${n}`]: true } };
      if (n % 3 === 0 && n > 0) return service.memory.addMemory({ sessionId, messages: texts("plain") });
      return n % 3 === 1
        ? add(sessionId, { mergeSessionMetadata: metadata })
        : add(sessionId, {}).then(() => service.sessions.updateSession({ sessionId, metadata }));
    }),
  );
  const session = await stored(sessionId);
  const merged = Array.from({ length: 30 }, (_, n) => n).filter((n) => n % 3 !== 0 || n === 0);
  expect(session?.metadata).toEqual({ all: Object.fromEntries(merged.map((n) => [`key-${n}`, true])) });
  expect(session?.messageCount).toBe(30);
});
