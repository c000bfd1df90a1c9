import { randomUUID } from "node:crypto";
import type * as api from "../../../gen/sessions/v1/memory_service.js";
import { MetadataMode, RoleType } from "../../../gen/sessions/v1/resources.js";
import type { NewMessage } from "../../domain/append.js";
import { MAX_CLOCK_LEAD_MS, MAX_MESSAGES_PER_CALL } from "../../domain/limits.js";
import { derivedId } from "../../domain/new-id.js";
import type { Cost } from "../../store/changes/group-commit.js";
import { type Checks, createChecks, millisecondsOf } from "../checks.js";
import { storedMetadata } from "../convert.js";
import { utf8Bytes } from "../listing.js";
import { checkExpiry } from "../session/expiry.js";

/** What an AddMemory sends: checked, and as the messages that are to be stored. */

export function checkAddMemory(request: api.AddMemoryRequest, now: Date): void {
  const checks = createChecks();
  checks.id("session_id", request.sessionId);
  checks.optionalId("user_id", request.userId);
  checks.metadata("session_metadata", request.sessionMetadata);
  checks.metadata("merge_session_metadata", request.mergeSessionMetadata);
  checks.oneOf("metadata_mode", request.metadataMode, MetadataMode);
  checks.count("expected_last_sequence", request.expectedLastSequence);
  // Whether the moment has passed matters only when the session is created, see `born`.
  checkExpiry(checks, request.expiry);
  checks.size("messages", request.messages.length, { min: 0, max: MAX_MESSAGES_PER_CALL });
  const latest = new Date(now.getTime() + MAX_CLOCK_LEAD_MS);
  const seen = new Set<string>();
  for (const [index, message] of request.messages.slice(0, MAX_MESSAGES_PER_CALL).entries()) {
    checkMessage(checks, `messages[${index}]`, message, latest);
    if (message.messageId === undefined) continue;
    if (seen.has(message.messageId)) {
      checks.fail(`messages[${index}].message_id`, "Comes twice in this call: give each message an id of its own.");
    }
    seen.add(message.messageId);
  }
  checks.done();
}

function checkMessage(checks: Checks, path: string, message: api.NewMessage, latest: Date): void {
  checks.optionalId(`${path}.message_id`, message.messageId);
  checks.text(`${path}.role`, message.role);
  checks.oneOf(`${path}.role_type`, message.roleType, RoleType);
  checks.content(`${path}.content`, message.content);
  checks.payload(`${path}.payload`, message.payload);
  checks.text(`${path}.payload_type`, message.payloadType);
  checks.metadata(`${path}.metadata`, message.metadata);
  checks.count(`${path}.token_count`, message.tokenCount);
  checks.time(`${path}.create_time`, message.createTime, latest);
  checks.optionalId(`${path}.group_id`, message.groupId);
}

/**
 * Messages without an id get a random one, or, when another message of the call has one, an id that follows from it: so the
 * whole call is known again when it is repeated.
 */
export function toNewMessages(messages: readonly api.NewMessage[]): NewMessage[] {
  const known = messages.find(({ messageId }) => messageId !== undefined)?.messageId;
  return messages.map((message, index) =>
    toNewMessage(message, known === undefined ? randomUUID() : derivedId(known, index)),
  );
}

function toNewMessage(message: api.NewMessage, ownId: string): NewMessage {
  return {
    messageId: message.messageId ?? ownId,
    role: message.role,
    roleType: message.roleType,
    content: message.content,
    payload: message.payload.length > 0 ? message.payload : undefined,
    payloadType: message.payloadType || undefined,
    metadata: storedMetadata(message.metadata),
    tokenCount: message.tokenCount,
    createTime: message.createTime && new Date(millisecondsOf(message.createTime)),
    groupId: message.groupId,
  };
}

export function costOf(messages: readonly NewMessage[]): Cost {
  return { messages: messages.length, bytes: messages.reduce((sum, message) => sum + bytesOf(message), 0) };
}

/** A message in a transaction, without its texts and bytes. */
const MESSAGE_BYTES = 200;

function bytesOf({ content, role, payloadType, payload, metadata, groupId }: NewMessage): number {
  return (
    MESSAGE_BYTES + utf8Bytes(content, role, payloadType, groupId) + (payload?.length ?? 0) + (metadata?.length ?? 0)
  );
}
