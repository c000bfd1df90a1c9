import { setTimeout as sleep } from "node:timers/promises";
import { type ClientReadableStream, Metadata, type ServiceError } from "@grpc/grpc-js";
import { ListMessagesRequest, MemoryServiceService } from "../../../gen/sessions/v1/memory_service.js";
import { ListSessionsRequest, SessionServiceService } from "../../../gen/sessions/v1/session_service.js";
import { type Api, decodeFailure } from "../../support/api.js";
import type { Tally } from "./attempts.js";

/** A listing that is read slowly, so that a fault finds it under way, and resumed from its last cursor when it breaks. */
export interface SlowListing {
  /** Resolves when the first chunk has been read. */
  readonly underWay: Promise<void>;
  /** All ids, in the order in which they came, and how often the stream broke. */
  readonly done: Promise<{ ids: string[]; breaks: number }>;
}

interface Chunk {
  readonly ids: string[];
  readonly nextCursor: string;
}

const MESSAGES_A_CHUNK = 50;
const SESSIONS_A_CHUNK = 10;
const PAUSE_MS = 100;

export function listMessagesSlowly(tally: Tally, anyService: () => Promise<Api>, sessionId: string): SlowListing {
  const { path, requestSerialize, responseDeserialize } = MemoryServiceService.listMessages;
  return readSlowly(tally, anyService, (api, cursor) =>
    chunksOf(
      api.client.makeServerStreamRequest(
        path,
        requestSerialize,
        responseDeserialize,
        ListMessagesRequest.fromPartial({ sessionId, cursor, chunkSize: MESSAGES_A_CHUNK }),
        new Metadata(),
      ),
      ({ messages, nextCursor }) => ({ ids: messages.map(({ messageId }) => messageId), nextCursor }),
    ),
  );
}

export function listSessionsSlowly(tally: Tally, anyService: () => Promise<Api>): SlowListing {
  const { path, requestSerialize, responseDeserialize } = SessionServiceService.listSessions;
  return readSlowly(tally, anyService, (api, cursor) =>
    chunksOf(
      api.client.makeServerStreamRequest(
        path,
        requestSerialize,
        responseDeserialize,
        ListSessionsRequest.fromPartial({ cursor, chunkSize: SESSIONS_A_CHUNK }),
        new Metadata(),
      ),
      ({ sessions, nextCursor }) => ({ ids: sessions.map(({ sessionId }) => sessionId), nextCursor }),
    ),
  );
}

function readSlowly(
  tally: Tally,
  anyService: () => Promise<Api>,
  open: (api: Api, cursor: string) => AsyncIterable<Chunk>,
): SlowListing {
  let tellUnderWay = (): void => {};
  const underWay = new Promise<void>((resolve) => {
    tellUnderWay = resolve;
  });
  const read = async (): Promise<{ ids: string[]; breaks: number }> => {
    const ids: string[] = [];
    for (let cursor = "", breaks = 0; ; breaks++) {
      tally.tried += 1;
      try {
        for await (const chunk of open(await anyService(), cursor)) {
          ids.push(...chunk.ids);
          cursor = chunk.nextCursor;
          tellUnderWay();
          await sleep(PAUSE_MS);
        }
        tally.acknowledged += 1;
        if (cursor !== "") tally.violations.push("a listing ended in order, but before its last chunk");
        return { ids, breaks };
      } catch (error) {
        const { code, reason, retryDelayMs } = decodeFailure(error as ServiceError);
        if (code !== "UNAVAILABLE" || reason !== "STORAGE_UNAVAILABLE" || retryDelayMs === undefined) {
          tally.violations.push(`a listing ended with ${code} ${reason}, which does not say to resume`);
        }
        tally.unknown += 1;
        await sleep(PAUSE_MS);
      }
    }
  };
  return { underWay, done: read() };
}

async function* chunksOf<R>(stream: ClientReadableStream<R>, toChunk: (response: R) => Chunk): AsyncGenerator<Chunk> {
  for await (const response of stream) yield toChunk(response as R);
}
