import { setTimeout as sleep } from "node:timers/promises";
import { expect, inject, onTestFinished, test } from "vitest";
import { failure } from "../support/api.js";
import { newId } from "../support/contract.js";
import { eventually } from "../support/eventually.js";
import { startObservedService } from "../support/observed-service.js";
import { startProxy } from "../support/proxy.js";

const BREAKS = 60;
const WRITERS = 10;

test("whenever connections to the database break, calls are told UNAVAILABLE at worst, and what is acknowledged is there once", async () => {
  const proxy = await startProxy(inject("mongodbUri"));
  onTestFinished(proxy.stop);
  const service = await startObservedService({ mongodbUri: proxy.uri });
  onTestFinished(service.stop);

  let isOver = false;
  const refusals = new Map<string, number>();
  const acknowledged = new Map<string, number>();
  const write = async (writer: number): Promise<void> => {
    const sessionId = `writer-${writer % 3}`;
    while (!isOver) {
      const request = { sessionId, messages: [{ messageId: newId() }] };
      // With the same id until it is known to be there.
      for (let attempt = 0; ; attempt++) {
        try {
          const { messages } = await service.memory.addMemory(request);
          acknowledged.set(`${sessionId}/${messages[0]?.messageId}`, messages[0]?.sequence ?? 0);
          await service.memory.getMemory({ sessionId, lastN: 3 });
          break;
        } catch (error) {
          const { code, reason } = await failure(Promise.reject(error));
          refusals.set(`${code} ${reason}`, (refusals.get(`${code} ${reason}`) ?? 0) + 1);
          if (attempt === 100) throw error;
        }
      }
    }
  };
  const writing = Promise.all(Array.from({ length: WRITERS }, (_, writer) => write(writer)));
  for (let n = 0; n < BREAKS; n++) {
    // Every other one is to meet calls that get through, however long the service takes to connect again; the rest whatever is.
    const before = acknowledged.size;
    if (n % 2 === 0) await eventually("calls get through again", () => acknowledged.size > before);
    await sleep(Math.random() * 250);
    proxy.breakConnections();
  }
  isOver = true;
  await writing;

  expect(service.lines.filter(({ msg }) => msg === "call failed")).toEqual([]);
  expect([...refusals.keys()].filter((refusal) => refusal !== "UNAVAILABLE STORAGE_UNAVAILABLE")).toEqual([]);
  const stored = new Map<string, number>();
  for (const sessionId of ["writer-0", "writer-1", "writer-2"]) {
    const chunks = await service.memory.listMessages({ sessionId });
    const messages = chunks.flatMap((chunk) => chunk.messages);
    expect(messages.map(({ sequence }) => sequence)).toEqual(messages.map((_, index) => index + 1));
    for (const { messageId, sequence } of messages) stored.set(`${sessionId}/${messageId}`, sequence);
    const { session } = await service.sessions.getSession({ sessionId });
    expect(session?.messageCount).toBe(messages.length);
  }
  expect(stored).toEqual(acknowledged);
  expect(acknowledged.size).toBeGreaterThanOrEqual(BREAKS / 2);
});
