import { status as codes, Metadata, type StatusObject } from "@grpc/grpc-js";
import { Status } from "../../gen/google/rpc/status.js";
import { type Answer, toAnswer } from "../calls/answer.js";

/** Where an answer becomes a gRPC status, with its details as every language's library looks for them. */
export function statusOf({ code: name, message, details, retryAfterMs }: Answer): StatusObject {
  const code = codes[name];
  const any = details.map(({ type, value }) => ({ typeUrl: `type.googleapis.com/${type}`, value }));
  const metadata = new Metadata();
  metadata.set(DETAILS_KEY, Buffer.from(Status.encode({ code, message, details: any }).finish()));
  const pushback = pushbackOf(name, retryAfterMs);
  if (pushback !== undefined) metadata.set(PUSHBACK_KEY, String(pushback));
  return { code, details: message, metadata };
}

/**
 * What gRPC's own retries go by, which do not look into details: after how many milliseconds to try again. -1: not at all, also where
 * the code is one that is tried again when its cause passes.
 */
function pushbackOf(code: Answer["code"], retryAfterMs: number | undefined): number | undefined {
  if (retryAfterMs !== undefined) return Math.ceil(retryAfterMs);
  return code === "RESOURCE_EXHAUSTED" ? -1 : undefined;
}

export const toStatus = (error: unknown, requestId: string): StatusObject => statusOf(toAnswer(error, requestId));

export const DETAILS_KEY = "grpc-status-details-bin";
const PUSHBACK_KEY = "grpc-retry-pushback-ms";
