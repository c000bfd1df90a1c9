import { randomUUID } from "node:crypto";
import type { Document } from "mongodb";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { GetMemoryResponse } from "../../gen/sessions/v1/memory_service.js";
import type { Call } from "../../src/domain/call.js";
import { updateMessage } from "../../src/domain/memory.js";
import { encodeMessages, encodeRestOfMemory } from "../../src/services/encode.js";
import { applyChanges } from "../../src/store/changes/transaction.js";
import type { Database } from "../../src/store/database.js";
import { createKnownSessions, type KnownSessions } from "../../src/store/known/sessions.js";
import { createMemoryReader } from "../../src/store/memory.js";
import { atOnce, numbered, outcome, type Pair, startPair } from "./support.js";

/** What a message has said before it was edited is in no answer to a call that begins after the edit was acknowledged. */
let pair: Pair;
beforeAll(async () => {
  pair = await startPair();
});
afterAll(() => pair.stop());

const SECRET = "tangerine";

describe("a reader who has read a memory before an edit, and keeps it after that", () => {
  const call: Call = {
    project: "default",
    signal: new AbortController().signal,
    deadline: Number.POSITIVE_INFINITY,
    requestId: "test",
  };
  const redaction = {
    etag: "",
    metadata: undefined,
    tokenCount: undefined,
    content: "…",
    payload: undefined,
    payloadType: undefined,
  };

  /** Makes the edit when the reader has read the session, and not yet its messages. */
  function meeting(
    database: Database,
    key: string,
    edit: () => Promise<unknown>,
  ): { database: Database; met(): number } {
    let met = 0;
    const { db } = database;
    const command = async (asked: Document, options: object) => {
      const reply = await db.command(asked, options);
      if (asked.find === "sessions" && JSON.stringify(asked.filter).includes(key) && ++met === 1) await edit();
      return reply;
    };
    return { database: { ...database, db: { command } } as unknown as Database, met: () => met };
  }

  type Edit = (key: string, sessionId: string, known: KnownSessions) => Promise<unknown>;
  const edits: Record<string, Edit> = {
    "by another process": (_, sessionId) =>
      pair.one.memory.updateMessage({ sessionId, messageId: "m5", content: redaction.content }),
    "by the same process": (key, _, known) =>
      applyChanges(pair.one.database, known, [
        { session: key, messages: ["m5"], decide: (state) => updateMessage(state, key, "m5", redaction) },
      ]),
    "by the same process, which then adds to it": async (key, sessionId, known) => {
      await edits["by the same process"]?.(key, sessionId, known);
      await pair.one.memory.addMemory({ sessionId, messages: [{ messageId: "new" }] });
    },
  };

  test.each(Object.keys(edits))("gives it to nobody who comes later: %s", async (how) => {
    const sessionId = `met ${how}`;
    const key = `default/${sessionId}`;
    const messages = numbered(8).map((one) => ({ ...one, content: `${one.messageId} ${SECRET}` }));
    await pair.one.memory.addMemory({ sessionId, messages });
    const known = createKnownSessions({ memoryBytes: 1_000_000, usualWindow: 50 }, encodeMessages);
    const met = meeting(pair.one.database, key, () => edits[how]?.(key, sessionId, known) ?? Promise.reject());
    const reader = createMemoryReader(met.database, known, encodeMessages);
    const read = async (): Promise<string[]> => {
      const found = await reader.read(call, {
        session: key,
        limit: 50,
        afterSummary: false,
        maxBytes: 1_000_000,
        encodeRest: encodeRestOfMemory,
      });
      return GetMemoryResponse.decode(Buffer.concat(found?.messages ?? [])).messages.map(({ content }) => content);
    };
    // It began before the edit, so it may answer what was there then, and it keeps that.
    expect((await read())[5]).toBe(`m5 ${SECRET}`);
    expect(known.memory(key)).toBeDefined();
    expect(met.met()).toBe(1);
    for (const _ of [1, 2]) expect((await read())[5]).toBe("…");
  });
});

test("messages that are edited one after the other beside readers of every kind are seen as they are, by all who come later", async () => {
  const sessionId = randomUUID();
  const count = 40;
  const messages = numbered(count).map((one) => ({ ...one, content: `a boat ${one.messageId} ${SECRET}` }));
  await pair.one.memory.addMemory({ sessionId, messages });
  let redacted = 0;
  const read = async (reader: number): Promise<void> => {
    for (let turn = reader; redacted < count; turn++) {
      const before = redacted;
      const { memory } = pair.at(turn);
      const isLate = ({ messageId, content }: { messageId: string; content: string }): boolean =>
        Number(messageId.slice(1)) < before && content.includes(SECRET);
      const ways = [
        async () => (await memory.getMemory({ sessionId, lastN: 100 })).messages,
        async () => (await memory.getMemory({ sessionId, lastN: 100 })).messages,
        async () => (await memory.listMessages({ sessionId, chunkSize: 10 })).flatMap((chunk) => chunk.messages),
        async () =>
          (await memory.searchMemory({ sessionId, text: `boat ${SECRET}`, limit: 100, neighbors: 1 })).results.flatMap(
            ({ message, before: left, after }) => [...(message ? [message] : []), ...left, ...after],
          ),
      ];
      const seen = (await ways[turn % ways.length]?.()) ?? [];
      expect(seen.filter(isLate).map(({ messageId }) => messageId)).toEqual([]);
    }
  };
  const write = async (): Promise<void> => {
    for (let n = 0; n < count; n++) {
      await pair.at(n).memory.updateMessage({ sessionId, messageId: `m${n}`, content: `a boat m${n}` });
      redacted = n + 1;
    }
  };
  const writing = write().finally(() => {
    redacted = count;
  });
  await Promise.all([writing, ...Array.from({ length: 6 }, (_, reader) => read(reader))]);
  for (const { memory } of [pair.one, pair.other]) {
    const { results } = await memory.searchMemory({ sessionId, text: SECRET });
    expect(results).toEqual([]);
  }
});

test("edits beside repetitions of the call that brought the message, deletions and clearings leave nothing of it to be read", async () => {
  await atOnce(60, async (round) => {
    const sessionId = randomUUID();
    const call = { sessionId, messages: [{ messageId: "m", content: SECRET }] };
    await pair.one.memory.addMemory(call);
    const { memory } = pair.at(round);
    const edit = outcome(
      pair.at(round + 1).memory.updateMessage({ sessionId, messageId: "m", content: "…" }),
      "MESSAGE_NOT_FOUND",
    );
    const others = [
      () => memory.addMemory(call),
      () => outcome(memory.deleteMessage({ sessionId, messageId: "m" }), "MESSAGE_NOT_FOUND"),
      () => memory.clearMemory({ sessionId }),
    ];
    await others[round % others.length]?.();
    const { answer } = await edit;
    const left = (await pair.one.memory.getMemory({ sessionId })).messages;
    expect(left.map(({ content }) => content)).toEqual(round % 3 === 0 ? ["…"] : []);
    if (answer) {
      const stored = await pair.one.database.messages.find({ session: `default/${sessionId}` }).toArray();
      expect(stored.map(({ content }) => content)).toEqual(["…"]);
    }
  });
});
