import {
  status as codes,
  ServerInterceptingCall,
  type ServerInterceptingCallInterface,
  type ServerInterceptor,
} from "@grpc/grpc-js";
import { deadlineExceeded, invalidFields } from "../domain/errors.js";
import { MAX_REQUEST_BYTES } from "../domain/limits.js";
import { DETAILS_KEY, toStatus } from "./status.js";

/**
 * Gives the statuses that grpc-js makes by itself the details that all others have: a deadline that passed, a request over
 * the size limit or not decodable. Those never pass through an interceptor's responder, so the call's own method is wrapped.
 */
export const ownStatuses: ServerInterceptor = (_method, call) => {
  const sendStatus = call.sendStatus.bind(call);
  call.sendStatus = (status) => sendStatus(status.metadata?.get(DETAILS_KEY).length ? status : completed(status));
  return new ServerInterceptingCall(call);
};

type SentStatus = Parameters<ServerInterceptingCallInterface["sendStatus"]>[0];

function completed(status: SentStatus): SentStatus {
  switch (status.code) {
    case codes.DEADLINE_EXCEEDED:
      return toStatus(deadlineExceeded(), "");
    case codes.RESOURCE_EXHAUSTED:
      return toStatus(badRequest(`Larger than ${MAX_REQUEST_BYTES} bytes: send less at a time.`), "");
    case codes.INTERNAL:
      return toStatus(badRequest(`${status.details}.`), "");
    default:
      return status;
  }
}

const badRequest = (description: string) => invalidFields([{ field: "request", description }]);
