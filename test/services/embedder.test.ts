import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { SearchMode } from "../../gen/sessions/v1/memory_service.js";
import { modelKey } from "../../src/embeddings/texts.js";
import { newId } from "../support/contract.js";
import { startEndpoint, type TestEndpoint } from "../support/embeddings-endpoint.js";
import { eventually } from "../support/eventually.js";
import { createTestPurger } from "../support/purger.js";
import { startService, type TestService } from "../support/service.js";

const SEMANTIC = SearchMode.SEARCH_MODE_SEMANTIC;

let endpoint: TestEndpoint;
let service: TestService;
beforeEach(async () => {
  endpoint = await startEndpoint();
  service = await startService({ embeddings: endpoint.settings });
});
afterEach(async () => {
  await service.stop();
  await endpoint.stop();
});

const key = (sessionId: string) => `default/${sessionId}`;

/** The contents of the session's messages that have a vector, in order. */
async function embedded(sessionId: string): Promise<string[]> {
  const { vectors, messages } = service.database;
  const found = await vectors.find({ session: key(sessionId) }, { sort: { sequence: 1 } }).toArray();
  const contents = await messages
    .find({ _id: { $in: found.map(({ _id }) => _id) } }, { sort: { sequence: 1 } })
    .toArray();
  // None that is of no message.
  expect(contents.map(({ _id }) => _id)).toEqual(found.map(({ _id }) => _id));
  return contents.map(({ content }) => content);
}

const rest = (of = service) =>
  eventually(
    "nothing waits to be embedded",
    async () => (await of.database.sessions.countDocuments({ unembedded: { $exists: true } })) === 0,
  );

const add = async (sessionId: string, ...contents: string[]) => {
  const messages = contents.map((content) => ({ messageId: content, content }));
  await service.memory.addMemory({ sessionId, messages });
};

const unembedded = async (sessionId: string) =>
  (await service.memory.searchMemory({ sessionId, text: "x" })).unembeddedMessages;

describe("what is added is embedded soon", () => {
  test("in batches, once each, whoever adds what meanwhile", async () => {
    const sessions = Array.from({ length: 8 }, () => newId());
    await Promise.all(
      sessions.flatMap((sessionId) =>
        [1, 2, 3, 4].map((n) => add(sessionId, `${sessionId} ${n} a`, `${sessionId} ${n} b`)),
      ),
    );
    await rest();
    for (const sessionId of sessions) expect(await embedded(sessionId)).toHaveLength(8);
    expect(endpoint.texts).toHaveLength(64);
    expect(new Set(endpoint.texts).size).toBe(64);
    expect(endpoint.batches.length).toBeLessThan(32);
  });

  test("with who says it, and without what says nothing", async () => {
    const sessionId = newId();
    const messages = [{ role: "Ann", content: "a cat" }, { role: "Bob", content: "" }, { content: " " }];
    await service.memory.addMemory({ sessionId, messages });
    await rest();
    expect(endpoint.texts).toEqual(["Ann: a cat"]);
    expect(await unembedded(sessionId)).toBe(0);
    const found = await service.memory.searchMemory({ sessionId, text: "kitten", mode: SEMANTIC });
    expect(found.results).toHaveLength(1);
  });

  test("with a fork, whose messages are its own", async () => {
    const [sessionId, newSessionId] = [newId(), newId()];
    await add(sessionId, "a cat", "a car");
    await rest();
    await service.sessions.forkSession({ sessionId, newSessionId });
    await rest();
    expect(await embedded(newSessionId)).toEqual(["a cat", "a car"]);
    expect(await unembedded(newSessionId)).toBe(0);
    const found = await service.memory.searchMemory({ sessionId: newSessionId, text: "kitten", mode: SEMANTIC });
    expect(found.results[0]?.message).toMatchObject({ sessionId: newSessionId, content: "a cat" });
    await service.memory.deleteMessage({ sessionId: newSessionId, messageId: "a cat" });
    expect(await embedded(newSessionId)).toEqual(["a car"]);
    expect(await embedded(sessionId)).toEqual(["a cat", "a car"]);
  });

  test("the beginning of what is long", async () => {
    const sessionId = newId();
    await service.memory.addMemory({ sessionId, messages: [{ content: `a cat ${"🎉".repeat(100_000)}` }] });
    await rest();
    expect(Array.from(endpoint.texts[0] as string)).toHaveLength(8_000);
  });

  test("what the endpoint never takes is given up, and nothing else for it", async () => {
    endpoint.refused = ["poison"];
    const sessionId = newId();
    await add(sessionId, "a cat", "poison", "a car");
    await rest();
    expect(await unembedded(sessionId)).toBe(0);
    const found = await service.memory.searchMemory({ sessionId, text: "kitten", mode: SEMANTIC });
    expect(found.results.map(({ message }) => message?.messageId)).toEqual(["a cat", "a car"]);
  });

  test("after an outage everything that was added meanwhile", async () => {
    const sessionId = newId();
    endpoint.behaviour = { status: 500 };
    await add(sessionId, "a cat");
    await eventually("it was asked for", () => endpoint.batches.length > 0);
    await add(sessionId, "a car");
    expect(await unembedded(sessionId)).toBe(2);
    endpoint.behaviour = "right";
    await rest();
    expect(await embedded(sessionId)).toEqual(["a cat", "a car"]);
  });
});

