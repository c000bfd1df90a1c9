import { status as codes, Metadata, type StatusObject } from "@grpc/grpc-js";
import { Status } from "../../gen/google/rpc/status.js";
import { type Answer, toAnswer } from "../calls/answer.js";

/** Where an answer becomes a gRPC status, with its details as every language's library looks for them. */
export function statusOf({ code: name, message, details }: Answer): StatusObject {
  const code = codes[name];
  const any = details.map(({ type, value }) => ({ typeUrl: `type.googleapis.com/${type}`, value }));
  const metadata = new Metadata();
  metadata.set(DETAILS_KEY, Buffer.from(Status.encode({ code, message, details: any }).finish()));
  return { code, details: message, metadata };
}

export const toStatus = (error: unknown, requestId: string): StatusObject => statusOf(toAnswer(error, requestId));

export const DETAILS_KEY = "grpc-status-details-bin";
