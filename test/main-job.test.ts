import { execFile } from "node:child_process";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { createClient, type Message, type Session, type SessionsClient } from "../src/client/index.js";
import {
  type Conversation,
  type ConversationMessage,
  conversationFiles,
  readConversations,
} from "./support/conversations.js";
import { startService, type TestService } from "./support/service.js";
import { temporaryFolder } from "./support/temporary-folder.js";

const run = promisify(execFile);

/** A message of the file as the client has to show it, with what only the service knows taken from what it showed. */
const shown = (sent: ConversationMessage, sessionId: string, read: Message | undefined): Partial<Message> => ({
  messageId: sent.message_id ?? read?.messageId,
  sessionId,
  sequence: read?.sequence,
  role: sent.role ?? "",
  roleType: sent.role_type?.replace("ROLE_TYPE_", "").toLowerCase() as Message["roleType"],
  content: sent.content ?? "",
  payload: sent.payload === undefined ? undefined : new Uint8Array(Buffer.from(sent.payload, "base64")),
  payloadType: sent.payload_type,
  metadata: sent.metadata ?? {},
  tokenCount: sent.token_count ?? 0,
  createTime: sent.create_time === undefined ? read?.createTime : new Date(sent.create_time),
  updateTime: read?.updateTime,
  etag: read?.etag,
});

/** All that a reader of the project sees, without uids, etags and the service's own times. */
async function readAll(client: SessionsClient) {
  const users = new Map<string, object>();
  for await (const { userId, email, firstName, lastName, metadata, sessionCount } of client.listUsers())
    users.set(userId, { email, firstName, lastName, metadata, sessionCount });

  const readSession = async (session: Session): Promise<[string, object]> => {
    const { sessionId, userId, metadata, messageCount, lastMessageTime } = session;
    const { items } = await client.listMessages({ sessionId, chunkSize: 1000 }).page();
    const messages = items.map(({ updateTime, etag, ...message }) => message);
    const summary = (await client.getMemory({ sessionId, lastN: 1 })).summary;
    const summarised = summary && { ...summary, createTime: undefined };
    return [sessionId, { userId, metadata, messageCount, lastMessageTime, messages, summary: summarised }];
  };
  const sessions = new Map<string, object>();
  for await (const { items } of client.listSessions().chunks()) {
    for (const [sessionId, session] of await Promise.all(items.map(readSession))) sessions.set(sessionId, session);
  }
  return { users, sessions };
}

/** The whole way that real data take: imported by the command line, read back by the client, deleted, added to, purged. */
describe.each(conversationFiles().map((file) => ({ name: basename(file), file })))("$name", ({ file }) => {
  const conversations = readConversations(file);
  const messageCount = conversations.reduce((total, { messages = [] }) => total + messages.length, 0);
  let service: TestService;
  let client: SessionsClient;
  beforeAll(async () => {
    service = await startService();
    client = createClient({ address: service.address });
  });
  afterAll(async () => {
    client.close();
    await service.stop();
  });

  test("is imported once, however often it is imported", async () => {
    for (const _ of ["first", "again"]) {
      const args = ["dist/src/cli/main.js", "--address", service.address, "import", "--json", file];
      const { stdout } = await run(process.execPath, args);
      console.log(stdout.trim());
      const imported = { sessions: conversations.length, messages: messageCount, failed_lines: 0 };
      expect(JSON.parse(stdout)).toMatchObject(imported);
      expect(await service.database.sessions.countDocuments()).toBe(conversations.length);
      expect(await service.database.messages.countDocuments()).toBe(messageCount);
    }
  });

  test("reads back in order and equal", async () => {
    for (const { session_id: sessionId, messages = [] } of conversations) {
      const read: Message[] = [];
      for await (const message of client.listMessages({ sessionId })) read.push(message);
      expect(read).toEqual(messages.map((message, index) => shown(message, sessionId, read[index])));
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
        conversations.map(({ session_id, user_id, metadata, messages = [] }) => [
          session_id,
          { userId: user_id, metadata: metadata ?? {}, messageCount: messages.length },
        ]),
      ),
    );
    const users = new Map<string, number>();
    for (const { user_id } of conversations) if (user_id) users.set(user_id, (users.get(user_id) ?? 0) + 1);
    for (const [userId, count] of users) expect((await client.getUser({ userId })).sessionCount).toBe(count);
  });

  test("is the same when it has been exported, and imported into an empty database", async () => {
    const [{ session_id: sessionId }] = conversations as [Conversation];
    const newest = (await client.listMessages({ sessionId, limit: 1, descending: true }).page()).items[0];
    await client.setSummary({ sessionId, content: "so far", recentMessageId: newest?.messageId ?? "" });
    const file = join(await temporaryFolder(), "all.jsonl.gz");
    const empty = await startService();
    onTestFinished(() => empty.stop());
    const copy = createClient({ address: empty.address });
    onTestFinished(() => copy.close());

    for (const [{ address }, command] of [
      [service, "export"],
      [empty, "import"],
    ] as const) {
      const args = ["dist/src/cli/main.js", "--address", address, command, "--json", file];
      const { stdout } = await run(process.execPath, args);
      console.log(command, stdout.trim());
      expect(JSON.parse(stdout)).toMatchObject({ sessions: conversations.length, messages: messageCount });
    }
    expect(await readAll(copy)).toEqual(await readAll(client));
  });

  test("goes when it is deleted, and what is added then stands alone", async () => {
    const [{ session_id: sessionId }] = conversations as [Conversation];
    await client.deleteSession({ sessionId });
    expect((await client.getMemory({ sessionId })).session).toBeUndefined();
    const { sessionUndeleted } = await client.addMemory({ sessionId, messages: [{ content: "anew" }] });
    expect(sessionUndeleted).toBe(true);
    const { messages } = await client.getMemory({ sessionId });
    expect(messages.map(({ content }) => content)).toEqual(["anew"]);
  });

  test("is erased for good when all of it is deleted and purged", async () => {
    for (const { session_id: sessionId } of conversations)
      await client.deleteSession({ sessionId, allowMissing: true });
    const purged = await client.purgeDeleted({ olderThanMs: 0 });
    expect(purged).toMatchObject({ purgedSessions: conversations.length, purgedMessages: messageCount + 1 });
    expect(await service.database.messages.countDocuments()).toBe(0);
    expect(await service.database.sessions.countDocuments()).toBe(0);
  });
});
