import { randomUUID } from "node:crypto";
import * as wire from "../../gen/sessions/v1/memory_service.js";
import { MAX_MEMORY_BYTES } from "../domain/limits.js";
import type { MemoryCalls } from "./api.js";
import { requiredDate, toMessage, toSession, toSummary } from "./convert.js";
import { listingCall } from "./listing-call.js";
import type { NewMessage } from "./requests.js";
import type { Transport } from "./transport.js";
import { searchModeOf, wireExpiry, wireMode, wireRoleType, wireSearchMode, wireTime, wireWindowStart } from "./wire.js";

export function memoryCalls(transport: Transport): MemoryCalls {
  const { unary } = transport;
  return {
    async addMemory({ messages = [], metadataMode, expireTime, idleTtlMs, ...rest }, options) {
      const request = wire.AddMemoryRequest.fromPartial({
        ...rest,
        messages: messages.map(toWire),
        metadataMode: wireMode(metadataMode),
        expiry: wireExpiry({ expireTime, idleTtlMs }),
      });
      const response = await unary("addMemory", request, options);
      return {
        ...response,
        messages: response.messages.map(({ createTime, ...message }) => ({
          ...message,
          createTime: requiredDate(createTime),
        })),
      };
    },
    async getMemory({ maxBytes, windowStart, ...rest }, options) {
      const request = wire.GetMemoryRequest.fromPartial({
        ...rest,
        maxBytes: maxBytes || MAX_MEMORY_BYTES,
        windowStart: wireWindowStart(windowStart),
      });
      const response = await unary("getMemory", request, options);
      return {
        messages: response.messages.map(toMessage),
        summary: response.summary && toSummary(response.summary),
        session: response.session && toSession(response.session),
        truncated: response.truncated,
        tokenCount: response.tokenCount,
      };
    },
    listMessages(request, options) {
      return listingCall(transport, {
        name: "listMessages",
        from: request,
        options,
        request: () => wire.ListMessagesRequest.fromPartial(request),
        itemsOf: ({ messages }) => messages.map(toMessage),
      });
    },
    async getMessage(request, options) {
      const { message } = await unary("getMessage", wire.GetMessageRequest.fromPartial(request), options);
      return toMessage(message);
    },
    async updateMessage({ metadataMode, ...rest }, options) {
      const request = wire.UpdateMessageRequest.fromPartial({ ...rest, metadataMode: wireMode(metadataMode) });
      const { message } = await unary("updateMessage", request, options);
      return toMessage(message);
    },
    async deleteMessage(request, options) {
      const { message } = await unary("deleteMessage", wire.DeleteMessageRequest.fromPartial(request), options);
      return toMessage(message);
    },
    async rewindMemory(request, options) {
      const response = await unary("rewindMemory", wire.RewindMemoryRequest.fromPartial(request), options);
      return { ...response, messages: response.messages.map(toMessage), session: toSession(response.session) };
    },
    async clearMemory(request, options) {
      const { session } = await unary("clearMemory", wire.ClearMemoryRequest.fromPartial(request), options);
      return toSession(session);
    },
    async setSummary(request, options) {
      const { summary } = await unary("setSummary", wire.SetSummaryRequest.fromPartial(request), options);
      return toSummary(summary);
    },
    async searchMemory({ roleTypes = [], createdAfter, createdBefore, mode, ...rest }, options) {
      const request = wire.SearchMemoryRequest.fromPartial({
        ...rest,
        roleTypes: roleTypes.flatMap((roleType, index) => wireRoleType(roleType, `role_types[${index}]`) ?? []),
        createdAfter: wireTime("created_after", createdAfter),
        createdBefore: wireTime("created_before", createdBefore),
        mode: wireSearchMode(mode),
      });
      const response = await unary("searchMemory", request, options);
      return {
        results: response.results.map(({ message, score, before, after }) => ({
          message: toMessage(message),
          score,
          before: before.map(toMessage),
          after: after.map(toMessage),
        })),
        mode: searchModeOf(response.mode),
        unembeddedMessages: response.unembeddedMessages,
      };
    },
  };
}

/** Every message gets an id on this side, before the first try: it is what a repetition is known by. */
function toWire({ messageId = randomUUID(), roleType, createTime, ...rest }: NewMessage, index: number) {
  return {
    ...rest,
    messageId,
    roleType: wireRoleType(roleType, `messages[${index}].role_type`),
    createTime: wireTime(`messages[${index}].create_time`, createTime),
  };
}
