import { afterAll, beforeAll, expect, test } from "vitest";
import { MemoryServiceService, SearchMemoryRequest } from "../../gen/sessions/v1/memory_service.js";
import { newId } from "../support/contract.js";
import { eventually } from "../support/eventually.js";
import { type ObservedService, startObservedService } from "../support/observed-service.js";

/** Who searches in much that nobody has searched before waits for a turn; others do not wait for him. */
let service: ObservedService;
beforeAll(async () => {
  service = await startObservedService();
});
afterAll(() => service.stop());

const MESSAGES = 20_000;

/** A session whose index takes many reads to make. */
async function longSession(): Promise<string> {
  const sessionId = newId();
  for (let from = 0; from < MESSAGES; from += 1_000) {
    const messages = Array.from({ length: 1_000 }, (_, n) => ({ content: `boat ${from + n}` }));
    await service.memory.addMemory({ sessionId, messages });
  }
  return sessionId;
}

/** Searches, and notes when that has ended. */
function search(sessionId: string, name: string, ended: string[]) {
  const { path, requestSerialize, responseDeserialize } = MemoryServiceService.searchMemory;
  const request = SearchMemoryRequest.fromPartial({ sessionId, text: "boat", limit: 1 });
  let cancel = () => {};
  const done = new Promise<void>((resolve) => {
    const call = service.client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, (error) => {
      ended.push(error ? `${name} failed` : name);
      resolve();
    });
    cancel = () => call.cancel();
  });
  return { done, cancel };
}

const readsOf = (collection: string) => service.reads.filter((read) => read.collection === collection).length;

async function searchBegins(sessionId: string, name: string, ended: string[]) {
  const before = readsOf("messages");
  const begun = search(sessionId, name, ended);
  await eventually("it reads messages", () => readsOf("messages") > before + 1);
  return begun;
}

/** It has read which sessions there are, and has come to the messages. */
async function searchWaits(sessionId: string, name: string, ended: string[]) {
  const before = readsOf("sessions");
  const waiting = search(sessionId, name, ended);
  await eventually("it has read the session", () => readsOf("sessions") > before);
  return waiting;
}

/** What ends in which order, when others search and add in small sessions while one index is made and another waits for that. */
async function searchBesideTwoLong(): Promise<string[]> {
  const [first, second, known] = [await longSession(), await longSession(), newId()];
  const fewMessages = [{ content: "a boat" }];
  await service.memory.addMemory({ sessionId: known, messages: fewMessages });
  const ended: string[] = [];
  await search(known, "known before", ended).done;

  const one = await searchBegins(first, "first", ended);
  const other = await searchWaits(second, "second", ended);
  await search(known, "known", ended).done;
  // What few messages have come to does not wait for a turn either.
  await service.memory.addMemory({ sessionId: known, messages: fewMessages });
  await search(known, "known and more", ended).done;
  const small = newId();
  await service.memory.addMemory({ sessionId: small, messages: fewMessages });
  await search(small, "small", ended).done;
  await Promise.all([one.done, other.done]);
  return ended;
}

test("an index is made after the one before, and what is known is searched meanwhile", async () => {
  let ended = await searchBesideTwoLong();
  // A disk that takes long for what the others add may have the first index made before they are done: that tells nothing.
  const isEarly = () => ended.indexOf("first") < ended.indexOf("small");
  for (let again = 0; again < 3 && isEarly(); again++) ended = await searchBesideTwoLong();
  expect(ended).toEqual(["known before", "known", "known and more", "small", "first", "second"]);
});

test("who goes while waiting for a turn has nothing read, and holds nobody up", async () => {
  const [first, second, third] = [await longSession(), await longSession(), await longSession()];
  const ended: string[] = [];
  const before = await service.documentsReadAtRest();
  const one = await searchBegins(first, "first", ended);
  const other = await searchWaits(second, "second", ended);
  const another = await searchWaits(third, "third", ended);
  other.cancel();
  await Promise.all([one.done, another.done]);
  expect(ended).toEqual(["second failed", "first", "third"]);
  const read = (await service.documentsReadAtRest()) - before;
  expect(read).toBeLessThan(2 * MESSAGES + 100);
});
