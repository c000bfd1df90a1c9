import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { expect, inject, it } from "vitest";
import { type Api, connect } from "../support/api.js";
import { eventually } from "../support/eventually.js";
import { runService, type ServiceProcess } from "../support/service-process.js";

const start = (workers: number): ServiceProcess =>
  runService({
    MONGODB_URI: inject("mongodbUri"),
    MONGODB_DATABASE: `test-${randomUUID()}`,
    SESSIONS_WORKERS: String(workers),
  });

async function childrenOf(pid: number): Promise<number[]> {
  const list = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8");
  return list.trim().split(/\s+/).filter(Boolean).map(Number);
}

/** Until several connections have been answered: each goes to one worker. */
async function overConnections(count: number, address: string, act: (api: Api) => Promise<unknown>): Promise<void> {
  const apis = Array.from({ length: count }, () => connect(address));
  await Promise.all(apis.map(act));
  for (const api of apis) api.close();
}

it("several workers serve one address, are told of in one line, and stop together", async () => {
  const service = start(2);
  const { grpc } = await service.ready();
  const workers = await childrenOf(service.pid);
  expect(workers).toHaveLength(2);
  await overConnections(8, grpc, (api) => api.memory.addMemory({ sessionId: "shared", messages: [{}] }));
  await overConnections(8, grpc, async (api) => {
    expect((await api.sessions.getSession({ sessionId: "shared" })).session?.messageCount).toBe(8);
  });
  expect(service.lines().filter(({ msg }) => msg === "ready")).toHaveLength(1);

  service.kill("SIGTERM");
  expect(await service.exited).toEqual({ code: 0, signal: null });
  for (const pid of workers) expect(() => process.kill(pid, 0)).toThrow();
});

it("a worker that dies is replaced, and the others go on meanwhile", async () => {
  const service = start(2);
  const { grpc } = await service.ready();
  const [victim = 0, survivor = 0] = await childrenOf(service.pid);
  process.kill(victim, "SIGKILL");
  await service.line(/has ended by itself/);
  await overConnections(4, grpc, (api) => api.memory.addMemory({ sessionId: "s", messages: [{}] }));
  await eventually("there are two again", async () => {
    const now = await childrenOf(service.pid);
    return now.length === 2 && now.includes(survivor) && !now.includes(victim);
  });
  await overConnections(4, grpc, (api) => api.sessions.getSession({ sessionId: "s" }));
});

it("workers that cannot start end the process with what they say", async () => {
  const busy = start(1);
  const { grpc } = await busy.ready();
  const service = runService({
    MONGODB_URI: inject("mongodbUri"),
    SESSIONS_GRPC_LISTEN: grpc,
    SESSIONS_WORKERS: "2",
  });
  expect(await service.exited).toEqual({ code: 1, signal: null });
  expect(service.output().stdout).toContain(`cannot listen on ${grpc}`);
});
