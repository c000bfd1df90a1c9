import {
  status as codes,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
} from "@grpc/grpc-js";
import { deadlineExceeded, invalidFields, unimplemented } from "../domain/errors.js";
import { MAX_REQUEST_BYTES } from "../domain/limits.js";
import type { CompressedResponses } from "./compressed-responses.js";
import { refuseFalseCompression } from "./false-compression.js";
import { returnRequestId } from "./request-ids.js";
import { DETAILS_KEY, toStatus } from "./status.js";

/**
 * What grpc-js does by itself, as it is done here. It never passes through an interceptor's responder, so the call's own methods are
 * wrapped. Comes before all other interceptors.
 */
export function ownWays(responses?: CompressedResponses): ServerInterceptor {
  return ({ path }, call) => {
    refuseFalseCompression(call);
    responses?.prepare(call);
    const listener = returnRequestId(call);
    completeStatuses(call, path);
    return new ServerInterceptingCall(call, { start: (next) => next(listener) });
  };
}

/**
 * Gives the statuses that grpc-js makes the details that all others have: a deadline that passed, a request over the size limit or not
 * decodable.
 */
function completeStatuses(call: ServerInterceptingCallInterface, path: string): void {
  const sendStatus = call.sendStatus.bind(call);
  call.sendStatus = (status) => sendStatus(status.metadata?.get(DETAILS_KEY).length ? status : completed(status, path));
}

type SentStatus = Parameters<ServerInterceptingCallInterface["sendStatus"]>[0];

function completed(status: SentStatus, path: string): SentStatus {
  switch (status.code) {
    case codes.DEADLINE_EXCEEDED:
      return toStatus(deadlineExceeded(), "");
    case codes.RESOURCE_EXHAUSTED:
      return toStatus(badRequest(`Larger than ${MAX_REQUEST_BYTES} bytes: send less at a time.`), "");
    case codes.INTERNAL:
      return toStatus(badRequest(`${status.details}.`), "");
    case codes.UNIMPLEMENTED:
      return toStatus(unimplemented(`${status.details}.`, { method: path.slice(1) }), "");
    default:
      return status;
  }
}

const badRequest = (description: string) => invalidFields([{ field: "request", description }]);
