import {
  ListMessagesRequest,
  ListMessagesResponse,
  UpdateMessageRequest,
} from "../../../gen/sessions/v1/memory_service.js";
import { type Message, MetadataMode, type Session } from "../../../gen/sessions/v1/resources.js";
import { GetSessionResponse } from "../../../gen/sessions/v1/session_service.js";
import type { Call } from "../../domain/call.js";
import { invalidFields, SessionsError } from "../../domain/errors.js";
import type { JsonObject } from "../../domain/json.js";
import { MAX_CHUNK_SIZE } from "../../domain/limits.js";
import type { MemoryService } from "../../services/memory/memory.js";
import type { SessionService } from "../../services/session/session.js";
import { fieldsOf, readBody } from "./body.js";
import { jsonArray } from "./listing.js";
import { withoutSystem } from "./metadata.js";
import { toZepMessage } from "./objects.js";
import { lenientInteger } from "./query.js";
import { decoded, type Incoming, json, type Route } from "./route.js";
import { canonicalUuid, mayBeDerived, uuidOf } from "./uuids.js";

export function messageRoutes(memory: MemoryService, sessions: SessionService): Route[] {
  const byUuid = createByUuid(memory);
  return [
    {
      method: "GET",
      url: "/sessions/:id/messages",
      path: "/zep.v1/ListMessages",
      list: (incoming, call) => listMessages(memory, sessions, incoming, call),
    },
    {
      method: "GET",
      url: "/sessions/:id/messages/:uuid",
      path: "/zep.v1/GetMessage",
      run: ({ ids }, call) =>
        byUuid(ids, call, async (messageId) => {
          const { message } = await memory.getMessage({ sessionId: ids.id, messageId }, call);
          return json(toZepMessage(message as Message));
        }),
    },
    {
      method: "PATCH",
      url: "/sessions/:id/messages/:uuid",
      path: "/zep.v1/UpdateMessage",
      run({ ids, body }, call) {
        const metadata = withoutSystem(metadataIn(readBody(body)));
        return byUuid(ids, call, async (messageId) => {
          const { message } = await memory.updateMessage(
            UpdateMessageRequest.fromPartial({
              sessionId: ids.id,
              messageId,
              metadata,
              metadataMode: MetadataMode.METADATA_MODE_MERGE,
            }),
            call,
          );
          return json(toZepMessage(message as Message));
        });
      },
    },
  ];
}

/** The messages of a page, which are numbered from 1; of a session that is not there, none. */
async function* listMessages(
  memory: MemoryService,
  sessions: SessionService,
  { ids, query }: Incoming,
  call: Call,
): AsyncGenerator<string> {
  const limit = Math.max(lenientInteger(query, "limit"), 0);
  const skip = (Math.max(lenientInteger(query, "cursor"), 1) - 1) * limit;
  const total = await messageCount(sessions, ids.id, call);
  let rows = 0;
  const page = async function* () {
    if (total <= skip) return;
    const request = { sessionId: ids.id, limit: limit && skip + limit, chunkSize: MAX_CHUNK_SIZE };
    let left = skip;
    for await (const chunk of memory.listMessages(ListMessagesRequest.fromPartial(request), call)) {
      const { messages } = decoded(ListMessagesResponse, chunk);
      const items = messages.slice(left);
      left = Math.max(left - messages.length, 0);
      rows += items.length;
      if (items.length > 0) yield items;
    }
  };
  yield '{"messages":';
  for await (const piece of jsonArray(page(), toZepMessage)) yield piece.trimEnd();
  yield `,"total_count":${Math.max(total, rows && skip + rows)},"row_count":${rows}}\n`;
}

async function messageCount(sessions: SessionService, sessionId: string, call: Call): Promise<number> {
  try {
    const answer = await sessions.getSession({ sessionId, showDeleted: false }, call);
    return (decoded(GetSessionResponse, answer).session as Session).messageCount;
  } catch (error) {
    if (error instanceof SessionsError && error.code === "NOT_FOUND") return 0;
    throw error;
  }
}

/**
 * The metadata in a body. zep-python sends what it is given as the whole body: its documentation gives it an object with the metadata in
 * it, its signature asks for the metadata itself. So a body with no field of a message is taken for metadata.
 */
function metadataIn(body: JsonObject): JsonObject | undefined {
  const fields = fieldsOf(body);
  if (!MESSAGE_FIELDS.some(fields.has)) return body;
  const metadata = fields.object("metadata");
  fields.done();
  return metadata;
}

const MESSAGE_FIELDS = ["uuid", "created_at", "updated_at", "role", "content", "metadata", "token_count"];

/** Calls with the id of the message that a UUID in the path stands for. */
function createByUuid(memory: MemoryService) {
  return async <T>(
    { id: sessionId, uuid: text }: Incoming["ids"],
    call: Call,
    act: (messageId: string) => Promise<T>,
  ): Promise<T> => {
    const uuid = canonicalUuid(text);
    if (uuid === undefined) throw invalidFields([{ field: "message uuid", description: "Not a UUID." }]);
    try {
      return await act(uuid);
    } catch (error) {
      if (!(error instanceof SessionsError && error.reason === "MESSAGE_NOT_FOUND" && mayBeDerived(uuid))) throw error;
      const messageId = await derivedFrom(memory, sessionId, uuid, call);
      if (messageId === undefined) throw error;
      return act(messageId);
    }
  };
}

/** The id that is no UUID, and is shown as this one: nothing tells but the messages themselves, the newest first. */
async function derivedFrom(
  memory: MemoryService,
  sessionId: string,
  uuid: string,
  call: Call,
): Promise<string | undefined> {
  const request = ListMessagesRequest.fromPartial({ sessionId, chunkSize: MAX_CHUNK_SIZE, descending: true });
  for await (const chunk of memory.listMessages(request, call)) {
    const found = decoded(ListMessagesResponse, chunk).messages.find(({ messageId }) => uuidOf(messageId) === uuid);
    if (found) return found.messageId;
  }
  return undefined;
}
