import * as wire from "../../gen/sessions/v1/session_service.js";
import { toMessage, toSession } from "./convert.js";
import type { SessionsClientError } from "./error.js";
import type { WatchSessionsRequest } from "./requests.js";
import type { WatchEvent, WatchEventType } from "./resources.js";
import type { CallOptions } from "./scope.js";
import type { Transport } from "./transport.js";
import { dateOf } from "./wire.js";

/**
 * Goes on behind the last event after a lost connection, a restart of the service, or when it did not keep up. Once it watches it tries as
 * long as it takes; until then only as often as any call. Nothing is sent before it is iterated.
 */
export async function* watchCall(
  transport: Transport,
  request: WatchSessionsRequest,
  options: CallOptions | undefined,
): AsyncGenerator<WatchEvent, void> {
  const { retries, attempt } = transport.stream(options);
  let { resumeToken = "" } = request;
  let watches = false;
  for (;;) {
    try {
      for await (const response of attempt(
        "watchSessions",
        wire.WatchSessionsRequest.fromPartial({ ...request, resumeToken }),
      )) {
        retries.reset();
        watches = true;
        resumeToken = response.resumeToken;
        yield toEvent(response);
      }
    } catch (error) {
      await retries.pauseAfter(error as SessionsClientError, watches);
    }
  }
}

function toEvent(response: wire.WatchSessionsResponse): WatchEvent {
  const { eventType, sessionId, session, messages, messageIds, resumeToken, eventTime } = response;
  return {
    type: TYPES.get(eventType),
    sessionId: sessionId === "" ? undefined : sessionId,
    session: session && toSession(session),
    messages: messages.map(toMessage),
    messageIds,
    resumeToken,
    eventTime: eventTime && dateOf(eventTime),
  };
}

const { EventType } = wire;

const TYPES: ReadonlyMap<wire.EventType, WatchEventType> = new Map([
  [EventType.EVENT_TYPE_WATCHING, "watching"],
  [EventType.EVENT_TYPE_SESSION_CREATED, "sessionCreated"],
  [EventType.EVENT_TYPE_SESSION_UPDATED, "sessionUpdated"],
  [EventType.EVENT_TYPE_SESSION_DELETED, "sessionDeleted"],
  [EventType.EVENT_TYPE_SESSION_UNDELETED, "sessionUndeleted"],
  [EventType.EVENT_TYPE_SESSION_PURGED, "sessionPurged"],
  [EventType.EVENT_TYPE_MESSAGES_ADDED, "messagesAdded"],
  [EventType.EVENT_TYPE_MESSAGE_UPDATED, "messageUpdated"],
  [EventType.EVENT_TYPE_MESSAGE_DELETED, "messageDeleted"],
  [EventType.EVENT_TYPE_MEMORY_CLEARED, "memoryCleared"],
  [EventType.EVENT_TYPE_SUMMARY_SET, "summarySet"],
]);
