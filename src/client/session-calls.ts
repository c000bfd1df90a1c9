import * as wire from "../../gen/sessions/v1/session_service.js";
import type { SessionCalls } from "./api.js";
import { toSession } from "./convert.js";
import { listingCall } from "./listing-call.js";
import type { Transport } from "./transport.js";
import { watchCall } from "./watching.js";
import { wireExpiry, wireMode, wireOrder, wireTime } from "./wire.js";

export function sessionCalls(transport: Transport): SessionCalls {
  const { unary } = transport;
  return {
    async createSession({ expireTime, idleTtlMs, ...rest }, options) {
      const expiry = wireExpiry({ expireTime, idleTtlMs });
      const request = wire.CreateSessionRequest.fromPartial({ ...rest, expiry });
      const { session } = await unary("createSession", request, options);
      return toSession(session);
    },
    async getSession(request, options) {
      const { session } = await unary("getSession", wire.GetSessionRequest.fromPartial(request), options);
      return toSession(session);
    },
    async batchGetSessions(request, options) {
      const { sessions, ...rest } = await unary(
        "batchGetSessions",
        wire.BatchGetSessionsRequest.fromPartial({ sessionIds: [...request.sessionIds] }),
        options,
      );
      return { sessions: sessions.map(toSession), ...rest };
    },
    async updateSession({ metadataMode, userId, expireTime, idleTtlMs, ...rest }, options) {
      const request = wire.UpdateSessionRequest.fromPartial({
        ...rest,
        expiry: wireExpiry({ expireTime, idleTtlMs }),
        metadataMode: wireMode(metadataMode),
        userId: userId === null ? "" : userId,
      });
      const { session } = await unary("updateSession", request, options);
      return toSession(session);
    },
    async deleteSession(request, options) {
      const { session } = await unary("deleteSession", wire.DeleteSessionRequest.fromPartial(request), options);
      return session && toSession(session);
    },
    async undeleteSession(request, options) {
      const { session } = await unary("undeleteSession", wire.UndeleteSessionRequest.fromPartial(request), options);
      return toSession(session);
    },
    async purgeSession(request, options) {
      return unary("purgeSession", wire.PurgeSessionRequest.fromPartial(request), options);
    },
    async forkSession({ userId, ...rest }, options) {
      const request = wire.ForkSessionRequest.fromPartial({ ...rest, userId: userId === null ? "" : userId });
      const { session } = await unary("forkSession", request, options);
      return toSession(session);
    },
    listSessions(request = {}, options) {
      return listingCall(transport, {
        name: "listSessions",
        from: request,
        options,
        request: () =>
          wire.ListSessionsRequest.fromPartial({
            ...request,
            createdAfter: wireTime("created_after", request.createdAfter),
            createdBefore: wireTime("created_before", request.createdBefore),
            lastMessageAfter: wireTime("last_message_after", request.lastMessageAfter),
            lastMessageBefore: wireTime("last_message_before", request.lastMessageBefore),
            order: wireOrder(request.order),
          }),
        itemsOf: ({ sessions }) => sessions.map(toSession),
      });
    },
    watchSessions(request = {}, options) {
      return { [Symbol.asyncIterator]: () => watchCall(transport, request, options) };
    },
  };
}
