import { Metadata, type ServerInterceptingCallInterface, type ServerListener } from "@grpc/grpc-js";
import { requestIdOf } from "../calls/execution.js";

const KEY = "x-request-id";

/**
 * Tells callers by which id the log has their call. Their own comes back with the headers, or, where there is nothing but a status, with
 * that: headers would keep gRPC's own retries from trying again. One that is made here comes with such a status only, for in the headers
 * of each answer it costs a tenth of a call and more, and is of no use to who has got what they asked for.
 */
export function returnRequestId(call: ServerInterceptingCallInterface): Pick<ServerListener, "onReceiveMetadata"> {
  let requestId: string | undefined;
  let isOwn = false;
  let isBegun = false;
  const sendMetadata = call.sendMetadata.bind(call);
  call.sendMetadata = (metadata) => {
    isBegun = true;
    if (isOwn && requestId !== undefined) metadata.set(KEY, requestId);
    sendMetadata(metadata);
  };
  const sendStatus = call.sendStatus.bind(call);
  call.sendStatus = (status) => {
    if (isBegun || requestId === undefined) {
      sendStatus(status);
      return;
    }
    const metadata = status.metadata?.clone() ?? new Metadata();
    metadata.set(KEY, requestId);
    sendStatus({ ...status, metadata });
  };
  return {
    onReceiveMetadata(metadata, pass) {
      const [given] = metadata.get(KEY);
      requestId = requestIdOf(given);
      isOwn = requestId === given;
      if (!isOwn) metadata.set(KEY, requestId);
      pass(metadata);
    },
  };
}
