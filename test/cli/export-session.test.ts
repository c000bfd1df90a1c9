import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { createSessionReader } from "../../src/cli/export/session.js";
import { openSpool } from "../../src/cli/export/spool.js";
import type { SessionsClient } from "../../src/client/index.js";
import { addMessages, clientTo } from "../client/support.js";
import { newId } from "../support/contract.js";
import { startService, type TestService } from "../support/service.js";

/** Sessions that do not fit into one answer, and that change while they are read. */

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.stop());

const MANY = 1_200;

interface Hooks {
  /** In the midst of each reading of all messages, which are numbered from 1 on. */
  inMidst?(reading: number): Promise<unknown>;
  /** Before the answer that comes between two readings. */
  between?(times: number): Promise<unknown>;
}

/** A client with which something happens meanwhile. */
function meanwhile(client: SessionsClient, { inMidst, between }: Hooks): SessionsClient {
  let readings = 0;
  let times = 0;
  return {
    ...client,
    listMessages(request, options) {
      const listing = client.listMessages(request, options);
      const reading = ++readings;
      return {
        ...listing,
        async *[Symbol.asyncIterator]() {
          let count = 0;
          for await (const message of listing) {
            if (++count === 600) await inMidst?.(reading);
            yield message;
          }
        },
      };
    },
    async getMemory(request, options) {
      await between?.(++times);
      return client.getMemory(request, options);
    },
  };
}

async function readWith(hooks: (client: SessionsClient, sessionId: string) => Hooks, count = MANY) {
  const client = clientTo(service.address);
  const sessionId = newId();
  await addMessages(client, sessionId, count);
  const spool = await openSpool();
  onTestFinished(() => spool.close());
  const reader = createSessionReader(meanwhile(client, hooks(client, sessionId)), new AbortController().signal);
  const found = await reader.readLarge(sessionId, spool);
  const messages: { message_id: string; token_count: number }[] = [];
  for await (const line of spool.lines()) messages.push(JSON.parse(line));
  return { client, sessionId, found, messages, ids: messages.map(({ message_id }) => message_id) };
}

const numbered = (count: number) => Array.from({ length: count }, (_, n) => `m${n + 1}`);

test("one that rests is read as it is", async () => {
  const { found, ids } = await readWith(() => ({}));
  expect(ids).toEqual(numbered(MANY));
  expect(found).toMatchObject({ session: { messageCount: MANY } });
});

test("what is added meanwhile is part of the moment, and nothing is read anew for it", async () => {
  let readings = 0;
  const { found, ids } = await readWith((client, sessionId) => ({
    async inMidst() {
      readings += 1;
      await client.addMemory({ sessionId, messages: [{ messageId: `late-${readings}` }] });
    },
    between: () => client.addMemory({ sessionId, messages: [{ messageId: "between" }] }),
  }));
  // What came after the moment is not in it.
  expect(ids).toEqual([...numbered(MANY), "late-1", "between"]);
  expect(found).toMatchObject({ session: { messageCount: MANY + 2 } });
  expect(readings).toBe(2);
});

test.each([
  ["edited", (client: SessionsClient, sessionId: string) => editTwo(client, sessionId)],
  ["deleted", (client: SessionsClient, sessionId: string) => client.deleteMessage({ sessionId, messageId: "m1" })],
  ["deleted and added", (client: SessionsClient, sessionId: string) => replaceOne(client, sessionId)],
])("a message that is %s meanwhile is so in all of it", async (_, change) => {
  for (const when of ["first", "between", "second"]) {
    const { client, sessionId, found, messages } = await readWith((own, id) => ({
      inMidst: async (reading) => reading === (when === "second" ? 2 : 1) && when !== "between" && change(own, id),
      between: async (times) => when === "between" && times === 1 && change(own, id),
    }));
    const now: typeof messages = [];
    for await (const message of client.listMessages({ sessionId, chunkSize: 1000 })) {
      now.push({ message_id: message.messageId, token_count: message.tokenCount });
    }
    const before = numbered(MANY).map((message_id) => ({ message_id, token_count: 0 }));
    const read = messages.map(({ message_id, token_count }) => ({ message_id, token_count }));
    // What changes after the moment may or may not be noticed.
    expect(when === "second" ? [before, now] : [now]).toContainEqual(read);
    expect(found).toMatchObject({ session: { messageCount: read.length } });
  }
});

/** One that has been read by then, and one that has not. */
async function editTwo(client: SessionsClient, sessionId: string): Promise<void> {
  for (const messageId of ["m1", `m${MANY}`]) await client.updateMessage({ sessionId, messageId, tokenCount: 77 });
}

async function replaceOne(client: SessionsClient, sessionId: string): Promise<void> {
  await client.deleteMessage({ sessionId, messageId: "m1" });
  await client.addMemory({ sessionId, messages: [{ messageId: "instead" }] });
}

test("one that changes each time is not read at all", async () => {
  const { found } = await readWith((client, sessionId) => ({
    between: (times) => client.updateMessage({ sessionId, messageId: "m1", tokenCount: times }),
  }));
  expect(found).toBe("unsettled");
});

test("one that is deleted meanwhile is left out whole", async () => {
  const { found } = await readWith((client, sessionId) => ({
    inMidst: (reading) => (reading === 1 ? client.deleteSession({ sessionId }) : Promise.resolve()),
  }));
  expect(found).toBeUndefined();
});

test("one that is erased and made anew meanwhile is one of the two", async () => {
  const { found, ids, messages } = await readWith((client, sessionId) => ({
    async between(times) {
      if (times > 1) return;
      await client.purgeSession({ sessionId });
      await addMessages(client, sessionId, MANY, () => "new");
    },
  }));
  expect(found).toMatchObject({ session: { messageCount: MANY } });
  expect(ids).toEqual(numbered(MANY));
  expect(new Set(messages.map((message) => (message as unknown as { content: string }).content))).toEqual(
    new Set(["new"]),
  );
});
