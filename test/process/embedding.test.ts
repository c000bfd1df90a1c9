import { randomUUID } from "node:crypto";
import { expect, inject, test } from "vitest";
import { SearchMode } from "../../gen/sessions/v1/memory_service.js";
import { connect } from "../support/api.js";
import { newId } from "../support/contract.js";
import { startEndpoint } from "../support/embeddings-endpoint.js";
import { eventually } from "../support/eventually.js";
import { runService } from "../support/service-process.js";

test("a process that is killed while it embeds loses nothing: another one does it, once it may", async () => {
  const endpoint = await startEndpoint();
  const { url, model, dimensions } = endpoint.settings;
  const env = {
    MONGODB_URI: inject("mongodbUri"),
    MONGODB_DATABASE: `test-${randomUUID()}`,
    SESSIONS_EMBEDDINGS_URL: url,
    SESSIONS_EMBEDDINGS_MODEL: model,
    SESSIONS_EMBEDDINGS_DIMENSIONS: String(dimensions),
  };
  const killed = runService(env);
  const api = connect((await killed.ready()).grpc);
  const sessionId = newId();
  endpoint.behaviour = "silent";
  await api.memory.addMemory({ sessionId, messages: [{ messageId: "1", content: "a cat" }, { content: "a car" }] });
  await eventually("it is being embedded", () => endpoint.batches.length > 0);
  killed.kill("SIGKILL");
  await killed.exited;
  api.close();

  const next = runService(env);
  const other = connect((await next.ready()).grpc);
  endpoint.release();
  const found = await eventually("all of it is embedded", async () => {
    const answer = await other.memory.searchMemory({
      sessionId,
      text: "kitten",
      mode: SearchMode.SEARCH_MODE_SEMANTIC,
    });
    return answer.unembeddedMessages === 0 && answer;
  });
  expect(found.results[0]?.message?.messageId).toBe("1");
  other.close();
  next.kill("SIGTERM");
  expect((await next.exited).code).toBe(0);
  await endpoint.stop();
});

test("one outage is told once, and its end, and neither what was said nor the key", async () => {
  const endpoint = await startEndpoint();
  const { url, model, dimensions } = endpoint.settings;
  const service = runService({
    MONGODB_URI: inject("mongodbUri"),
    MONGODB_DATABASE: `test-${randomUUID()}`,
    SESSIONS_EMBEDDINGS_URL: url,
    SESSIONS_EMBEDDINGS_MODEL: model,
    SESSIONS_EMBEDDINGS_DIMENSIONS: String(dimensions),
  });
  const api = connect((await service.ready()).grpc);
  endpoint.behaviour = { status: 500 };
  await api.memory.addMemory({ sessionId: newId(), messages: [{ content: "a private matter" }] });
  await eventually("it has been tried again", () => endpoint.batches.length >= 3);
  endpoint.behaviour = "right";
  await service.line("the embeddings endpoint is as it should be again");
  const told = service.lines().filter(({ msg }) => msg.startsWith("the embeddings endpoint"));
  expect(told).toMatchObject([{ level: 40, failure: "failing", cause: "answered with status 500" }, { level: 30 }]);
  expect(service.output().stdout).not.toContain("private");
  api.close();
  await endpoint.stop();
});