describe("what changes", () => {
  test("is embedded anew when it says something else, and not when only its metadata differ", async () => {
    const sessionId = newId();
    await add(sessionId, "a cat", "a car");
    await rest();
    await service.memory.updateMessage({ sessionId, messageId: "a cat", metadata: { kind: "pet" } });
    await add(sessionId, "a boat");
    await rest();
    expect(endpoint.texts).toEqual(["a cat", "a car", "a boat"]);
    expect(await unembedded(sessionId)).toBe(0);
  });

  test("a vector goes with its message in the same moment", async () => {
    const sessionId = newId();
    await add(sessionId, "a cat", "a car", "a boat");
    await rest();
    await service.memory.deleteMessage({ sessionId, messageId: "a car" });
    expect(await embedded(sessionId)).toEqual(["a cat", "a boat"]);
    expect(await unembedded(sessionId)).toBe(0);
    expect(await service.database.embedded.findOne({ _id: key(sessionId) })).toMatchObject({ count: 2, to: 3 });
    await service.memory.deleteMessage({ sessionId, messageId: "a cat" });
    await service.memory.deleteMessage({ sessionId, messageId: "a boat" });
    expect(await service.database.vectors.countDocuments()).toBe(0);
    expect(await service.database.embedded.countDocuments({ _id: key(sessionId) })).toBe(0);
  });

  test("a message that is deleted while it is being embedded gets no vector", async () => {
    const sessionId = newId();
    endpoint.behaviour = "silent";
    await add(sessionId, "a cat", "a car");
    await eventually("it is being embedded", () => endpoint.batches.length > 0);
    await service.memory.deleteMessage({ sessionId, messageId: "a cat" });
    await add(sessionId, "a boat");
    endpoint.release();
    await rest();
    expect(await embedded(sessionId)).toEqual(["a car", "a boat"]);
    expect(await unembedded(sessionId)).toBe(0);
  });

  test.each<[string, (sessionId: string, userId: string) => Promise<unknown>]>([
    ["RewindMemory", (sessionId) => service.memory.rewindMemory({ sessionId, afterSequence: 0 })],
    ["ClearMemory", (sessionId) => service.memory.clearMemory({ sessionId })],
    ["DeleteSession", (sessionId) => service.sessions.deleteSession({ sessionId })],
    ["PurgeSession", (sessionId) => service.sessions.purgeSession({ sessionId })],
    ["DeleteUser", (_, userId) => service.users.deleteUser({ userId })],
    ["PurgeUser", (_, userId) => service.users.purgeUser({ userId })],
  ])("%s leaves no vector behind, nor any trace of one", async (_name, erase) => {
    const userId = newId("user");
    await service.users.createUser({ userId });
    const sessionId = newId();
    await service.memory.addMemory({ sessionId, userId, messages: [{ content: "a cat" }, { content: "a car" }] });
    await add("another", "a boat");
    await rest();
    expect(await embedded(sessionId)).toHaveLength(2);
    await erase(sessionId, userId);
    if (!_name.startsWith("Purge")) await createTestPurger(service.database).pass();
    expect(await service.database.vectors.countDocuments({ session: key(sessionId) })).toBe(0);
    expect(await service.database.embedded.countDocuments({ _id: key(sessionId) })).toBe(0);
    expect(await embedded("another")).toEqual(["a boat"]);
  });

  test("a purge of what is being embedded leaves nothing behind", async () => {
    const sessionId = newId();
    endpoint.behaviour = "silent";
    await add(sessionId, "a cat");
    await eventually("it is being embedded", () => endpoint.batches.length > 0);
    await service.sessions.purgeSession({ sessionId });
    endpoint.release();
    await add("another", "a boat");
    await rest();
    expect(await service.database.vectors.countDocuments({ session: key(sessionId) })).toBe(0);
  });

  test("what comes back is embedded anew, and what follows a clearing on its own", async () => {
    const sessionId = newId();
    await add(sessionId, "a cat", "a car");
    await rest();
    await service.sessions.deleteSession({ sessionId });
    await createTestPurger(service.database).pass();
    await service.sessions.undeleteSession({ sessionId, restoreMemory: true });
    expect(await unembedded(sessionId)).toBe(2);
    await rest();
    expect(await embedded(sessionId)).toEqual(["a cat", "a car"]);
    await service.memory.clearMemory({ sessionId });
    await add(sessionId, "a boat");
    await createTestPurger(service.database).pass();
    await rest();
    expect(await embedded(sessionId)).toEqual(["a boat"]);
    expect(await unembedded(sessionId)).toBe(0);
  });

  test("a deleted user's sessions come back with their meaning, and one that moves keeps it", async () => {
    const [userId, other, sessionId] = [newId("user"), newId("user"), newId()];
    await service.users.createUser({ userId });
    await service.users.createUser({ userId: other });
    await service.memory.addMemory({ sessionId, userId, messages: [{ messageId: "1", content: "a cat" }] });
    await rest();
    await service.users.deleteUser({ userId });
    await service.users.undeleteUser({ userId, restoreSessions: true });
    await rest();
    await service.sessions.updateSession({ sessionId, userId: other });
    const of = async (id: string) =>
      (await service.memory.searchMemory({ userId: id, text: "kitten", mode: SEMANTIC })).results.length;
    expect([await of(userId), await of(other)]).toEqual([0, 1]);
  });
});

