import { type Endpoint, EndpointError } from "./endpoint.js";

/** So much of a message is embedded: more than small models look at, and less than large ones refuse. In code points. */
export const MAX_CHARACTERS = 8_000;

/** What of a message is embedded; undefined when it says nothing. */
export function textOf(role: string, content: string): string | undefined {
  if (content.trim() === "") return undefined;
  return role === "" ? content : `${role}: ${content}`;
}

/** Of a model that is another, or is given something else to read, the vectors cannot be compared. */
export const modelKey = ({ model, dimensions }: { model: string; dimensions: number }): string =>
  `${model} ${dimensions} 1`;

const MAX_TEXTS = 64;
const MAX_BYTES = 256 * 1024;
/** The numbers of an answer, so that reading it keeps nobody waiting for more than some milliseconds. */
const MAX_NUMBERS = 32_768;

/** Texts in such batches as an endpoint takes at a time, as ranges of their places. */
export function batchesOf(texts: readonly string[], dimensions: number): { from: number; to: number }[] {
  const most = Math.min(MAX_TEXTS, Math.max(1, Math.floor(MAX_NUMBERS / dimensions)));
  const batches: { from: number; to: number }[] = [];
  let bytes = 0;
  for (const [place, text] of texts.entries()) {
    const last = batches.at(-1);
    const size = Buffer.byteLength(text);
    if (last && place - last.from < most && bytes + size <= MAX_BYTES) {
      last.to = place + 1;
      bytes += size;
    } else {
      batches.push({ from: place, to: place + 1 });
      bytes = size;
    }
  }
  return batches;
}

/** What any endpoint takes that takes anything. */
const PROBE = "Hello.";
const SHORT = 500;

/**
 * The vectors of texts. An endpoint that refuses some of them is asked for each alone, and then for its beginning only: what it still
 * refuses has none, if there is anything at all that it does not refuse.
 */
export async function embedAll(
  endpoint: Endpoint,
  texts: readonly string[],
  options: { withinMs: number; signal: AbortSignal },
): Promise<(Float32Array | undefined)[]> {
  try {
    return await endpoint.embed(texts, options);
  } catch (error) {
    if (!(error instanceof EndpointError && error.failure === "refused")) throw error;
  }
  const [text = ""] = texts;
  if (texts.length > 1) {
    const half = texts.length >> 1;
    const first = await embedAll(endpoint, texts.slice(0, half), options);
    return [...first, ...(await embedAll(endpoint, texts.slice(half), options))];
  }
  if (text.length > SHORT) return embedAll(endpoint, [Array.from(text.slice(0, SHORT)).slice(0, -1).join("")], options);
  await endpoint.embed([PROBE], options);
  return [undefined];
}
