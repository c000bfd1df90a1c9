import type { NewMessage } from "../../client/index.js";

/** What one call takes: the service takes 1000 messages and 8 MiB, of which the session's metadata needs some as well. */
const MAX_MESSAGES = 1000;
const MAX_BYTES = 4 * 1024 * 1024;

/**
 * The messages in the calls that add them, in order; at least one, which creates the session. The same messages are
 * always split alike, for a second import has to repeat the first one's calls.
 */
export function inBatches(
  messages: readonly NewMessage[],
  { maxMessages = MAX_MESSAGES, maxBytes = MAX_BYTES } = {},
): NewMessage[][] {
  let batch: NewMessage[] = [];
  let bytes = 0;
  const batches = [batch];
  for (const message of messages) {
    const size = sizeOf(message);
    if (batch.length === maxMessages || (batch.length > 0 && bytes + size > maxBytes)) {
      batch = [];
      batches.push(batch);
      bytes = 0;
    }
    batch.push(message);
    bytes += size;
  }
  return batches;
}

/** Never less than the message has on the wire: there a number of one digit has 9 bytes, and with its frame some more. */
function sizeOf({ messageId = "", role = "", content = "", payload, metadata }: NewMessage): number {
  const text = Buffer.byteLength(messageId) + Buffer.byteLength(role) + Buffer.byteLength(content);
  const json = metadata ? Buffer.byteLength(JSON.stringify(metadata)) : 0;
  return text + (payload?.length ?? 0) + json * 8 + 512;
}