describe("what was there before", () => {
  test("is embedded in the background once there is an endpoint, and behind what is added now", async () => {
    const databaseName = `test-${newId()}`;
    const plain = await startService({ databaseName });
    for (let n = 0; n < 20; n++)
      await plain.memory.addMemory({ sessionId: `old ${n}`, messages: [{ content: `old ${n}` }] });
    await plain.server.stop();
    plain.close();
    const later = await startService({ databaseName, embeddings: endpoint.settings });
    const count = () => later.database.vectors.countDocuments();
    await eventually("all of it is embedded", async () => (await count()) === 20);
    expect(endpoint.texts).toHaveLength(20);
    await later.stop();
    await plain.database.close();
  });

  test("is embedded anew for another model, and found by it alone", async () => {
    const sessionId = newId();
    await add(sessionId, "a cat", "a car");
    await rest();
    const databaseName = service.database.db.databaseName;
    const other = await startEndpoint("other words", 32);
    const later = await startService({ databaseName, embeddings: other.settings });
    const model = modelKey(other.settings);
    const count = () => later.database.vectors.countDocuments({ model });
    await eventually("all of it is embedded anew", async () => (await count()) === 2);
    expect(await later.database.vectors.countDocuments()).toBe(2);
    const { results, unembeddedMessages } = await later.memory.searchMemory({
      sessionId,
      text: "kitten",
      mode: SEMANTIC,
    });
    expect([results[0]?.message?.messageId, unembeddedMessages]).toEqual(["a cat", 0]);
    // The process that was there before leaves what is added from now on to this one.
    await add(sessionId, "a boat");
    await eventually("it is embedded with the new model", async () => (await count()) === 3);
    expect(endpoint.texts).not.toContain("a boat");
    await later.server.stop();
    later.close();
    await later.database.close();
    await other.stop();
  });

  test("what has lost its vector, and a vector that has lost its message, are found by the next change", async () => {
    const sessionId = newId();
    await add(sessionId, "a cat", "a car");
    await rest();
    const { vectors, messages } = service.database;
    // As another version of the service, which knows of no vectors, might leave it.
    await vectors.updateOne({ session: key(sessionId), sequence: 1 }, { $set: { sequence: 1, model: "another" } });
    const [first] = await messages.find({ session: key(sessionId) }, { sort: { sequence: 1 } }).toArray();
    await vectors.insertOne({
      _id: `${first?.epoch}/no message`,
      session: key(sessionId),
      epoch: first?.epoch as string,
      sequence: 0.5,
      model: modelKey(endpoint.settings),
    });
    await service.database.embedded.updateOne({ _id: key(sessionId) }, { $set: { count: 1 } });
    await add(sessionId, "a boat");
    await rest();
    expect(await embedded(sessionId)).toEqual(["a cat", "a car", "a boat"]);
    expect(await unembedded(sessionId)).toBe(0);
  });
});

