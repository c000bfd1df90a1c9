import { createHash } from "node:crypto";
import type { Memory, Session, SessionsClient, Summary } from "../../client/index.js";
import { messageJson } from "./lines.js";
import type { Spool } from "./spool.js";

/**
 * Reads a session as it was at one moment, whatever is done to it meanwhile. What one answer holds is of one moment by itself; larger
 * memories are read twice.
 */
export interface SessionReader {
  /** Undefined when there is no such live session; "large" when its memory does not fit into one answer. */
  read(sessionId: string): Promise<Whole | "large" | undefined>;
  /**
   * The same for a large memory, whose messages go into the spool, one a line. "unsettled" when it has changed each time that it was
   * read.
   */
  readLarge(sessionId: string, spool: Spool): Promise<Large | "unsettled" | undefined>;
}

export interface Whole extends Memory {
  readonly session: Session;
}

export interface Large {
  readonly session: Session;
  readonly summary: Summary | undefined;
}

const LAST_N = 1000;
const MAX_BYTES = 4 * 1024 * 1024;

/** How often a session is read anew that changes while it is read. */
const ATTEMPTS = 5;

/** Above what one call needs, so that a restart of the service is waited for. */
const CALL_DEADLINE_MS = 60_000;

export function createSessionReader(client: SessionsClient, signal: AbortSignal): SessionReader {
  const newest = (sessionId: string): Promise<Memory> =>
    client.getMemory({ sessionId, lastN: LAST_N, maxBytes: MAX_BYTES }, { signal, deadlineMs: CALL_DEADLINE_MS });

  const listed = (sessionId: string) => client.listMessages({ sessionId, chunkSize: 1000 }, { signal });

  /** Into the spool. What was read, by the etags: none comes twice, whatever is changed back or made anew. */
  async function collect(sessionId: string, spool: Spool) {
    const hash = createHash("sha256");
    let count = 0;
    let last = 0;
    for await (const message of listed(sessionId)) {
      await spool.write(messageJson(message));
      hash.update(`${message.etag}\n`);
      count += 1;
      last = message.sequence;
    }
    return { count, last, digest: hash.digest("hex") };
  }

  async function digestUpTo(sessionId: string, last: number): Promise<string> {
    const hash = createHash("sha256");
    for await (const message of listed(sessionId)) {
      if (message.sequence > last) break;
      hash.update(`${message.etag}\n`);
    }
    return hash.digest("hex");
  }

  return {
    async read(sessionId) {
      const memory = await newest(sessionId);
      const { session } = memory;
      if (!session) return undefined;
      return memory.messages.length === session.messageCount ? { ...memory, session } : "large";
    },

    // Between two readings that found the same, it was so all the time: at the moment of the answer that comes between them, too. What was
    // added since the first one is in that answer.
    async readLarge(sessionId, spool) {
      for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
        await spool.clear();
        const first = await collect(sessionId, spool);
        const { session, summary, messages } = await newest(sessionId);
        if (!session) return undefined;
        const added = messages.filter(({ sequence }) => sequence > first.last);
        if (first.count + added.length !== session.messageCount) continue;
        if ((await digestUpTo(sessionId, first.last)) !== first.digest) continue;
        for (const message of added) await spool.write(messageJson(message));
        return { session, summary };
      }
      return "unsettled";
    },
  };
}
