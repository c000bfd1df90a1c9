import type { ClientHttp2Stream, IncomingHttpHeaders } from "node:http2";
import { Metadata, type ServiceError } from "@grpc/grpc-js";
import { decodeFailure, type Failure } from "../../support/api.js";
import { frameHead, type RawClient } from "../../support/raw-grpc.js";

/**
 * How one call over bare HTTP/2 went: answered, with a status; refused before the service looked at it, as a GOAWAY does with what
 * comes after; or lost, which leaves its caller in the dark.
 */
export type Attempt =
  | { readonly kind: "ok"; readonly body: Buffer; readonly ms: number }
  | { readonly kind: "failed"; readonly failure: Failure; readonly ms: number }
  | { readonly kind: "refused" }
  | { readonly kind: "lost"; readonly why: string };

const REFUSED_STREAM = 7;

/** The message may be given in parts, so that large ones share what they have in common rather than each take memory for it. */
export async function attempt(raw: RawClient, path: string, ...message: Uint8Array[]): Promise<Attempt> {
  const started = performance.now();
  let stream: ClientHttp2Stream;
  try {
    stream = raw.open(path);
  } catch {
    // The connection is closing: nothing was sent.
    return { kind: "refused" };
  }
  let status: IncomingHttpHeaders | undefined;
  let fault: (Error & { code?: string }) | undefined;
  const note = (headers: IncomingHttpHeaders): void => {
    if (headers["grpc-status"] !== undefined) status = headers;
  };
  const chunks: Buffer[] = [];
  stream
    .on("response", note)
    .on("trailers", note)
    .on("data", (chunk: Buffer) => chunks.push(chunk))
    .on("error", (error) => {
      fault = error;
    });
  const length = message.reduce((sum, part) => sum + part.length, 0);
  stream.cork();
  for (const part of [frameHead(length), ...message]) stream.write(part);
  stream.end();
  await new Promise<void>((resolve) => stream.on("close", resolve));
  const ms = performance.now() - started;
  if (status) {
    const code = Number(status["grpc-status"]);
    if (code === 0) return { kind: "ok", body: Buffer.concat(chunks), ms };
    const details = decodeURIComponent(String(status["grpc-message"] ?? ""));
    const error = { code, details, metadata: Metadata.fromHttp2Headers(status) } as ServiceError;
    return { kind: "failed", failure: decodeFailure(error), ms };
  }
  const isRefused = stream.rstCode === REFUSED_STREAM || stream.id === undefined;
  return isRefused
    ? { kind: "refused" }
    : { kind: "lost", why: `${fault?.code ?? "no error"}, reset ${stream.rstCode}` };
}