test("a session that something is added to without a pause is embedded all the same, and nothing added fails", async () => {
  const sessionId = newId();
  let isEnough = false;
  const adding = [1, 2, 3].map(async (adder) => {
    for (let n = 0; !isEnough; n++) await add(sessionId, `${adder} says ${n}`);
  });
  await eventually(
    "much is embedded while more is added",
    async () => (await service.database.vectors.countDocuments({ session: key(sessionId) })) >= 40,
  );
  isEnough = true;
  await Promise.all(adding);
  await rest();
  expect(await unembedded(sessionId)).toBe(0);
});

test("two processes embed everything once, and one goes on when the other stops", async () => {
  const other = await startService({
    databaseName: service.database.db.databaseName,
    embeddings: endpoint.settings,
  });
  const sessionId = newId();
  await add(sessionId, "a cat");
  await other.memory.addMemory({ sessionId, messages: [{ content: "a car" }] });
  await rest();
  expect(endpoint.texts.toSorted()).toEqual(["a car", "a cat"]);
  await other.server.stop();
  other.close();
  await other.database.close();
  await add(sessionId, "a boat");
  await rest();
  expect(await embedded(sessionId)).toEqual(["a cat", "a car", "a boat"]);
});

test("whatever happens at once, each message has its vector in the end, and each vector its message", async () => {
  const sessions = Array.from({ length: 4 }, () => newId());
  const rnd = (n: number) => Math.floor(Math.random() * n);
  const steps = Array.from({ length: 120 }, (_, n) => async () => {
    const sessionId = sessions[rnd(sessions.length)] as string;
    const act = [
      () => add(sessionId, `${n} a`, `${n} b`),
      () => add(sessionId, `${n}`),
      async () => {
        const { messages } = await service.memory.getMemory({ sessionId, lastN: 5 });
        const messageId = messages[rnd(messages.length)]?.messageId;
        if (messageId) await service.memory.deleteMessage({ sessionId, messageId });
      },
      async () => {
        const { messages } = await service.memory.getMemory({ sessionId, lastN: 5 });
        const messageId = messages[rnd(messages.length)]?.messageId;
        if (!messageId) return;
        if (rnd(2)) await service.memory.rewindMemory({ sessionId, afterMessageId: messageId });
        else await service.memory.updateMessage({ sessionId, messageId, content: `${n} again` });
      },
      () => (rnd(3) === 0 ? service.memory.clearMemory({ sessionId }) : add(sessionId, `${n} c`)),
      () => service.sessions.deleteSession({ sessionId }),
      () => service.sessions.undeleteSession({ sessionId, restoreMemory: true }),
    ][rnd(7)] as () => Promise<unknown>;
    await act().catch((error) => expect(error.code).not.toBe(13));
  });
  const run = async (): Promise<void> => {
    for (let step = steps.pop(); step; step = steps.pop()) await step();
  };
  await Promise.all([run(), run(), run()]);
  await createTestPurger(service.database).pass();
  await rest();
  for (const sessionId of sessions) {
    const live = await service.memory.listMessages({ sessionId });
    const contents = live.flatMap(({ messages }) => messages).map(({ content }) => content);
    expect(await embedded(sessionId)).toEqual(contents);
    expect(await unembedded(sessionId)).toBe(0);
  }
});
