/** What of a stored message or summary says how many tokens it has; texts are their UTF-8. */
export interface Counted {
  readonly tokenCount: number;
  readonly content: Uint8Array;
  readonly payload?: Uint8Array;
  readonly payloadType?: Uint8Array;
}

/** As many as its caller has counted, or else as many as its text is likely to have. Callers read this rule at `GetMemory`. */
export function tokensOf({ tokenCount, content, payload, payloadType }: Counted): number {
  if (tokenCount > 0) return tokenCount;
  const bytes = content.length + (payload && payloadType && isText(payloadType) ? payload.length : 0);
  return Math.ceil(bytes / BYTES_PER_TOKEN);
}

/** What tokens of most models have in most texts. */
const BYTES_PER_TOKEN = 4;

/** A media type is ASCII, and its parameters follow a semicolon. */
const TEXT_TYPE = /^\s*(text\/|application\/json\s*(;|$)|[^;]*\+json\s*(;|$))/i;

const isText = (mediaType: Uint8Array): boolean => TEXT_TYPE.test(Buffer.from(mediaType).toString("latin1"));
