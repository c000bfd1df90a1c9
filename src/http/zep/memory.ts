import { AddMemoryRequest, GetMemoryRequest, GetMemoryResponse } from "../../../gen/sessions/v1/memory_service.js";
import type { Session } from "../../../gen/sessions/v1/resources.js";
import { invalidFields } from "../../domain/errors.js";
import { MAX_MEMORY_BYTES } from "../../domain/limits.js";
import type { MemoryService } from "../../services/memory/memory.js";
import type { SessionService } from "../../services/session/session.js";
import { type Fields, fieldsOf, readBody } from "./body.js";
import { roleTypeOf, toZepMessage, toZepSummary } from "./objects.js";
import { integers } from "./query.js";
import { decoded, json, OK, type Route } from "./route.js";
import { canonicalUuid } from "./uuids.js";

/** How many messages the legacy server returns at most when it is not told. */
const MEMORY_WINDOW = 12;

export function memoryRoutes(memory: MemoryService, sessions: SessionService): Route[] {
  return [
    {
      method: "GET",
      url: "/sessions/:id/memory",
      path: "/zep.v1/GetMemory",
      async run({ ids, query }, call) {
        const { lastn } = integers(query, "lastn");
        if (lastn < 0) throw invalidFields([{ field: "lastn", description: `${lastn} is negative: send 0 or more.` }]);
        const request = GetMemoryRequest.fromPartial({ sessionId: ids.id, lastN: lastn, maxBytes: MAX_MEMORY_BYTES });
        const { messages, summary, session } = decoded(GetMemoryResponse, await memory.getMemory(request, call));
        const shown = lastn === 0 ? messages.slice(-MEMORY_WINDOW) : messages;
        return json({
          messages: shown.map(toZepMessage),
          summary: summary ? toZepSummary(session as Session, summary) : null,
        });
      },
    },
    {
      method: "POST",
      url: "/sessions/:id/memory",
      path: "/zep.v1/AddMemory",
      async run({ ids, body }, call) {
        const fields = fieldsOf(readBody(body));
        const messages = fields.list("messages").map(newMessage);
        fields.done();
        await memory.addMemory(AddMemoryRequest.fromPartial({ sessionId: ids.id, messages }), call);
        return OK;
      },
    },
    {
      method: "DELETE",
      url: "/sessions/:id/memory",
      path: "/zep.v1/DeleteMemory",
      async run({ ids }, call) {
        await sessions.deleteSession({ sessionId: ids.id, allowMissing: false, etag: "" }, call);
        return OK;
      },
    },
  ];
}

/** Its `created_at` counts for nothing, as on the legacy server: a message that is shown to be added again is a new one. */
function newMessage(fields: Fields) {
  const role = fields.text("role") ?? "";
  const given = fields.text("uuid");
  const messageId = given === undefined ? undefined : canonicalUuid(given);
  if (given !== undefined && messageId === undefined) fields.fail("uuid", "Not a UUID: leave it out to get one.");
  return {
    messageId,
    role,
    roleType: roleTypeOf(role),
    content: fields.text("content") ?? "",
    metadata: fields.object("metadata"),
    tokenCount: fields.integer("token_count") ?? 0,
  };
}
