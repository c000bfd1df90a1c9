import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { EndpointSettings } from "../../src/embeddings/endpoint.js";

/** How the endpoint behaves: as it should, or in one of the ways in which it may fail. */
export type Behaviour =
  | "right"
  | "down"
  | "silent"
  | "too few"
  | "too short"
  | "not finite"
  | "twice the same"
  | "garbage"
  | "endless"
  | { readonly status: number; readonly retryAfter?: number };

/** An endpoint for embeddings as services of that kind have it, for which words of one meaning are the same. */
export interface TestEndpoint {
  readonly settings: EndpointSettings;
  behaviour: Behaviour;
  /** A text with any of these is refused. */
  refused: readonly string[];
  /** All texts that it was asked for so far, in order, and how many each request had. */
  readonly texts: string[];
  readonly batches: number[];
  /** What each request showed. */
  readonly keys: (string | undefined)[];
  /** Has it answer those whom it has kept waiting in silence, and be as it should be. */
  release(): void;
  stop(): Promise<void>;
}

export const DIMENSIONS = 64;

const SYNONYMS = [
  ["cat", "kitten", "feline", "purring"],
  ["car", "automobile", "vehicle", "sedan"],
  ["doctor", "physician", "surgeon"],
  ["boat", "ship", "vessel"],
];

export async function startEndpoint(model = "words", dimensions = DIMENSIONS, key?: string): Promise<TestEndpoint> {
  const texts: string[] = [];
  const batches: number[] = [];
  const keys: (string | undefined)[] = [];
  const server = createServer((request, response) => void answer(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const silent: (() => void)[] = [];
  const endpoint: TestEndpoint = {
    release() {
      endpoint.behaviour = "right";
      for (const answer of silent.splice(0)) answer();
    },
    settings: { url: `http://127.0.0.1:${port}/v1`, model, dimensions, key },
    behaviour: "right",
    refused: [],
    texts,
    batches,
    keys,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { behaviour } = endpoint;
    if (behaviour === "down") return void request.socket.destroy();
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part);
    const { input, model: asked } = JSON.parse(Buffer.concat(parts).toString("utf8")) as {
      input: string[];
      model: string;
    };
    texts.push(...input);
    batches.push(input.length);
    keys.push(request.headers.authorization);
    if (behaviour === "silent") await new Promise<void>((resolve) => silent.push(resolve));
    const refuse = (status: number): void => void response.writeHead(status).end(`{"error": ${JSON.stringify(input)}}`);
    if (typeof behaviour === "object") {
      if (behaviour.retryAfter !== undefined) response.setHeader("retry-after", behaviour.retryAfter);
      return refuse(behaviour.status);
    }
    if (request.url !== "/v1/embeddings" || request.method !== "POST") return refuse(404);
    if (asked !== model || input.some((text) => endpoint.refused.some((word) => text.includes(word))))
      return refuse(400);
    if (behaviour === "garbage") return void response.end("<html>");
    if (behaviour === "endless") {
      const junk = Buffer.alloc(65_536, "x");
      const pour = (): void => {
        while (!response.destroyed && response.write(junk));
        response.once("drain", pour);
      };
      return pour();
    }
    const data = input.map((text, index) => ({ object: "embedding", index, embedding: vectorOf(text, dimensions) }));
    if (behaviour === "too few") data.pop();
    if (behaviour === "too short") data.at(-1)?.embedding.pop();
    if (behaviour === "not finite") (data[0] as { embedding: unknown[] }).embedding[0] = null;
    if (behaviour === "twice the same" && data[0])
      data.splice(0, data.length, ...data.map(() => ({ ...(data[0] as (typeof data)[0] & object) })));
    // In the order of their numbers, not in which they come.
    response
      .setHeader("content-type", "application/json")
      .end(JSON.stringify({ object: "list", model, data: data.reverse() }));
  }
  return endpoint;
}

/** A direction for each meaning, and the text's the sum of its words'. The same text always has the same. */
export function vectorOf(text: string, dimensions = DIMENSIONS): number[] {
  const vector = new Array<number>(dimensions).fill(0);
  for (const word of text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []) {
    const meaning = SYNONYMS.find((words) => words.includes(word))?.[0] ?? word;
    let hash = 2_166_136_261;
    for (const letter of meaning) hash = Math.imul(hash ^ (letter.codePointAt(0) as number), 16_777_619);
    for (let place = 0; place < dimensions; place++) {
      hash = Math.imul(hash ^ (hash >>> 15), 2_246_822_519) + place;
      vector[place] = (vector[place] as number) + ((hash >>> 8) / 2 ** 23 - 1);
    }
  }
  return vector;
}
