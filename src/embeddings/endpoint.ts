/** Where texts are turned into vectors: any service that speaks OpenAI's `/embeddings`. */
export interface EndpointSettings {
  /** The base, such as https://host/v1. */
  readonly url: string;
  readonly model: string;
  /** How many numbers each vector has. */
  readonly dimensions: number;
  readonly key: string | undefined;
}

export interface Endpoint {
  /** One vector a text, in their order. Throws an EndpointError. */
  embed(texts: readonly string[], options: { withinMs: number; signal?: AbortSignal }): Promise<Float32Array[]>;
}

/**
 * `refused`: the texts, or one of them, are nothing that the endpoint takes. `busy`: it asks for patience. `denied`: the key, the model or
 * the path are wrong. `wrong answer`: it answers, but not with vectors of the size and number that they must have.
 */
export type Failure = "unreachable" | "slow" | "busy" | "failing" | "denied" | "refused" | "wrong answer";

/** Tells nothing of the texts, of the key or of what the endpoint has written, which may repeat either. */
export class EndpointError extends Error {
  override readonly name = "EndpointError";
  readonly failure: Failure;
  /** How long the endpoint asks to be left alone. */
  readonly retryAfterMs: number | undefined;

  constructor(failure: Failure, message: string, retryAfterMs?: number) {
    super(message);
    this.failure = failure;
    this.retryAfterMs = retryAfterMs;
  }
}

export function createEndpoint({ url, model, dimensions, key }: EndpointSettings): Endpoint {
  const headers = { "content-type": "application/json", ...(key && { authorization: `Bearer ${key}` }) };
  return {
    async embed(texts, { withinMs, signal }) {
      const aborter = new AbortController();
      const abort = () => aborter.abort();
      const timer = setTimeout(abort, withinMs);
      signal?.addEventListener("abort", abort, { once: true });
      try {
        signal?.throwIfAborted();
        const response = await fetch(`${url}/embeddings`, {
          method: "POST",
          headers,
          body: JSON.stringify({ model, input: texts }),
          // Where it leads to may be nobody whom the texts are for.
          redirect: "manual",
          signal: aborter.signal,
        });
        if (response.status !== 200) {
          await response.body?.cancel();
          throw failureOf(response);
        }
        const text = await bodyOf(response, texts.length * dimensions * BYTES_A_NUMBER + BYTES_AROUND);
        return vectorsIn(text, texts.length, dimensions);
      } catch (error) {
        signal?.throwIfAborted();
        if (error instanceof EndpointError) throw error;
        if (aborter.signal.aborted) throw new EndpointError("slow", `no answer within ${Math.round(withinMs)} ms`);
        throw new EndpointError("unreachable", `cannot be called: ${causeOf(error)}`);
      } finally {
        clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
      }
    },
  };
}

/** What a number takes in JSON at most, with whitespace around it, and what may stand around all of them. */
const BYTES_A_NUMBER = 64;
const BYTES_AROUND = 65_536;

/** Statuses that are about the texts. */
const REFUSALS = new Set([400, 413, 422]);

function failureOf({ status, headers }: Response): EndpointError {
  const message = `answered with status ${status}`;
  if (status === 429 || status === 503) return new EndpointError("busy", message, retryAfter(headers));
  if (REFUSALS.has(status)) return new EndpointError("refused", message);
  return new EndpointError(status >= 500 ? "failing" : "denied", message);
}

function retryAfter(headers: Headers): number | undefined {
  const seconds = Number(headers.get("retry-after") ?? Number.NaN);
  return seconds >= 0 ? seconds * 1000 : undefined;
}

async function bodyOf({ body }: Response, atMost: number): Promise<string> {
  const parts: Uint8Array[] = [];
  let size = 0;
  // Whoever leaves this loop closes the connection.
  for await (const part of body ?? []) {
    size += part.length;
    if (size > atMost) throw new EndpointError("wrong answer", "answered with far more than vectors take");
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
}

function vectorsIn(text: string, count: number, dimensions: number): Float32Array[] {
  const data = entriesIn(text);
  if (data?.length !== count) {
    throw new EndpointError("wrong answer", `answered with ${data?.length ?? "no"} vectors for ${count} texts`);
  }
  const vectors = new Array<Float32Array | undefined>(count).fill(undefined);
  for (const [position, entry] of data.entries()) {
    const { index = position, embedding } = (entry ?? {}) as { index?: unknown; embedding?: unknown };
    if (typeof index !== "number" || !(index in vectors) || vectors[index]) {
      throw new EndpointError("wrong answer", "answered with vectors that belong to no text, or to one twice");
    }
    vectors[index] = vectorOf(embedding, dimensions);
  }
  return vectors as Float32Array[];
}

function entriesIn(text: string): readonly unknown[] | undefined {
  try {
    const { data } = JSON.parse(text);
    return Array.isArray(data) ? data : undefined;
  } catch {
    return undefined;
  }
}

function vectorOf(embedding: unknown, dimensions: number): Float32Array {
  if (!Array.isArray(embedding) || embedding.length !== dimensions) {
    const size = Array.isArray(embedding) ? embedding.length : "no";
    throw new EndpointError("wrong answer", `answered with vectors of ${size} numbers instead of ${dimensions}`);
  }
  const isNumber = (number: unknown): boolean => typeof number === "number" && Number.isFinite(Math.fround(number));
  if (!embedding.every(isNumber)) throw new EndpointError("wrong answer", "answered with what is no number");
  return Float32Array.from(embedding);
}

/** Such as ECONNREFUSED; the rest of what Node says may name hosts, and tells no more. */
function causeOf(error: unknown): string {
  const { cause } = error as { cause?: { code?: unknown } };
  return typeof cause?.code === "string" ? cause.code : "the connection failed";
}
