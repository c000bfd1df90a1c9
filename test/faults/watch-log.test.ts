import type { Timestamp } from "mongodb";
import { expect, onTestFinished, test } from "vitest";
import { chooseMongod, startMongod } from "../../src/local/index.js";
import { freePort } from "../../src/local/port.js";
import { ensureSingleNodePrimary } from "../../src/local/replica-set.js";
import { newId, withIds } from "../support/contract.js";
import { eventually, timed } from "../support/eventually.js";
import { startService } from "../support/service.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { refusedWatch, told, watch } from "../support/watching.js";

const MB = 1_000_000;

test("a token that the database's log does not reach back to any more is refused at once; who is at the head watches on", async () => {
  const program = await chooseMongod({ env: process.env, log: () => {} });
  const port = await freePort(undefined);
  const folder = await temporaryFolder();
  const mongod = await startMongod({ program, folder, port, replicaSet: "rolled", env: process.env, oplogMb: 1 });
  onTestFinished(async () => {
    mongod.kill();
    await mongod.ended;
  });
  await ensureSingleNodePrimary(port, "rolled", () => !mongod.hasEnded());
  const service = await startService({ mongodbUri: `mongodb://127.0.0.1:${port}/?replicaSet=rolled` });
  onTestFinished(() => service.stop());

  const sessionId = newId("s");
  const first = await watch(service, { sessionId });
  const token = first.token();
  const [, time] = JSON.parse(Buffer.from(token, "base64url").toString()).slice(1) as [string, string];
  const { client } = service.database;
  await eventually(
    "the log does not reach back",
    async () => {
      await service.memory.addMemory({ sessionId: "filling", messages: [{ content: "x".repeat(MB) }] });
      // What a crash would need is kept.
      await client.db("admin").command({ fsync: 1 });
      const [oldest] = await client.db("local").collection("oplog.rs").find().sort({ $natural: 1 }).limit(1).toArray();
      return oldest !== undefined && (oldest.ts as Timestamp).toBigInt() > BigInt(time);
    },
    240_000,
  );

  const { result, ms } = await timed(refusedWatch(service, { sessionId, resumeToken: token }));
  expect(result).toMatchObject({ code: "OUT_OF_RANGE", reason: "RESUME_TOKEN_EXPIRED", domain: "sessions.v1" });
  expect(ms).toBeLessThan(10_000);
  await service.memory.addMemory({ sessionId, messages: withIds("m1") });
  const events = await first.untilSome("it is told", ({ messageIds }) => messageIds.includes("m1"));
  expect(events.map(told)).toEqual([`SESSION_CREATED ${sessionId}`, `MESSAGES_ADDED ${sessionId} m1`]);
  const resumed = await watch(service, { sessionId, resumeToken: first.token() });
  await eventually("the last token is good", () => resumed.responses.length > 0);
  await resumed.stop();
  await first.stop();
});
