import { afterEach, beforeEach, expect, test } from "vitest";
import { createEndpoint, type EndpointError } from "../../src/embeddings/endpoint.js";
import { batchesOf, embedAll } from "../../src/embeddings/texts.js";
import {
  type Behaviour,
  DIMENSIONS,
  startEndpoint,
  type TestEndpoint,
  vectorOf,
} from "../support/embeddings-endpoint.js";

let endpoint: TestEndpoint;
beforeEach(async () => {
  endpoint = await startEndpoint("words", DIMENSIONS, "a secret");
});
afterEach(() => endpoint.stop());

const embed = (texts: string[], withinMs = 10_000, signal?: AbortSignal) =>
  createEndpoint(endpoint.settings).embed(texts, { withinMs, signal });

test("the vectors of texts come in their order, whatever the order of the answer, and the key is shown", async () => {
  const texts = ["a cat", "a car", "a boat"];
  expect(await embed(texts)).toEqual(texts.map((text) => Float32Array.from(vectorOf(text))));
  expect(endpoint.keys).toEqual(["Bearer a secret"]);
});

test.each<[Behaviour, EndpointError["failure"]]>([
  ["down", "unreachable"],
  ["too few", "wrong answer"],
  ["too short", "wrong answer"],
  ["not finite", "wrong answer"],
  ["twice the same", "wrong answer"],
  ["garbage", "wrong answer"],
  ["endless", "wrong answer"],
  [{ status: 400 }, "refused"],
  [{ status: 413 }, "refused"],
  [{ status: 302 }, "denied"],
  [{ status: 401 }, "denied"],
  [{ status: 404 }, "denied"],
  [{ status: 429 }, "busy"],
  [{ status: 500 }, "failing"],
  [{ status: 503 }, "busy"],
])(
  "(%o) is told as a failure of its own kind, in words that repeat neither texts nor the key",
  async (behaviour, failure) => {
    endpoint.behaviour = behaviour;
    const error = await embed(["a private matter", "another"]).catch((error: EndpointError) => error);
    expect(error).toMatchObject({ name: "EndpointError", failure });
    expect(`${error}`).not.toMatch(/private|secret/);
  },
);

test("an endpoint that nobody listens at is unreachable", async () => {
  await endpoint.stop();
  await expect(embed(["a cat"])).rejects.toMatchObject({ failure: "unreachable" });
  endpoint = await startEndpoint();
});

test("one that is silent is slow; one that asks for patience says for how long", async () => {
  endpoint.behaviour = "silent";
  await expect(embed(["a cat"], 50)).rejects.toMatchObject({ failure: "slow" });
  endpoint.behaviour = { status: 429, retryAfter: 7 };
  await expect(embed(["a cat"])).rejects.toMatchObject({ failure: "busy", retryAfterMs: 7_000 });
});

test("whoever does not want an answer any more has its own reason for it", async () => {
  endpoint.behaviour = "silent";
  const aborter = new AbortController();
  const asked = embed(["a cat"], 10_000, aborter.signal);
  aborter.abort(new Error("gone"));
  await expect(asked).rejects.toThrow("gone");
});

test("batches are bounded by texts, by bytes and by the numbers of their vectors", () => {
  const sizes = (texts: string[], dimensions: number) => batchesOf(texts, dimensions).map(({ from, to }) => to - from);
  expect(sizes(new Array(150).fill("a"), 384)).toEqual([64, 64, 22]);
  expect(sizes(new Array(5).fill("a".repeat(100_000)), 384)).toEqual([2, 2, 1]);
  expect(sizes(new Array(3).fill("a".repeat(300_000)), 384)).toEqual([1, 1, 1]);
  expect(sizes(new Array(9).fill("a"), 8_192)).toEqual([4, 4, 1]);
  expect(sizes([], 384)).toEqual([]);
});

test("a text that is refused costs the others nothing, and has no vector if its beginning is refused as well", async () => {
  const options = { withinMs: 10_000, signal: new AbortController().signal };
  const long = `a boat ${"and so on ".repeat(100)} poison`;
  endpoint.refused = ["poison"];
  const texts = ["a cat", "poison", "a car", long];
  const vectors = await embedAll(createEndpoint(endpoint.settings), texts, options);
  expect(vectors.map((vector) => vector !== undefined)).toEqual([true, false, true, true]);
  expect(vectors[2]).toEqual(Float32Array.from(vectorOf("a car")));
});

test("an endpoint that refuses everything has failed: no text is given up for it", async () => {
  const options = { withinMs: 10_000, signal: new AbortController().signal };
  endpoint.behaviour = { status: 400 };
  const embedded = embedAll(createEndpoint(endpoint.settings), ["a cat", "a car"], options);
  await expect(embedded).rejects.toMatchObject({ failure: "refused" });
});
