import { Metadata, type ServerInterceptingCallInterface, type ServerListener } from "@grpc/grpc-js";
import { requestIdOf } from "../calls/execution.js";

const KEY = "x-request-id";

/**
 * Tells every caller by which id the log has their call: their own, or one that is made here. With the headers, or, where there is
 * nothing but a status, with that: headers of their own would keep gRPC's own retries from trying again.
 */
export function returnRequestId(call: ServerInterceptingCallInterface): Pick<ServerListener, "onReceiveMetadata"> {
  let requestId: string | undefined;
  let isBegun = false;
  const sendMetadata = call.sendMetadata.bind(call);
  call.sendMetadata = (metadata) => {
    isBegun = true;
    if (requestId !== undefined) metadata.set(KEY, requestId);
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
      if (requestId !== given) metadata.set(KEY, requestId);
      pass(metadata);
    },
  };
}
