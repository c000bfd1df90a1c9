import type { UpdateMessageRequest } from "../../../gen/sessions/v1/memory_service.js";
import { MetadataMode } from "../../../gen/sessions/v1/resources.js";
import type { MessageUpdate } from "../../domain/memory.js";
import type { Cost } from "../../store/changes/group-commit.js";
import { createChecks } from "../checks.js";
import { metadataUpdate, storedMetadata } from "../convert.js";
import { utf8Bytes } from "../listing.js";

/** What UpdateMessage is asked to do, between its request and the change. */

export function checkUpdateMessage(request: UpdateMessageRequest): void {
  const checks = createChecks();
  checks.id("session_id", request.sessionId);
  checks.id("message_id", request.messageId);
  checks.metadata("metadata", request.metadata);
  checks.oneOf("metadata_mode", request.metadataMode, MetadataMode);
  checks.count("token_count", request.tokenCount);
  if (request.content !== undefined) checks.content("content", request.content);
  if (request.payload !== undefined) checks.payload("payload", request.payload);
  checks.text("payload_type", request.payloadType);
  checks.etag("etag", request.etag);
  checks.done();
}

export function toMessageUpdate(request: UpdateMessageRequest): MessageUpdate {
  const { metadata, metadataMode, tokenCount, content, payload, payloadType, etag } = request;
  const apply = metadataUpdate(metadata, metadataMode);
  return {
    etag,
    metadata: apply && ((current) => storedMetadata(apply(current))),
    tokenCount,
    content,
    payload,
    payloadType,
  };
}

export function costOfUpdate({ content, payload }: UpdateMessageRequest): Cost {
  return { messages: 1, bytes: utf8Bytes(content) + (payload?.length ?? 0) };
}
