import type { JsonObject } from "@bufbuild/protobuf";
import type { Transport } from "@connectrpc/connect";
import { describe, expect, it } from "vitest";
import { failure } from "../../support/api.js";
import { call, connectFailure, TRANSPORTS } from "../../support/connect-clients.js";
import { newId, texts } from "../../support/contract.js";
import { startHttpService } from "../../support/http-service.js";

const SESSIONS = "/sessions.v1.SessionService";
const MEMORY = "/sessions.v1.MemoryService";

/** Keys that an object of JavaScript, a database or a format might take for its own. */
const ODD_METADATA: JsonObject = JSON.parse(
  '{"__proto__":{"__proto__":1,"polluted":true},"":2,"a.b":[null,{"":{}}],"$set":"x","constructor":{"prototype":[]},"👋":1e-7}',
);

describe.each(Object.entries(TRANSPORTS))("%s", (name, transportTo) => {
  it("creates, reads and lists what gRPC then reads the same", async () => {
    const service = await startHttpService();
    const transport: Transport = transportTo(service.url);
    const sessionId = newId("Grüße 👋 / %2F");
    await call(transport, `${SESSIONS}/CreateSession`, { sessionId, metadata: ODD_METADATA });

    const [read] = await call<{ session: JsonObject }>(transport, `${SESSIONS}/GetSession`, { sessionId });
    expect(JSON.stringify(read?.session.metadata)).toBe(JSON.stringify(ODD_METADATA));
    const { session } = await service.sessions.getSession({ sessionId });
    expect(JSON.stringify(session?.metadata)).toBe(JSON.stringify(ODD_METADATA));
    expect(read?.session.etag).toBe(session?.etag);
    expect({}).not.toHaveProperty("polluted");

    const payload = Uint8Array.from({ length: 256 }, (_, n) => n);
    await call(transport, `${MEMORY}/AddMemory`, {
      sessionId,
      messages: [{ content: "one", payload, roleType: 3 }, { content: "two\u0000\u2028" }],
    });
    const [memory] = await call<{ messages: { content: string; payload: Uint8Array; sequence: bigint }[] }>(
      transport,
      `${MEMORY}/GetMemory`,
      { sessionId },
    );
    expect(memory?.messages.map(({ content, sequence }) => [content, sequence])).toEqual([
      ["one", 1n],
      ["two\u0000\u2028", 2n],
    ]);
    expect(Buffer.from(memory?.messages[0]?.payload ?? [])).toEqual(Buffer.from(payload));

    const chunks = await call<{ messages: object[]; nextCursor: string }>(transport, `${MEMORY}/ListMessages`, {
      sessionId,
      chunkSize: 1,
    });
    expect(chunks.map(({ messages }) => messages.length)).toEqual([1, 1]);
    expect(chunks.map(({ nextCursor }) => nextCursor !== "")).toEqual([true, false]);
  });

  it("is told what is wrong in the very words of gRPC", async () => {
    const service = await startHttpService();
    const transport = transportTo(service.url);
    for (const [path, request] of [
      [`${SESSIONS}/GetSession`, { sessionId: newId("missing") }],
      [`${SESSIONS}/CreateSession`, { sessionId: " ", userId: "\u0001", metadata: { long: "x".repeat(70_000) } }],
      [`${SESSIONS}/ListSessions`, { limit: -1, chunkSize: -2 }],
      [`${MEMORY}/ListMessages`, { sessionId: "a", cursor: "invented" }],
      [`${MEMORY}/AddMemory`, { sessionId: "a", messages: [{ roleType: 77, tokenCount: -1 }] }],
    ] as const) {
      const overHttp = await connectFailure(call(transport, path, request));
      const [methodName = ""] = path.split("/").slice(-1);
      const api = path.startsWith(SESSIONS) ? service.sessions : service.memory;
      const method = `${methodName.charAt(0).toLowerCase()}${methodName.slice(1)}`;
      const overGrpc = await failure(
        (api as unknown as Record<string, (request: object) => Promise<unknown>>)[method]?.(
          request,
        ) as Promise<unknown>,
      );
      expect(overHttp).toEqual(overGrpc);
    }
  });

  it("keeps a deadline, however far away, and is told of one that has passed", async () => {
    const service = await startHttpService();
    const transport = transportTo(service.url);
    const sessionId = newId();
    await service.memory.addMemory({ sessionId, messages: texts("x") });
    for (const timeoutMs of [60_000, 2 ** 31 + 1, 9_999_999_999]) {
      const headers = /gRPC-Web/.test(name)
        ? { "grpc-timeout": timeoutMs < 1e8 ? `${timeoutMs}m` : "99999999H" }
        : { "connect-timeout-ms": String(timeoutMs) };
      expect(await call(transport, `${MEMORY}/GetMemory`, { sessionId }, { headers })).toHaveLength(1);
      expect(await call(transport, `${MEMORY}/ListMessages`, { sessionId }, { headers })).toHaveLength(1);
    }
    const none = /gRPC-Web/.test(name) ? { "grpc-timeout": "0n" } : { "connect-timeout-ms": "0" };
    const passed = await connectFailure(call(transport, `${MEMORY}/GetMemory`, { sessionId }, { headers: none }));
    expect(passed).toMatchObject({ code: "DEADLINE_EXCEEDED", reason: "DEADLINE_EXCEEDED" });
  });
});
