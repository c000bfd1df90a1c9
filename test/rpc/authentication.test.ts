import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, it, onTestFinished } from "vitest";
import { Duration } from "../../gen/google/protobuf/duration.js";
import { ANYBODY, type Principal } from "../../src/domain/principal.js";
import { failure } from "../support/api.js";
import { eventually } from "../support/eventually.js";
import { frame, rawClient } from "../support/raw-grpc.js";
import { SECOND, startHandMade } from "./hand-made-service.js";

/** An authentication that is under way until the test says how it ends. */
function pending() {
  const waiting: ((principal: Principal) => void)[] = [];
  return {
    waiting,
    authenticate: () => new Promise<Principal>((resolve) => waiting.push(resolve)),
    end() {
      for (const resolve of waiting.splice(0)) resolve(ANYBODY);
    },
  };
}

it("a method of which nobody has said what it takes is closed, to an admin too", async () => {
  const service = await startHandMade({
    authentication: { authenticate: () => ANYBODY, roleFor: () => undefined, maxWaiting: 1 },
  });
  expect(await failure(service.ask())).toMatchObject({ code: "PERMISSION_DENIED", metadata: { role: "admin" } });
  expect(await failure(service.stream())).toMatchObject({ code: "PERMISSION_DENIED" });
});

it("until it is known who calls nothing of their request is read, and all of it after that", async () => {
  const MIB = 1024 * 1024;
  const who = pending();
  let asked = 0;
  const service = await startHandMade({
    ask: async ({ seconds }) => {
      asked += 1;
      return { seconds, nanos: 0 };
    },
    authentication: { authenticate: who.authenticate, roleFor: () => "reader", maxWaiting: 100 },
  });
  const raw = rawClient(service.address);
  onTestFinished(() => raw.close());
  const stream = raw.open("/test.Service/Ask");
  await once(stream, "ready").catch(() => {});
  let flushed = 0;
  // A field that nobody knows, of 4 MiB: the message is valid, and long on its way.
  const padding = Buffer.concat([Buffer.from([0x7a, 0x80, 0x80, 0x80, 0x02]), Buffer.alloc(4 * MIB)]);
  const message = frame(Buffer.concat([Duration.encode(SECOND).finish(), padding]));
  for (let at = 0; at < message.length; at += 64 * 1024) {
    const part = message.subarray(at, at + 64 * 1024);
    stream.write(part, () => {
      flushed += part.length;
    });
  }
  stream.end();
  await eventually("it is asked who calls", () => who.waiting.length === 1);
  await sleep(500);
  expect(flushed).toBeLessThan(MIB);
  expect(asked).toBe(0);
  const ended = once(stream, "trailers");
  stream.resume();
  who.end();
  const [trailers] = await ended;
  expect(trailers["grpc-status"]).toBe("0");
  expect(flushed).toBe(message.length);
  expect(asked).toBe(1);
});

it("only so many wait until it is known who they are, and who leaves does not wait any more", async () => {
  const who = pending();
  const service = await startHandMade({
    authentication: { authenticate: who.authenticate, roleFor: () => "reader", maxWaiting: 3 },
  });
  const raw = rawClient(service.address);
  onTestFinished(() => raw.close());
  const streams = [1, 2, 3].map(() => raw.open("/test.Service/Ask"));
  await eventually("all wait", () => who.waiting.length === 3);
  expect(await failure(service.ask())).toMatchObject({ code: "RESOURCE_EXHAUSTED", reason: "OVERLOADED" });
  for (const stream of streams) stream.destroy();
  const asked = who.waiting.length;
  const { answer } = await eventually("there is room again", async () => {
    let isRefused = false;
    const answer = service.ask().catch(() => {
      isRefused = true;
    });
    await eventually("it is refused, or asked who calls", () => isRefused || who.waiting.length > asked);
    return !isRefused && { answer };
  });
  who.end();
  expect(await answer).toEqual(SECOND);
});

it("a fault in finding out who calls lets nobody in, and is told to the log alone", async () => {
  const service = await startHandMade({
    authentication: {
      authenticate: () => Promise.reject(new TypeError("something of the inside")),
      roleFor: () => "reader",
      maxWaiting: 1,
    },
  });
  const refused = await failure(service.ask());
  expect(refused).toMatchObject({ code: "INTERNAL", reason: "INTERNAL" });
  expect(JSON.stringify(refused)).not.toContain("inside");
  expect(service.lines).toMatchObject([{ level: 50, request_id: refused.metadata.request_id }]);
});
