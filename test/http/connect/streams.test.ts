import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import type { DescMethodServerStreaming } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import { encodeEnvelope } from "@connectrpc/connect/protocol";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { call, connectFailure, methodAt, one, TRANSPORTS } from "../../support/connect-clients.js";
import { eventually } from "../../support/eventually.js";
import { type ObservedService, startObservedService } from "../../support/observed-service.js";

/** So large that what lies between the database and a reader who pauses cannot hold it. */
const MESSAGES = 9_000;
const CONTENT = "x".repeat(4_000);
const LIST = "/sessions.v1.MemoryService/ListMessages";

let service: ObservedService;
let url: string;
beforeAll(async () => {
  service = await startObservedService();
  url = `http://${service.server.httpAddress}`;
  for (let from = 0; from < MESSAGES; from += 1000) {
    await service.memory.addMemory({
      sessionId: "long",
      messages: Array.from({ length: 1000 }, (_, index) => ({ messageId: `${from + index}`, content: CONTENT })),
    });
  }
});
afterAll(() => service.stop());

/** A listing whose reader takes nothing until it is told to: a stock client would take some megabytes. */
async function openListing(format: "json" | "proto"): Promise<IncomingMessage> {
  const sent = request(`${url}${LIST}`, {
    method: "POST",
    headers: { "content-type": `application/connect+${format}` },
  });
  sent.on("error", () => {});
  sent.end(
    format === "json"
      ? encodeEnvelope(0, Buffer.from('{"sessionId": "long"}'))
      : encodeEnvelope(0, Buffer.from("\n\x04long")),
  );
  const [response] = (await once(sent, "response")) as [IncomingMessage];
  return response.on("error", () => {});
}

const ended = (code: string, since: number) => () =>
  service.lines.slice(since).some((line) => line.method?.endsWith("ListMessages") && line.code === code);

describe.each(["json", "proto"] as const)("a reader in %s", (format) => {
  it("who pauses pauses the query, and gets everything when it goes on", async () => {
    const before = await service.documentsReadAtRest();
    const response = await openListing(format);
    const readWhilePaused = (await service.documentsReadAtRest()) - before;
    expect(readWhilePaused).toBeGreaterThan(0);
    expect(readWhilePaused).toBeLessThan(MESSAGES / 2);
    let bytes = 0;
    let last = Buffer.alloc(0);
    for await (const part of response as AsyncIterable<Buffer>) {
      bytes += part.length;
      last = Buffer.concat([last, part]).subarray(-7);
    }
    expect(bytes).toBeGreaterThan(MESSAGES * CONTENT.length);
    // The envelope that ends the stream, with nothing to tell.
    expect(last).toEqual(Buffer.from("\x02\0\0\0\x02{}"));
  });

  it("who leaves in the midst ends the query at once", async () => {
    const before = await service.documentsReadAtRest();
    const lines = service.lines.length;
    const response = await openListing(format);
    response.destroy();
    await eventually("the call has ended", ended("CANCELLED", lines));
    expect((await service.documentsReadAtRest()) - before).toBeLessThan(MESSAGES / 2);
  });
});

describe.each(Object.entries(TRANSPORTS))("a stock client: %s", (_name, transportTo) => {
  it("gets a long listing whole", async () => {
    const chunks = await call<{ messages: { messageId: string }[] }>(transportTo(url), LIST, {
      sessionId: "long",
      chunkSize: 1000,
    });
    const ids = chunks.flatMap(({ messages }) => messages.map(({ messageId }) => messageId));
    expect(ids).toEqual(Array.from({ length: MESSAGES }, (_, index) => `${index}`));
  });

  it("cancels in the midst, which ends the query", async () => {
    const lines = service.lines.length;
    const before = await service.documentsReadAtRest();
    const aborter = new AbortController();
    const method = methodAt(LIST) as DescMethodServerStreaming;
    const request = create(method.input, { sessionId: "long", chunkSize: 10 } as never);
    const { message } = await transportTo(url).stream(method, aborter.signal, undefined, undefined, one(request));
    let chunks = 0;
    const reading = (async () => {
      for await (const _chunk of message) {
        chunks += 1;
        if (chunks === 3) aborter.abort();
      }
    })();
    expect(await connectFailure(reading)).toMatchObject({ code: "CANCELLED" });
    await eventually("the call has ended", ended("CANCELLED", lines));
    expect((await service.documentsReadAtRest()) - before).toBeLessThan(MESSAGES / 2);
  });

  it("is told that its deadline has passed in the midst of a stream", async () => {
    const lines = service.lines.length;
    const method = methodAt(LIST) as DescMethodServerStreaming;
    const request = create(method.input, { sessionId: "long", chunkSize: 1 } as never);
    const reading = (async () => {
      const { message } = await transportTo(url).stream(method, undefined, 1_500, undefined, one(request));
      for await (const _chunk of message) await new Promise((resolve) => setTimeout(resolve, 5));
    })();
    expect(await connectFailure(reading)).toMatchObject({ code: "DEADLINE_EXCEEDED" });
    // The client leaves at its own deadline. When it has been slow to send the call, that is well before the server's, which counts from
    // when the call has come.
    const endedLate = ended("DEADLINE_EXCEEDED", lines);
    const endedEarly = ended("CANCELLED", lines);
    await eventually("the call has ended", () => endedLate() || endedEarly());
  });
});

describe("a server that stops", () => {
  it.each(Object.entries(TRANSPORTS))("tells whoever reads a stream so: %s", async (_name, transportTo) => {
    const stopping = await startObservedService();
    const messages = Array.from({ length: 1000 }, (_, n) => ({ messageId: `${n}`, content: CONTENT }));
    await stopping.memory.addMemory({ sessionId: "long", messages });
    const method = methodAt(LIST) as DescMethodServerStreaming;
    const request = create(method.input, { sessionId: "long", chunkSize: 1 } as never);
    const { message } = await transportTo(`http://${stopping.server.httpAddress}`).stream(
      method,
      undefined,
      undefined,
      undefined,
      one(request),
    );
    let stopped: Promise<void> | undefined;
    const reading = (async () => {
      for await (const _chunk of message) {
        stopped ??= stopping.stop();
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    })();
    expect(await connectFailure(reading)).toMatchObject({
      code: "UNAVAILABLE",
      reason: "SHUTTING_DOWN",
      retryDelayMs: 1_000,
    });
    await stopped;
  });
});
