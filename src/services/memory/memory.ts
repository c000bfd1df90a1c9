import type * as api from "../../../gen/sessions/v1/memory_service.js";
import { WindowStart } from "../../../gen/sessions/v1/memory_service.js";
import { append } from "../../domain/append.js";
import type { Call } from "../../domain/call.js";
import { decodeCursor, encodeCursor, isSequencePosition } from "../../domain/cursor.js";
import type { Encoded } from "../../domain/encoded.js";
import { invalidCursor, messageNotFound, sessionNotFound } from "../../domain/errors.js";
import { keyOf } from "../../domain/keys.js";
import {
  MAX_LAST_N,
  MAX_MEMORY_BYTES,
  MAX_REWOUND_BYTES,
  MAX_REWOUND_MESSAGES,
  USUAL_RESPONSE_BYTES,
} from "../../domain/limits.js";
import { deleteMessage, setSummary, updateMessage } from "../../domain/memory.js";
import { newId } from "../../domain/new-id.js";
import type { MessageRecord } from "../../domain/records.js";
import { rewind } from "../../domain/rewind.js";
import { clearMemory } from "../../domain/session.js";
import type { WindowStart as StoredWindowStart } from "../../domain/window.js";
import type { GroupCommit } from "../../store/changes/group-commit.js";
import type { MemoryReader } from "../../store/memory.js";
import { type MessageReader, memoryOf } from "../../store/messages.js";
import type { RawDocument } from "../../store/raw.js";
import type { SessionReader } from "../../store/sessions.js";
import { createChecks } from "../checks.js";
import { storedMetadata, toMessage, toSession, toSummary, toTimestamp } from "../convert.js";
import {
  encodeGetMemory,
  encodeListMessages,
  encodeRestOfMemory,
  messageBytes,
  TRUNCATED_BYTES,
  tokenCountBytes,
} from "../encode.js";
import { inChunks } from "../listing.js";
import type { Purger } from "../purging/purger.js";
import { expiryOf } from "../session/expiry.js";
import type { MakeSession } from "../session/new-session.js";
import { sessionMetadataChange } from "../session/session-metadata.js";
import { checkUpdateMessage, costOfUpdate, toMessageUpdate } from "./message-updates.js";
import { checkAddMemory, costOf, toNewMessages } from "./new-messages.js";
import { checkedTarget } from "./rewinds.js";

export interface MemoryDeps {
  readonly changes: GroupCommit;
  readonly sessions: SessionReader;
  readonly messages: MessageReader;
  readonly memory: MemoryReader;
  readonly purger: Purger;
  readonly makeSession: MakeSession;
  readonly retentionMs: number;
  readonly memoryWindow: number;
  /** About what the database's clock says. */
  readonly now: () => Date;
}

export type MemoryService = ReturnType<typeof createMemoryService>;

