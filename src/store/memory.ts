import type { Call } from "../domain/call.js";
import { memoryTooLarge } from "../domain/errors.js";
import { idOf } from "../domain/keys.js";
import { MAX_MEMORY_BYTES } from "../domain/limits.js";
import type { MessageRecord, SessionRecord } from "../domain/records.js";
import { bounded, type Database } from "./database.js";
import { translated } from "./driver-errors.js";
import { LIVE } from "./messages.js";
import { isVisible } from "./sessions.js";

/** Reads of a session together with the newest part of its memory, as both were at one moment. */
export interface MemoryReader {
  /**
   * The live session with its newest messages, newest first, as far back as `window` says. Throws RESPONSE_TOO_LARGE when
   * they are too much for one answer.
   */
  read(call: Call, key: string, window: (session: SessionRecord) => MemoryWindow): Promise<Memory | undefined>;
}

export interface MemoryWindow {
  readonly afterSequence: number;
  readonly limit: number;
}

export interface Memory {
  readonly session: SessionRecord;
  readonly messages: MessageRecord[];
}

export function createMemoryReader({ client, sessions, messages }: Database): MemoryReader {
  return {
    read: (call, key, window) =>
      // A snapshot: between two plain reads the session could be deleted and a part of its messages erased, in any order.
      // The read concern is named because the client's own would take precedence over the snapshot's.
      translated(() =>
        client.withSession({ snapshot: true }, async (snapshot) => {
          const atThatMoment = { session: snapshot, readConcern: { level: "snapshot" as const } };
          const session = await sessions.findOne({ _id: key }, { ...atThatMoment, ...bounded(call) });
          if (session === null || !isVisible(session)) return undefined;

          const { afterSequence, limit } = window(session);
          const cursor = messages.find(
            { session: key, epoch: session.epoch, sequence: { $gt: afterSequence }, ...LIVE },
            { sort: { sequence: -1 }, limit, batchSize: limit, ...atThatMoment, ...bounded(call) },
          );
          const newest: MessageRecord[] = [];
          let bytes = 0;
          // Batch by batch: a step of the cursor for each message would cost more than the message.
          while (await cursor.hasNext()) {
            const batch = cursor.readBufferedDocuments();
            for (const { content, payload, metadata } of batch) {
              bytes += Buffer.byteLength(content) + (payload?.length ?? 0) + (metadata?.length ?? 0);
            }
            if (bytes > MAX_MEMORY_BYTES) throw memoryTooLarge(idOf(key), limit);
            newest.push(...batch);
          }
          return { session, messages: newest };
        }),
      ),
  };
}
