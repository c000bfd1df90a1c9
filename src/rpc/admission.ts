import { type Metadata, ServerInterceptingCall, type ServerInterceptor } from "@grpc/grpc-js";
import type { Admission, Arrival } from "../calls/admission/index.js";
import type { Caller } from "../calls/authentication.js";
import type { Decoded } from "../calls/decoding.js";
import { refuse, streamOf } from "./refuse.js";

/** Where gRPC calls meet the admission: before their requests have been read, and again when these are there. */
export function admitted(
  admission: Admission,
  /** Whether a method counts: probes, say, must come through. */
  isSubject: (path: string) => boolean,
  callerOf: (metadata: Metadata) => Caller,
  isEndless: (path: string) => boolean,
): ServerInterceptor {
  return ({ path, responseStream }, call) => {
    if (!isSubject(path)) return new ServerInterceptingCall(call);
    const stream = streamOf(call);
    let arrival: Arrival | undefined;
    let isIn = false;
    const arrived = (chunk: Buffer): void => arrival?.arrived(chunk.length);
    return new ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata(metadata, pass) {
            const { principal } = callerOf(metadata);
            arrival = admission.begin(
              { path, streams: responseStream, endless: isEndless(path), principal },
              (error) => {
                stream?.off("data", arrived);
                refuse(call, error);
              },
            );
            if (arrival.isRefused) return;
            stream?.on("data", arrived);
            pass(metadata);
          },
          onReceiveMessage(message: Decoded<unknown>, pass) {
            // A second one is a fault that grpc-js answers; it must not take a second place.
            if (!isIn && !arrival?.enter(message.bytes)) return;
            isIn = true;
            pass(message);
          },
          onReceiveHalfClose(pass) {
            // The rest of a request may just have come when it was refused. Nothing is done before this has been passed on.
            if (arrival?.isRefused) return;
            arrival?.complete();
            stream?.off("data", arrived);
            pass();
          },
          // Comes once, at the end of every call, however it ended.
          onCancel() {
            stream?.off("data", arrived);
            arrival?.leave();
          },
        }),
    });
  };
}
