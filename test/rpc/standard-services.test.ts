import { readdirSync } from "node:fs";
import { create, createFileRegistry, type DescEnum, type DescMessage, type DescService } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { eventually, timed } from "../support/eventually.js";
import { startService, type TestService } from "../support/service.js";
import {
  type HealthClient,
  healthClient,
  type ReflectionClient,
  reflectionClient,
} from "../support/standard-clients.js";

const SERVICES = ["SessionService", "MemoryService", "UserService", "PurgeService"].map(
  (name) => `sessions.v1.${name}`,
);

let service: TestService;
let health: HealthClient;
beforeAll(async () => {
  service = await startService();
  health = healthClient(service.address);
});
afterAll(async () => {
  health.close();
  await service.stop();
});

describe("health", () => {
  it.each(["", ...SERVICES])("of %j is SERVING, for those who ask and those who watch", async (name) => {
    expect(await health.check(name)).toBe("SERVING");
    const watch = health.watch(name);
    await eventually("the watch tells the present state", () => watch.received.length > 0);
    expect(watch.received).toEqual(["SERVING"]);
    watch.cancel();
  });

  it("of a service that there is not is NOT_FOUND", async () => {
    await expect(health.check("sessions.v1.Nothing")).rejects.toMatchObject({ code: 5 });
    const watch = health.watch("sessions.v1.Nothing");
    await eventually("the watch tells so", () => watch.received.length > 0);
    expect(watch.received).toEqual(["SERVICE_UNKNOWN"]);
    watch.cancel();
  });

  it("turns NOT_SERVING when the server stops, and every watch then ends at once as UNAVAILABLE", async () => {
    const own = await startService({ shutdownGraceMs: 60_000 });
    const client = healthClient(own.address);
    const watches = ["", ...SERVICES].map((name) => client.watch(name));
    const reflection = reflectionClient(own.address, "v1");
    const open = reflection.open();
    await eventually("all are open", () => [...watches, open].every(({ received }) => received.length === 1));
    const { ms } = await timed(own.stop());
    expect(ms).toBeLessThan(30_000);
    for (const watch of watches) {
      expect(await watch.ended).toMatchObject({
        code: "UNAVAILABLE",
        reason: "SHUTTING_DOWN",
        retryDelayMs: expect.any(Number),
      });
      expect(watch.received).toEqual(["SERVING", "NOT_SERVING"]);
    }
    expect(await open.ended).toMatchObject({ code: "UNAVAILABLE" });
    client.close();
    reflection.close();
  });
});

describe.each(["v1", "v1alpha"] as const)("reflection %s", (version) => {
  let reflection: ReflectionClient;
  beforeAll(() => {
    reflection = reflectionClient(service.address, version);
  });
  afterAll(() => reflection.close());

  it("lists the services", async () => {
    const names = await reflection.services();
    expect(names).toEqual(expect.arrayContaining([...SERVICES, "grpc.health.v1.Health"]));
  });

  /** Everything that a symbol's files, and the files that they import, declare; as a client without any proto file gets it. */
  async function learn(symbol: string) {
    const known = new Map((await reflection.files({ symbol })).map((file) => [file.name, file]));
    for (const { dependency } of known.values()) {
      for (const name of dependency) {
        if (known.has(name)) continue;
        for (const file of await reflection.files({ file: name })) known.set(file.name, file);
      }
    }
    return createFileRegistry(create(FileDescriptorSetSchema, { file: sortedByImports([...known.values()]) }));
  }

  it.each<[string, string]>([
    ["sessions.v1.SessionService", "sessions/v1/session_service.proto"],
    ["sessions.v1.SessionService.ListSessions", "sessions/v1/session_service.proto"],
    ["sessions.v1.MemoryService", "sessions/v1/memory_service.proto"],
    ["sessions.v1.AddMemoryRequest", "sessions/v1/memory_service.proto"],
    ["sessions.v1.UserService", "sessions/v1/user_service.proto"],
    ["sessions.v1.PurgeService", "sessions/v1/purge_service.proto"],
    ["sessions.v1.Message", "sessions/v1/resources.proto"],
    ["sessions.v1.RoleType", "sessions/v1/resources.proto"],
    ["sessions.v1.ErrorReason", "sessions/v1/error_reason.proto"],
    ["google.protobuf.Struct", "google/protobuf/struct.proto"],
    ["google.protobuf.Timestamp", "google/protobuf/timestamp.proto"],
    ["google.protobuf.Duration", "google/protobuf/duration.proto"],
    ["grpc.health.v1.Health", "health.proto"],
  ])("describes %s, with all that it imports", async (symbol, file) => {
    const names = (await reflection.files({ symbol })).map(({ name }) => name);
    expect(names.some((name) => name.endsWith(file))).toBe(true);
    const registry = await learn(symbol);
    const type = symbol.replace(/(Service)\..*/, "$1");
    expect(registry.get(type)?.typeName).toBe(type);
  });

  it("covers every proto file of the API", async () => {
    const protos = readdirSync("proto/sessions/v1").filter((name) => name.endsWith(".proto"));
    const files = protos.map((name) => `sessions/v1/${name}`);
    for (const file of files) {
      const names = (await reflection.files({ file })).map(({ name }) => name);
      expect(names).toContain(file);
    }
  });

  it("tells enough to make a call without any proto file: methods, fields, enum values", async () => {
    const memory = (await learn("sessions.v1.MemoryService")).get("sessions.v1.MemoryService") as DescService;
    const { addMemory, listMessages } = memory.method as Record<string, DescService["methods"][number]>;
    expect(addMemory).toMatchObject({ methodKind: "unary" });
    expect(listMessages).toMatchObject({ methodKind: "server_streaming" });
    const newMessage = addMemory?.input.field.messages?.message as DescMessage;
    expect(newMessage.field.metadata?.message?.typeName).toBe("google.protobuf.Struct");
    expect(newMessage.field.createTime?.message?.typeName).toBe("google.protobuf.Timestamp");
    const roles = newMessage.field.roleType?.enum as DescEnum;
    expect(roles.values.map(({ name }) => name)).toContain("ROLE_TYPE_ASSISTANT");
  });

  it("does not know what there is not", async () => {
    await expect(reflection.files({ symbol: "sessions.v1.Nothing" })).rejects.toThrow(/^5: /);
    await expect(reflection.files({ file: "sessions/v2/none.proto" })).rejects.toThrow(/^5: /);
  });
});

/** A file after all that it imports. */
function sortedByImports<F extends { name: string; dependency: string[] }>(files: F[]): F[] {
  const byName = new Map(files.map((file) => [file.name, file]));
  const sorted = new Set<F>();
  const visit = (file: F | undefined): void => {
    if (!file || sorted.has(file)) return;
    for (const name of file.dependency) visit(byName.get(name));
    sorted.add(file);
  };
  for (const file of files) visit(file);
  return [...sorted];
}