export function createMemoryService(deps: MemoryDeps) {
  const { changes, sessions, messages, memory, purger, makeSession, retentionMs, memoryWindow, now } = deps;

  return {
    async addMemory(request: api.AddMemoryRequest, call: Call): Promise<api.AddMemoryResponse> {
      checkAddMemory(request, now());
      const session = makeSession(call, request.sessionId, {
        userId: request.userId,
        metadata: request.sessionMetadata,
        expiry: expiryOf(request.expiry),
      });
      const ids = request.messages.flatMap(({ messageId }) => messageId ?? []);
      const input = {
        session,
        messages: toNewMessages(request.messages),
        repeatable: ids.length > 0,
        expectedLastSequence: request.expectedLastSequence,
        metadata: sessionMetadataChange(
          call,
          "merge_session_metadata",
          request.mergeSessionMetadata,
          request.metadataMode,
        ),
      };
      const added = await changes.submit(
        call,
        {
          session: session.key,
          // Of what is known of a session its metadata is no part.
          ...(!input.metadata && { adds: true }),
          users: (found) => (found === undefined ? [session.user] : found.deleted ? [found.user] : []),
          namedUsers: [session.user],
          perhapsMessages: ids.length > 0 ? input.messages.map(({ messageId }) => messageId) : [],
          decide: (state) => append(state, input),
        },
        costOf(input.messages),
      );
      return {
        messages: added.messages.map(({ createTime, ...message }) => ({
          ...message,
          createTime: toTimestamp(createTime),
        })),
        sessionCreated: added.created,
        sessionUndeleted: added.undeleted,
      };
    },

    async getMemory(
      { sessionId, lastN, maxBytes, maxTokens, windowStart }: api.GetMemoryRequest,
      call: Call,
    ): Promise<Encoded<api.GetMemoryResponse>> {
      const checks = createChecks();
      checks.id("session_id", sessionId);
      checks.count("last_n", lastN);
      checks.count("max_bytes", maxBytes);
      checks.count("max_tokens", maxTokens);
      checks.oneOf("window_start", windowStart, WindowStart);
      checks.done();

      const found = await memory.read(call, {
        session: keyOf(call.project, sessionId),
        limit: lastN > 0 ? Math.min(lastN, MAX_LAST_N) : memoryWindow,
        afterSummary: lastN === 0,
        maxBytes: Math.min(maxBytes || USUAL_RESPONSE_BYTES, MAX_MEMORY_BYTES) - TRUNCATED_BYTES,
        maxTokens: maxTokens || Number.POSITIVE_INFINITY,
        start: WINDOW_STARTS[windowStart],
        encodeRest: encodeRestOfMemory,
        tokenBytes: tokenCountBytes,
      });
      return encodeGetMemory(found);
    },

    async *listMessages(
      request: api.ListMessagesRequest,
      call: Call,
    ): AsyncGenerator<Encoded<api.ListMessagesResponse>> {
      const { sessionId, descending } = request;
      const checks = createChecks();
      checks.id("session_id", sessionId);
      checks.count("limit", request.limit);
      checks.count("chunk_size", request.chunkSize);
      checks.done();

      const key = keyOf(call.project, sessionId);
      const identity = ["messages", key, descending];
      const from = decodeCursor(identity, request.cursor, isSequencePosition);
      const session = await sessions.get(call, key);
      if (!session) return;
      const uid = session.uid.toString();
      // Erased and created anew since: its messages are others, under sequences that begin again.
      if (from && from[1] !== uid) throw invalidCursor();

      const { lastSequence } = session;
      const current = memoryOf(session);
      const pages = {
        async read(
          position: [number, string] | undefined,
          limit: number,
        ): Promise<readonly RawDocument<MessageRecord>[]> {
          const page = await messages.page(call, current, { after: position?.[0], descending, limit, lastSequence });
          // What is retired may be erased in the midst of a page, so a page counts only while its memory still does.
          return page.length > 0 && !(await sessions.isCurrent(call, current)) ? [] : page;
        },
        positionOf: (message: RawDocument<MessageRecord>): [number, string] => [message.pick("sequence").sequence, uid],
        sizeOf: messageBytes,
      };
      for await (const { items, next } of inChunks(pages, from, request)) {
        yield encodeListMessages(items, next ? encodeCursor(identity, next) : "");
      }
    },

    async getMessage({ sessionId, messageId }: api.GetMessageRequest, call: Call): Promise<api.GetMessageResponse> {
      checkIds(sessionId, messageId);
      const session = await sessions.get(call, keyOf(call.project, sessionId));
      if (!session) throw sessionNotFound(sessionId);
      const message = await messages.get(call, memoryOf(session), messageId);
      if (!message) throw messageNotFound(sessionId, messageId);
      return { message: toMessage(message) };
    },

    async updateMessage(request: api.UpdateMessageRequest, call: Call): Promise<api.UpdateMessageResponse> {
      checkUpdateMessage(request);
      const { sessionId, messageId } = request;
      const key = keyOf(call.project, sessionId);
      const update = toMessageUpdate(request);
      const message = await changes.submit(
        call,
        { session: key, messages: [messageId], decide: (state) => updateMessage(state, key, messageId, update) },
        costOfUpdate(request),
      );
      return { message: toMessage(message) };
    },

    async deleteMessage(request: api.DeleteMessageRequest, call: Call): Promise<api.DeleteMessageResponse> {
      const { sessionId, messageId } = request;
      checkIds(sessionId, messageId);
      const key = keyOf(call.project, sessionId);
      const message = await changes.submit(call, {
        session: key,
        messages: [messageId],
        newest: true,
        decide: (state) => deleteMessage(state, key, messageId, retentionMs),
      });
      return { message: toMessage(message) };
    },

    async rewindMemory(request: api.RewindMemoryRequest, call: Call): Promise<api.RewindMemoryResponse> {
      const after = checkedTarget(request);
      const key = keyOf(call.project, request.sessionId);
      const { expectedLastSequence } = request;
      const rewound = await changes.submit(
        call,
        {
          session: key,
          messages: typeof after === "string" ? [after] : [],
          later: { than: after, atMost: MAX_REWOUND_MESSAGES, bytes: MAX_REWOUND_BYTES },
          decide: (state) => rewind(state, key, { after, expectedLastSequence, retentionMs }),
        },
        // Of how many bytes it is only its transaction finds out.
        { messages: 1, bytes: MAX_REWOUND_BYTES },
      );
      return {
        messages: rewound.messages.map(toMessage),
        session: toSession(rewound.session),
        rewoundMessages: rewound.count,
        truncated: rewound.messages.length < rewound.count,
      };
    },

    async clearMemory({ sessionId }: api.ClearMemoryRequest, call: Call): Promise<api.ClearMemoryResponse> {
      const checks = createChecks();
      checks.id("session_id", sessionId);
      checks.done();
      const key = keyOf(call.project, sessionId);
      const epoch = newId();
      const session = await changes.submit(call, {
        session: key,
        decide: (state) => clearMemory(state, key, { epoch, retentionMs }),
      });
      if (session.retired) purger.nudge(key);
      return { session: toSession(session) };
    },

    async setSummary(request: api.SetSummaryRequest, call: Call): Promise<api.SetSummaryResponse> {
      const { sessionId, content, recentMessageId, metadata, tokenCount } = request;
      const checks = createChecks();
      checks.id("session_id", sessionId);
      checks.content("content", content);
      checks.id("recent_message_id", recentMessageId);
      checks.metadata("metadata", metadata);
      checks.count("token_count", tokenCount);
      checks.done();

      const key = keyOf(call.project, sessionId);
      const summary = { content, recentMessageId, metadata: storedMetadata(metadata), tokenCount };
      const record = await changes.submit(call, {
        session: key,
        messages: [recentMessageId],
        decide: (state) => setSummary(state, key, summary),
      });
      return { summary: toSummary(record) };
    },
  };
}

const WINDOW_STARTS: Readonly<Record<WindowStart, StoredWindowStart>> = {
  [WindowStart.WINDOW_START_UNSPECIFIED]: "any",
  [WindowStart.WINDOW_START_ANY]: "any",
  [WindowStart.WINDOW_START_WHOLE_TOOL_CALLS]: "whole-tool-calls",
  [WindowStart.WINDOW_START_USER]: "user",
};

function checkIds(sessionId: string, messageId: string): void {
  const checks = createChecks();
  checks.id("session_id", sessionId);
  checks.id("message_id", messageId);
  checks.done();
}
