import { type ClientReadableStream, Metadata, type ServiceError } from "@grpc/grpc-js";
import {
  EventType,
  SessionServiceService,
  WatchSessionsRequest,
  type WatchSessionsResponse,
} from "../../gen/sessions/v1/session_service.js";
import { type Api, decodeFailure, type Failure, type Loose } from "./api.js";
import type { Refusal } from "./contract.js";
import { eventually } from "./eventually.js";

/** A watcher as a stock client has it. */
export interface Watch {
  /** What has come so far, the first WATCHING included. */
  readonly responses: readonly WatchSessionsResponse[];
  /** The same without WATCHING. */
  events(): readonly WatchSessionsResponse[];
  /** Waits until so many events have come. */
  until(count: number): Promise<readonly WatchSessionsResponse[]>;
  /** Waits until an event has come of which this holds, and answers with all up to it. */
  untilSome(what: string, holds: (event: WatchSessionsResponse) => boolean): Promise<readonly WatchSessionsResponse[]>;
  /** How it has ended, when it has. */
  failure(): Failure | undefined;
  failed(): Promise<Failure>;
  pause(): void;
  resume(): void;
  /** The token of the last response. */
  token(): string;
  stop(): Promise<void>;
}

/** Begins to watch; resolves when the first response is there. */
export async function watch(
  api: Pick<Api, "client">,
  request: Loose<WatchSessionsRequest> = {},
  headers: Readonly<Record<string, string>> = {},
): Promise<Watch> {
  const watching = beginToWatch(api, request, headers);
  await eventually("the watcher is told that it watches", () => {
    const failure = watching.failure();
    if (failure) throw Object.assign(new Error(`${failure.code} ${failure.reason}: ${failure.message}`), failure);
    return watching.responses.length > 0;
  });
  return watching;
}

/** How it is refused. */
export async function refusedWatch(...args: Parameters<typeof beginToWatch>): Promise<Refusal> {
  const { code, reason, domain, metadata, fields } = await beginToWatch(...args).failed();
  return { code, reason, domain, metadata, fields };
}

export function beginToWatch(
  { client }: Pick<Api, "client">,
  request: Loose<WatchSessionsRequest> = {},
  headers: Readonly<Record<string, string>> = {},
): Watch {
  const { path, requestSerialize, responseDeserialize } = SessionServiceService.watchSessions;
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
  const responses: WatchSessionsResponse[] = [];
  let failure: Failure | undefined;
  const stream: ClientReadableStream<WatchSessionsResponse> = client.makeServerStreamRequest(
    path,
    requestSerialize,
    responseDeserialize,
    WatchSessionsRequest.fromPartial(request),
    metadata,
  );
  const ended = new Promise<void>((resolve) => stream.on("close", resolve).on("error", resolve).on("end", resolve));
  stream.on("data", (response: WatchSessionsResponse) => responses.push(response));
  stream.on("error", (error: ServiceError) => {
    failure = decodeFailure(error);
  });
  const events = () => responses.filter(({ eventType }) => eventType !== EventType.EVENT_TYPE_WATCHING);
  const alive = <T>(found: T | undefined | false): T | undefined | false => {
    if (failure && !found) throw new Error(`the watcher has ended: ${failure.code} ${failure.reason}`);
    return found;
  };
  return {
    responses,
    events,
    until: (count) =>
      eventually(`${count} events (there are ${events().length})`, () =>
        alive(events().length >= count && events()),
      ) as Promise<readonly WatchSessionsResponse[]>,
    untilSome: (what, holds) =>
      eventually(what, () => {
        const all = events();
        const at = all.findIndex(holds);
        return alive(at >= 0 && all.slice(0, at + 1));
      }) as Promise<readonly WatchSessionsResponse[]>,
    failure: () => failure,
    failed: () => eventually("the watcher ends", () => failure) as Promise<Failure>,
    pause: () => void stream.pause(),
    resume: () => void stream.resume(),
    token: () => responses.at(-1)?.resumeToken ?? "",
    async stop() {
      stream.cancel();
      await ended;
    },
  };
}

/** What a test says of an event: its type without its prefix, its session, and the ids of its messages. */
export function told({ eventType, sessionId, messageIds }: WatchSessionsResponse): string {
  const [name = ""] = Object.entries(EventType).find(([, value]) => value === eventType) ?? [];
  return [name.slice("EVENT_TYPE_".length), sessionId, ...messageIds].join(" ");
}
