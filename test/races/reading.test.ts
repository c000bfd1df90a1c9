import { setTimeout as sleep } from "node:timers/promises";
import type { Document } from "mongodb";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  GetMemoryResponse,
  type ListMessagesResponse,
  MemoryServiceService,
} from "../../gen/sessions/v1/memory_service.js";
import {
  ListSessionsRequest,
  type ListSessionsResponse,
  SessionServiceService,
} from "../../gen/sessions/v1/session_service.js";
import { encodeMessages, encodeRestOfMemory } from "../../src/services/encode.js";
import type { Database } from "../../src/store/database.js";
import { createKnownSessions } from "../../src/store/known/sessions.js";
import { createMemoryReader } from "../../src/store/memory.js";
import { forEach, messagesOf, moment, numbered, outcome, type Pair, startPair } from "./support.js";

let pair: Pair;

beforeAll(async () => {
  pair = await startPair();
});
afterAll(() => pair.stop());

test("a slow listing of 2,000 sessions has each that lives throughout once, whatever comes and goes", async () => {
  const lasting = Array.from({ length: 2_000 }, (_, index) => `lasting-${index}`);
  const leaving = Array.from({ length: 300 }, (_, index) => `leaving-${index}`);
  // Mixed, so that what leaves lies everywhere among what stays.
  const all = [...lasting, ...leaving].sort(() => Math.random() - 0.5);
  await forEach(all.length, 64, async (index) => {
    await pair.at(index).sessions.createSession({ sessionId: all[index] as string });
  });

  let isRead = false;
  const comeAndGo = forEach(leaving.length, 2, async (index) => {
    if (isRead) return;
    await pair.other.sessions.deleteSession({ sessionId: leaving[index] as string });
    await pair.one.sessions.createSession({ sessionId: `coming-${index}` });
    await pair.one.sessions.updateSession({ sessionId: lasting[index] as string, metadata: { touched: true } });
  });

  const seen: string[] = [];
  const { path, requestSerialize, responseDeserialize } = SessionServiceService.listSessions;
  const stream = pair.one.client.makeServerStreamRequest(
    path,
    requestSerialize,
    responseDeserialize,
    ListSessionsRequest.fromPartial({ chunkSize: 7 }),
  );
  let chunks = 0;
  for await (const { sessions } of stream as AsyncIterable<ListSessionsResponse>) {
    seen.push(...sessions.map(({ sessionId }) => sessionId));
    chunks += 1;
    if (chunks % 8 === 0) await sleep(20);
  }
  isRead = true;
  await comeAndGo;

  expect(new Set(seen).size).toBe(seen.length);
  const missing = new Set(lasting);
  for (const id of seen) missing.delete(id);
  expect([...missing]).toEqual([]);
});

test.each(["deleteSession", "clearMemory", "purgeSession", "deleted and erased"] as const)(
  "a listing of messages during %s is a prefix of the memory, without a hole",
  async (how) => {
    await forEach(12, 3, async (round) => {
      const sessionId = `${how}-${round}`;
      // Ids in an order of their own: what is erased in the order of ids leaves holes everywhere.
      const ids = Array.from({ length: 900 }, (_, index) => `${(index * 7919) % 900}`);
      await pair.one.memory.addMemory({ sessionId, messages: ids.map((messageId) => ({ messageId })) });

      const { path, requestSerialize, responseDeserialize } = MemoryServiceService.listMessages;
      const stream = pair.one.client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, {
        sessionId,
        limit: 0,
        cursor: "",
        chunkSize: 10,
        descending: false,
      });
      const removal = moment(30).then(async () => {
        if (how === "clearMemory") return pair.other.memory.clearMemory({ sessionId });
        if (how === "purgeSession") return pair.other.sessions.purgeSession({ sessionId });
        await pair.other.sessions.deleteSession({ sessionId });
        if (how !== "deleteSession") await pair.other.sessions.purgeSession({ sessionId });
        return undefined;
      });
      const seen: string[] = [];
      for await (const { messages } of stream as AsyncIterable<ListMessagesResponse>) {
        seen.push(...messages.map(({ messageId }) => messageId));
        await moment(2);
      }
      await removal;
      expect(seen).toEqual(ids.slice(0, seen.length));
      expect(await messagesOf(pair.one, sessionId)).toEqual([]);
    });
  },
);

test("a reader who comes after a deletion was acknowledged sees nothing", async () => {
  await forEach(60, 4, async (round) => {
    const sessionId = `acknowledged-${round}`;
    await pair.at(round).memory.addMemory({ sessionId, messages: numbered(5) });
    if (round % 2 === 0) await pair.one.sessions.deleteSession({ sessionId });
    else await pair.one.memory.clearMemory({ sessionId });
    expect(await messagesOf(pair.other, sessionId)).toEqual([]);
    expect((await pair.other.memory.getMemory({ sessionId, lastN: 3 })).messages).toEqual([]);
  });
});

