import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { notingUnembedded } from "../../src/domain/embedding.js";
import { encodeMessages } from "../../src/services/encode.js";
import { createGroupCommit } from "../../src/store/changes/group-commit.js";
import { applyChanges } from "../../src/store/changes/transaction.js";
import { createKnownSessions } from "../../src/store/known/sessions.js";
import { createVectorStore, type Portion } from "../../src/store/vectors/vectors.js";
import { newId } from "../support/contract.js";
import { startService, type TestService } from "../support/service.js";
import { type Explainer, LONG, startExplainer } from "./explainer.js";

const MODEL = "a model";
const VECTOR = Buffer.from([1, 2, 3]);

const made = ({ messages }: Portion) => new Map(messages.map(({ _id }) => [_id, VECTOR]));

describe("what a message says", () => {
  let service: TestService;
  beforeAll(async () => {
    service = await startService();
  });
  afterAll(() => service.stop());

  test("when it changes, its vector goes in the same moment, and it waits to be embedded anew", async () => {
    const { database } = service;
    const store = createVectorStore(database, MODEL, 100);
    const known = createKnownSessions({ memoryBytes: 0, usualWindow: 0 }, encodeMessages);
    const changes = createGroupCommit((group) => applyChanges(database, known, group));
    const sessionId = newId();
    const session = `default/${sessionId}`;
    const messages = [
      { messageId: "1", content: "a cat" },
      { messageId: "2", content: "a car" },
    ];
    await service.memory.addMemory({ sessionId, messages });
    await database.sessions.updateOne({ _id: session }, { $set: { unembedded: new Date() } });
    const [portion] = (await store.next(10)) as [Portion];
    expect(await store.write(portion, made(portion))).toBe(2);
    expect(await store.next(10)).toEqual([]);

    const deadline = Number.POSITIVE_INFINITY;
    const call = { project: "default", signal: new AbortController().signal, deadline, requestId: "test" };
    const edit = (content: string, tokenCount: number) =>
      changes.submit(call, {
        session,
        messages: ["1"],
        decide: notingUnembedded((state) => {
          const message = state.messages?.get("1");
          if (!message || !state.session) throw new Error("it is there");
          const version = (message.version ?? 0) + 1;
          const after = { ...message, content, tokenCount, version };
          const memoryVersion = (state.session.memoryVersion ?? 0) + 1;
          return { result: undefined, session: { ...state.session, memoryVersion }, changed: [after] };
        }),
      });
    await edit("a cat", 7);
    expect(await database.vectors.countDocuments({ session })).toBe(2);
    expect(await store.next(10)).toEqual([]);
    await edit("a boat", 7);
    expect(
      await database.vectors
        .find({ session })
        .map(({ sequence }) => sequence)
        .toArray(),
    ).toEqual([2]);
    const [again] = (await store.next(10)) as [Portion];
    expect(again.messages.map(({ content }) => content)).toEqual(["a boat"]);
    await store.write(again, made(again));
    expect(await store.next(10)).toEqual([]);
    expect(await database.embedded.findOne({ _id: session })).toMatchObject({ count: 2, to: 2 });
    await changes.close();
  });

  test("when it changes while it is being embedded, what was made of it before is not written", async () => {
    const { database } = service;
    const store = createVectorStore(database, MODEL, 100);
    const sessionId = newId();
    const session = `default/${sessionId}`;
    await service.memory.addMemory({ sessionId, messages: [{ messageId: "1", content: "a cat" }] });
    await database.sessions.updateOne({ _id: session }, { $set: { unembedded: new Date() } });
    const [portion] = (await store.next(10)) as [Portion];
    await service.memory.updateMessage({ sessionId, messageId: "1", tokenCount: 7 });
    expect(await store.write(portion, made(portion))).toBe(0);
    const [again] = (await store.next(10)) as [Portion];
    expect(await store.write(again, made(again))).toBe(1);
    expect(await store.write(again, made(again))).toBe(0);
  });
});

describe("no query scans a collection", () => {
  let explainer: Explainer;
  beforeAll(async () => {
    explainer = await startExplainer();
  });
  afterAll(() => explainer.stop());

  test("of those that embed, that find what is unembedded and that take vectors away", async () => {
    const { monitored, api } = explainer;
    const store = createVectorStore(monitored, MODEL, 100);
    const session = `default/${LONG}`;
    const embedLong = async (): Promise<void> => {
      await monitored.sessions.updateOne({ _id: session }, { $set: { unembedded: new Date() } });
      while ((await store.firstWaiting()) !== undefined) {
        for (const portion of await store.next(300)) await store.write(portion, made(portion));
      }
    };
    const plans = await explainer.plansOf(async () => {
      await embedLong();
      const count = await monitored.vectors.countDocuments({ session });
      expect(count).toBeGreaterThan(900);
      await monitored.vectors.deleteOne({ session });
      await embedLong();
      // It was counted to be there, so nobody has missed it.
      expect(await monitored.vectors.countDocuments({ session })).toBe(count - 1);
      await monitored.embedded.updateOne({ _id: session }, { $set: { count: 1 } });
      await embedLong();
      expect(await monitored.vectors.countDocuments({ session })).toBe(count);
      await store.beginSweep();
      await store.sweep();
      await store.lastSweep();
      await api.memory.deleteMessage({ sessionId: LONG, messageId: "m9" });
    });
    expect(plans.length).toBeGreaterThan(20);
    expect(plans.filter(({ stages }) => stages.includes("COLLSCAN"))).toEqual([]);
    expect(plans.filter(({ stages }) => stages.includes("SORT"))).toEqual([]);
  });
});
