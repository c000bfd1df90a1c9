import { type Call, timeLeft } from "../../domain/call.js";
import { embeddingsUnavailable } from "../../domain/errors.js";
import { type Endpoint, EndpointError, type Failure } from "../../embeddings/endpoint.js";
import { directionOf } from "../../embeddings/vectors.js";

/** What queries mean, to be compared with what messages mean. */
export interface Meanings {
  /** Of which model the vectors of messages must be. */
  readonly model: string;
  /** As a vector of length 1; undefined for a text that means nothing. Throws EMBEDDINGS_UNAVAILABLE when the endpoint does not tell. */
  of(call: Call, text: string): Promise<Float32Array | undefined>;
}

export interface MeaningsOptions {
  readonly endpoint: Endpoint;
  readonly model: string;
  /** How much of a text is embedded. */
  readonly maxCharacters: number;
  readonly onFailure: (failure: Failure) => void;
}

/** How long a search waits at most for what it means, and which part of the time that its caller gives it. */
const ANSWER_MS = 2_000;
const SHARE = 1 / 2;

/** An endpoint that has not answered for so long is slow; before that, it is the caller who was short of time. */
const LONG_MS = 1_000;

/** An endpoint that has failed is left alone for so long, and longer each time: nobody is to wait for it again and again. */
const FIRST_REST_MS = 1_000;
const LONGEST_REST_MS = 30_000;

/** People ask the same again, for another page or another limit. */
const KEPT = 256;

export function createMeanings({ endpoint, model, maxCharacters, onFailure }: MeaningsOptions): Meanings {
  /** The one used last comes last, as maps give their keys in the order in which they were put in. */
  const known = new Map<string, Float32Array | undefined>();
  let restUntil = 0;
  let failures = 0;

  const ask = async (call: Call, text: string): Promise<Float32Array | undefined> => {
    const restMs = restUntil - performance.now();
    if (restMs > 0) throw embeddingsUnavailable(undefined, restMs);
    const withinMs = Math.max(1, Math.min(ANSWER_MS, timeLeft(call) * SHARE));
    try {
      const [vector] = await endpoint.embed([text], { withinMs, signal: call.signal });
      failures = 0;
      return vector && directionOf(vector);
    } catch (error) {
      if (!(error instanceof EndpointError)) throw error;
      onFailure(error.failure);
      // A text that it does not take says nothing of the next one, nor does a caller who had no time to wait for it.
      const isTelling = error.failure === "slow" ? withinMs >= LONG_MS : error.failure !== "refused";
      if (isTelling) {
        const pause = Math.min(FIRST_REST_MS * 2 ** failures, LONGEST_REST_MS);
        failures += 1;
        restUntil = performance.now() + Math.max(pause, Math.min(error.retryAfterMs ?? 0, LONGEST_REST_MS));
      }
      throw embeddingsUnavailable(error, Math.max(FIRST_REST_MS, restUntil - performance.now()));
    }
  };

  return {
    model,
    async of(call, text) {
      const asked = Array.from(text.slice(0, 2 * maxCharacters))
        .slice(0, maxCharacters)
        .join("");
      // Each project its own: how quick an answer is must not tell what others have asked.
      const key = `${call.project}/${asked}`;
      const meaning = known.has(key) ? known.get(key) : await ask(call, asked);
      known.delete(key);
      known.set(key, meaning);
      const [oldest] = known.keys();
      if (known.size > KEPT && oldest !== undefined) known.delete(oldest);
      return meaning;
    },
  };
}