test.each([0, 5, 1000])(
  "GetMemory during an erasure answers with the newest messages in full, or none (last_n %i)",
  async (lastN) => {
    await forEach(40, 2, async (round) => {
      const sessionId = `erased-${lastN}-${round}`;
      const ids = Array.from({ length: 600 }, (_, index) => `${(index * 7919) % 600}`);
      await pair.one.memory.addMemory({ sessionId, messages: ids.map((messageId) => ({ messageId })) });
      const newest = ids.slice(-(lastN || 50));
      let isGone = false;
      const erasure = moment(5).then(async () => {
        await pair.other.sessions.purgeSession({ sessionId });
        isGone = true;
      });
      await forEach(4, 4, async () => {
        for (let isLast = false; !isLast; ) {
          isLast = isGone;
          const { messages, session } = await pair.one.memory.getMemory({ sessionId, lastN });
          expect(messages.map(({ messageId }) => messageId)).toEqual(session ? newest : []);
        }
      });
      await erasure;
    });
  },
);

test.each([
  { reads: ["met"], how: "as the only one", removed: [] as number[], meets: 1 },
  { reads: ["other", "met", "other"], how: "together with others", removed: [] as number[], meets: 1 },
  // More than its last sequences is needed, which is found out when they have been read: then it is read once more, by itself.
  { reads: ["met"], how: "once more", removed: [14, 16], meets: 2 },
])(
  "GetMemory that meets an erasure between its two reads answers with the memory as it was: $how",
  async ({ reads, how, removed, meets }) => {
    const { database, memory } = pair.one;
    const ids = new Map(["met", "other"].map((name) => [name, `${name} ${how}`]));
    for (const sessionId of ids.values()) await memory.addMemory({ sessionId, messages: numbered(20) });
    for (const sequence of removed) {
      await memory.deleteMessage({ sessionId: ids.get("met"), messageId: `m${sequence - 1}` });
    }
    const expected = Array.from({ length: 20 }, (_, index) => index + 1).filter((one) => !removed.includes(one));
    let met = 0;
    const { db, sessions, messages } = database;
    const key = `default/${ids.get("met")}`;
    const meeting = {
      ...database,
      db: {
        // The session is condemned and its erasure well under way when its messages are read.
        async command(command: Document, options: object) {
          const reply = await db.command(command, options);
          if (command.find === "sessions" && JSON.stringify(command.filter).includes(key) && ++met === meets) {
            await sessions.updateOne({ _id: key }, { $set: { purging: true, deleted: true } });
            await messages.deleteMany({ session: key, sequence: { $in: [12, 17, 20] } });
          }
          return reply;
        },
      },
    };
    const reader = createMemoryReader(
      meeting as unknown as Database,
      createKnownSessions({ memoryBytes: 0, usualWindow: 0 }, encodeMessages),
      encodeMessages,
    );
    const call = { project: "default", signal: new AbortController().signal, deadline: Infinity, requestId: "test" };
    const found = await Promise.all(
      reads.map((name) =>
        reader.read(call, {
          session: `default/${ids.get(name)}`,
          limit: 10,
          afterSummary: false,
          maxBytes: 1_000_000,
          encodeRest: encodeRestOfMemory,
        }),
      ),
    );
    expect(met).toBe(meets);
    for (const read of found) {
      const { messages } = GetMemoryResponse.decode(Buffer.concat(read?.messages ?? []));
      expect(messages.map(({ sequence }) => sequence)).toEqual(expected.slice(-10));
    }
    expect(await memory.getMemory({ sessionId: ids.get("met") })).toMatchObject({ messages: [], session: undefined });
  },
);

test("messages that are deleted one by one while they are listed and read leave no other out", async () => {
  await forEach(10, 2, async (round) => {
    const sessionId = `one-by-one-${round}`;
    await pair.one.memory.addMemory({ sessionId, messages: numbered(200) });
    const odd = numbered(200).filter((_, index) => index % 2 === 1);
    const [listed] = await Promise.all([
      pair.one.memory.listMessages({ sessionId, chunkSize: 5 }),
      ...odd.slice(0, 30).map(({ messageId }) => outcome(pair.other.memory.deleteMessage({ sessionId, messageId }))),
    ]);
    const seen = new Set(listed.flatMap(({ messages }) => messages.map(({ messageId }) => messageId)));
    const kept = numbered(200).filter((_, index) => index % 2 === 0);
    expect(kept.filter(({ messageId }) => !seen.has(messageId))).toEqual([]);
  });
});
