import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { promisify } from "node:util";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createClient, type SessionsClient } from "../src/client/index.js";
import { startService, type TestService } from "./support/service.js";

/** Real conversations, which lie beside the checkout where there are any. */
const DATA = resolve(import.meta.dirname, "../../shared/data");

interface Dialogue {
  session_id: string;
  user_id?: string;
  metadata?: object;
  messages: { message_id: string; role: string; role_type: string; content: string; create_time?: string }[];
}

const read = (name: string): Dialogue[] =>
  gunzipSync(readFileSync(`${DATA}/${name}`))
    .toString()
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Dialogue);

const run = promisify(execFile);

/** The whole way that real data take: imported by the command line, read back by the client, deleted, added to, purged. */
describe.skipIf(!existsSync(DATA)).each([
  { file: "dialogues.jsonl.gz", sessions: 2098, messages: 38_768 },
  { file: "locomo-dev.jsonl.gz", sessions: 136, messages: 2_960 },
])("$file", ({ file, ...expected }) => {
  let service: TestService;
  let client: SessionsClient;
  let dialogues: Dialogue[];
  beforeAll(async () => {
    service = await startService();
    client = createClient({ address: service.address });
    dialogues = read(file);
  });
  afterAll(async () => {
    client.close();
    await service.stop();
  });

  const importFile = () =>
    run(process.execPath, ["dist/src/cli/main.js", "--address", service.address, "import", `${DATA}/${file}`]);

  test("is imported once, however often it is imported", async () => {
    const first = await importFile();
    console.log(first.stdout.trim());
    const second = await importFile();
    console.log(second.stdout.trim());
    expect(await service.database.sessions.countDocuments()).toBe(expected.sessions);
    expect(await service.database.messages.countDocuments()).toBe(expected.messages);
  });

  test("reads back in order and equal", async () => {
    for (const dialogue of dialogues) {
      const read: Dialogue["messages"] = [];
      for await (const message of client.listMessages({ sessionId: dialogue.session_id })) {
        read.push({
          message_id: message.messageId,
          role: message.role,
          role_type: `ROLE_TYPE_${message.roleType?.toUpperCase()}`,
          content: message.content,
          create_time: message.createTime.toISOString(),
        });
      }
      const sent = dialogue.messages.map((message, index) => ({
        ...message,
        create_time: message.create_time ? new Date(message.create_time).toISOString() : read[index]?.create_time,
      }));
      expect(read).toEqual(sent);
    }
  });

  test("is listed whole, each session once, with its user and metadata", async () => {
    const listed = new Map<string, object>();
    for await (const { sessionId, userId, metadata, messageCount } of client.listSessions({})) {
      expect(listed.has(sessionId)).toBe(false);
      listed.set(sessionId, { userId, metadata, messageCount });
    }
    expect(listed).toEqual(
      new Map(
        dialogues.map(({ session_id, user_id, metadata, messages }) => [
          session_id,
          { userId: user_id, metadata: metadata ?? {}, messageCount: messages.length },
        ]),
      ),
    );
    const users = new Map<string, number>();
    for (const { user_id } of dialogues) if (user_id) users.set(user_id, (users.get(user_id) ?? 0) + 1);
    for (const [userId, count] of users) expect((await client.getUser({ userId })).sessionCount).toBe(count);
  });

  test("goes when it is deleted, and what is added then stands alone", async () => {
    const [{ session_id: sessionId }] = dialogues as [Dialogue];
    await client.deleteSession({ sessionId });
    expect((await client.getMemory({ sessionId })).session).toBeUndefined();
    const { sessionUndeleted } = await client.addMemory({ sessionId, messages: [{ content: "anew" }] });
    expect(sessionUndeleted).toBe(true);
    const { messages } = await client.getMemory({ sessionId });
    expect(messages.map(({ content }) => content)).toEqual(["anew"]);
  });

  test("is erased for good when all of it is deleted and purged", async () => {
    for (const { session_id: sessionId } of dialogues) await client.deleteSession({ sessionId, allowMissing: true });
    const purged = await client.purgeDeleted({ olderThanMs: 0 });
    expect(purged).toMatchObject({ purgedSessions: expected.sessions, purgedMessages: expected.messages + 1 });
    expect(await service.database.messages.countDocuments()).toBe(0);
    expect(await service.database.sessions.countDocuments()).toBe(0);
  });
});
