import { randomBytes, randomUUID } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, inject, it } from "vitest";
import { GetSessionRequest, SessionServiceService } from "../../gen/sessions/v1/session_service.js";
import { rawClient } from "../support/raw-grpc.js";
import { runService } from "../support/service-process.js";
import { temporaryFolder } from "../support/temporary-folder.js";

it("puts no key into its log, at no level, even if the header that holds it is unfit", async () => {
  const key = randomBytes(32).toString("hex");
  const file = join(await temporaryFolder(), "admin-key");
  await writeFile(file, `${key}\n`);
  const service = runService({
    MONGODB_URI: inject("mongodbUri"),
    MONGODB_DATABASE: `test-${randomUUID()}`,
    SESSIONS_AUTH: "keys",
    SESSIONS_ADMIN_KEY_FILE: file,
    SESSIONS_LOG_LEVEL: "trace",
    GRPC_TRACE: "server,server_call,transport_flowctrl",
    GRPC_VERBOSITY: "DEBUG",
  });
  const { grpc } = await service.ready();
  const raw = rawClient(grpc);
  const message = GetSessionRequest.encode({ sessionId: "s", showDeleted: false }).finish();
  const call = async (authorization: string) =>
    (await raw.call(SessionServiceService.getSession.path, { message, headers: { authorization } })).failure?.code;
  expect(await call(`Bearer ${key}`)).toBe("NOT_FOUND");
  // grpc-js says so, and what the header was.
  expect(await call(`Bearer ${key}é`)).toBe("UNAUTHENTICATED");
  raw.close();
  await service.line(/metadata entry authorization/);
  expect(service.output().stdout).not.toContain(key);
  expect(service.output().stderr).toBe("");
});
