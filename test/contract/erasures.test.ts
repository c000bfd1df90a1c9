import { createHash } from "node:crypto";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import type { ErasureReceipt } from "../../gen/sessions/v1/resources.js";
import { INDEXES } from "../../src/store/indexes.js";
import type { Api } from "../support/api.js";
import { invalid, millis, newId, refusal, texts, userNotFound } from "../support/contract.js";
import { startService, type TestService } from "../support/service.js";

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.stop());

const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");

async function receiptsOf(userId: string, { purge }: Api = service): Promise<ErasureReceipt[]> {
  const all = (await purge.listErasures({})).flatMap(({ receipts }) => receipts);
  return all.filter(({ userIdSha256 }) => userIdSha256 === sha256(userId));
}

const PERSON = {
  email: "ann@example.org",
  firstName: "Ann-Kathrin",
  lastName: "Ågren",
  metadata: { likes: "peanuts" },
};

/** A user with a live session, a deleted one and one without messages: five messages in all, one of them deleted by itself. */
async function newPerson(): Promise<string> {
  const userId = newId("ünser-user");
  await service.users.createUser({ userId, ...PERSON });
  const [live, deleted] = [newId("live"), newId("deleted")];
  await service.memory.addMemory({
    sessionId: live,
    userId,
    messages: [{ messageId: "m", content: "a" }, ...texts("b")],
  });
  await service.memory.deleteMessage({ sessionId: live, messageId: "m" });
  await service.memory.addMemory({ sessionId: deleted, userId, messages: texts("c", "d", "e") });
  await service.sessions.deleteSession({ sessionId: deleted });
  await service.sessions.createSession({ sessionId: newId("empty"), userId });
  return userId;
}

test("an erasure answers a receipt, which stays, and holds nothing of the person", async () => {
  const userId = await newPerson();
  const before = Date.now();
  const answer = await service.users.purgeUser({ userId }, { headers: { "x-request-id": "ticket-4711" } });
  expect(answer).toEqual({
    purgedSessions: 3,
    purgedMessages: 5,
    receipt: {
      receiptId: expect.stringMatching(/^[0-9a-f-]{36}$/),
      userIdSha256: sha256(userId),
      purgedSessions: 3,
      purgedMessages: 5,
      requestId: "ticket-4711",
      requestedBy: "",
      beginTime: expect.anything(),
      endTime: expect.anything(),
    },
  });
  const { beginTime, endTime, receiptId } = answer.receipt as ErasureReceipt;
  expect(millis(beginTime)).toBeLessThanOrEqual(millis(endTime));
  expect(Math.abs(millis(beginTime) - before)).toBeLessThan(60_000);
  expect(await receiptsOf(userId)).toEqual([answer.receipt]);

  const stored = await service.database.erasures.findOne({ _id: `default/${receiptId}` });
  const text = JSON.stringify(stored);
  for (const personal of [userId, PERSON.email, PERSON.firstName, PERSON.lastName, "peanuts"]) {
    expect(text).not.toContain(personal);
  }
  // For ever: nothing erases it by its age.
  expect(INDEXES.erasures.filter((index) => "expireAfterSeconds" in index)).toEqual([]);
  await service.purge.purgeDeleted({ olderThan: { seconds: 0, nanos: 0 } });
  expect(await receiptsOf(userId)).toEqual([answer.receipt]);
});

test("a user who was soft-deleted before is erased with a receipt, and one who comes after them has another", async () => {
  const userId = await newPerson();
  await service.users.deleteUser({ userId });
  const first = await service.users.purgeUser({ userId });
  expect(first.receipt).toMatchObject({ purgedSessions: 3, purgedMessages: 5 });

  await service.users.createUser({ userId });
  const second = await service.users.purgeUser({ userId });
  expect(second.receipt).toMatchObject({ purgedSessions: 0, purgedMessages: 0 });
  expect(await receiptsOf(userId)).toEqual([first.receipt, second.receipt]);
});

test("who is not there leaves no receipt, nor does one whom PurgeDeleted erases", async () => {
  const userId = newId("user");
  expect(await refusal(service.users.purgeUser({ userId }))).toEqual(userNotFound(userId));
  expect(await receiptsOf(userId)).toEqual([]);

  await service.users.createUser({ userId });
  await service.memory.addMemory({ sessionId: newId(), userId, messages: texts("a") });
  await service.users.deleteUser({ userId });
  await service.purge.purgeDeleted({ olderThan: { seconds: 0, nanos: 0 } });
  expect(await refusal(service.users.undeleteUser({ userId }))).toEqual(userNotFound(userId));
  expect(await receiptsOf(userId)).toEqual([]);
});

test.each([
  ["too long", "x".repeat(129)],
  ["with a space", "two words"],
])("a request id that is %s is not kept: the service makes one", async (_, id) => {
  const userId = newId("user");
  await service.users.createUser({ userId });
  const { receipt } = await service.users.purgeUser({ userId }, { headers: { "x-request-id": id } });
  expect(receipt?.requestId).toMatch(/^[0-9a-f-]{36}$/);
});

test("receipts are listed in the order of their ends, chunk by chunk", async () => {
  const own = await startService();
  onTestFinished(() => own.stop());
  expect(await own.purge.listErasures({})).toEqual([]);
  const purged: (ErasureReceipt | undefined)[] = [];
  for (const userId of ["e", "a", "d", "b", "c"]) {
    await own.users.createUser({ userId });
    purged.push((await own.users.purgeUser({ userId })).receipt);
  }
  // Those of one millisecond come in the order of their ids.
  const inOrder = purged.sort(
    (a, b) => millis(a?.endTime) - millis(b?.endTime) || (String(a?.receiptId) < String(b?.receiptId) ? -1 : 1),
  );
  const [all] = await own.purge.listErasures({});
  expect(all).toEqual({ receipts: inOrder, nextCursor: "" });
  const chunks = await own.purge.listErasures({ chunkSize: 2 });
  expect(chunks.map(({ receipts }) => receipts.length)).toEqual([2, 2, 1]);
  expect(chunks.flatMap(({ receipts }) => receipts)).toEqual(inOrder);
  const limited = await own.purge.listErasures({ limit: 2 });
  const rest = await own.purge.listErasures({ cursor: limited[0]?.nextCursor, chunkSize: 1 });
  expect([...limited, ...rest].flatMap(({ receipts }) => receipts)).toEqual(inOrder);
  expect(rest.at(-1)?.nextCursor).toBe("");
});

test("a bad request is refused with all its faults", async () => {
  expect(await refusal(service.purge.listErasures({ limit: -1, chunkSize: -1 }))).toEqual(
    invalid("limit", "chunk_size"),
  );
});
