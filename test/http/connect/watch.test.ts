import type { DescMessage, DescMethod } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import { expect, it } from "vitest";
import { methodAt, one, TRANSPORTS } from "../../support/connect-clients.js";
import { newId, withIds } from "../../support/contract.js";
import { eventually } from "../../support/eventually.js";
import { startHttpService } from "../../support/http-service.js";

const METHOD = methodAt("/sessions.v1.SessionService/WatchSessions") as DescMethod & {
  methodKind: "server_streaming";
  input: DescMessage;
  output: DescMessage;
};

it.each(Object.entries(TRANSPORTS))(
  "%s: events come as they happen, and who leaves is not told any more",
  async (_, transportTo) => {
    const service = await startHttpService();
    const sessionId = newId("s");
    const leave = new AbortController();
    const request = create(METHOD.input, { sessionId } as never);
    const { message } = await transportTo(service.url).stream(METHOD, leave.signal, undefined, undefined, one(request));
    const responses = message[Symbol.asyncIterator]();
    const next = async () => (await responses.next()).value as unknown as { eventType: number; messageIds: string[] };
    expect(await next()).toMatchObject({ eventType: 1 });
    await service.memory.addMemory({ sessionId, messages: withIds("m1") });
    expect(await next()).toMatchObject({ eventType: 2, messageIds: [] });
    expect(await next()).toMatchObject({ eventType: 7, messageIds: ["m1"] });

    const streams = async () => {
      const text = await (await fetch(`${service.url}/metrics`)).text();
      return /sessions_watchers\{place="head"\} (\d+)/.exec(text)?.[1];
    };
    expect(await streams()).toBe("1");
    const gone = responses.next().then(
      () => "more",
      () => "gone",
    );
    leave.abort();
    expect(await gone).toBe("gone");
    await eventually("nobody watches any more", async () => (await streams()) === "0");
  },
);
