import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { expect, inject, it, onTestFinished } from "vitest";
import { failure } from "../support/api.js";
import { startService } from "../support/service.js";

/** What MongoDB 4.4 says of itself: it can do all that the service needs but reads in a snapshot. */
const WIRE_VERSION = 12;

it("a database that is too old is not taken for one that is away: that would be tried again without end", async () => {
  const service = await startService({ mongodbUri: await startOlder(inject("mongodbUri")) });
  onTestFinished(() => service.stop());
  expect(await service.server.firstContact).toBe("reachable");
  expect(await failure(service.sessions.getSession({ sessionId: "s" }))).toMatchObject({ code: "NOT_FOUND" });
  expect(await failure(service.memory.getMemory({ sessionId: "s" }))).toMatchObject({ code: "INTERNAL" });
});

/** A way to the database on which it seems to be of an older version. */
async function startOlder(uri: string): Promise<string> {
  const { hostname, port } = new URL(uri);
  const server = createServer((client) => {
    const target = connect({ host: hostname, port: Number(port) });
    for (const socket of [client, target]) {
      socket.on("error", () => {}).on("close", () => [client, target].forEach((each) => void each.destroy()));
    }
    client.pipe(target);
    target.on("data", (answer) => client.write(older(answer)));
  }).listen(0, "127.0.0.1");
  onTestFinished(() => void server.close());
  await once(server, "listening");
  return `mongodb://127.0.0.1:${(server.address() as AddressInfo).port}/?directConnection=true`;
}

function older(answer: Buffer): Buffer {
  const at = answer.indexOf(FIELD);
  if (at >= 0) answer.writeInt32LE(WIRE_VERSION, at + FIELD.length);
  return answer;
}

/** An int32 and its name, as BSON has it. */
const FIELD = Buffer.from("\x10maxWireVersion\0");
