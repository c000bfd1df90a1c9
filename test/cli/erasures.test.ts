import { createHash } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startService, type TestService } from "../support/service.js";
import { parseLines, run } from "./support.js";

let service: TestService;
beforeAll(async () => {
  service = await startService();
});
afterAll(() => service.stop());

const erasures = (...args: string[]) => run(["--address", service.address, "erasures", ...args]);

test("erasures lists the receipts of users who were erased", async () => {
  expect(await erasures()).toMatchObject({ code: 0, stdout: "", stderr: "" });
  await service.users.createUser({ userId: "ann" });
  await service.memory.addMemory({
    sessionId: "of-ann",
    userId: "ann",
    messages: [{ content: "a" }, { content: "b" }],
  });
  const { receipt } = await service.users.purgeUser({ userId: "ann" });

  const hash = createHash("sha256").update("ann").digest("hex");
  const json = await erasures("--json");
  expect(json).toMatchObject({ code: 0, stderr: "" });
  expect(parseLines(json.stdout)).toEqual([
    {
      receipt_id: receipt?.receiptId,
      user_id_sha256: hash,
      purged_sessions: 1,
      purged_messages: 2,
      request_id: receipt?.requestId,
      requested_by: "",
      begin_time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      end_time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
    },
  ]);
  expect((await erasures()).stdout).toMatch(new RegExp(`SESSIONS.*MESSAGES.*REQUESTED BY[^]*${hash} │ +1 │ +2 │`));
});
