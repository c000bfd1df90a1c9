import { KeyServiceService } from "../../gen/sessions/v1/key_service.js";
import { MemoryServiceService } from "../../gen/sessions/v1/memory_service.js";
import { PurgeServiceService } from "../../gen/sessions/v1/purge_service.js";
import { SessionServiceService } from "../../gen/sessions/v1/session_service.js";
import { UserServiceService } from "../../gen/sessions/v1/user_service.js";

const DEFINITIONS = {
  ...SessionServiceService,
  ...MemoryServiceService,
  ...UserServiceService,
  ...PurgeServiceService,
  ...KeyServiceService,
} as const;

type Definitions = typeof DEFINITIONS;
type MethodName = keyof Definitions;

export type RequestOf<Name extends MethodName> = Parameters<Definitions[Name]["requestSerialize"]>[0];
export type ResponseOf<Name extends MethodName> = ReturnType<Definitions[Name]["responseDeserialize"]>;

export type StreamName = {
  [Name in MethodName]: Definitions[Name]["responseStream"] extends true ? Name : never;
}[MethodName];
/** Streams with an end, and a cursor in each of their chunks. */
export type ListingName = Exclude<StreamName, "watchSessions">;
export type UnaryName = Exclude<MethodName, StreamName>;

export interface Method<Request, Response> {
  readonly path: string;
  requestSerialize(request: Request): Buffer;
  responseDeserialize(bytes: Buffer): Response;
}

/** The RPCs of all services by name; no two services share one. */
export const METHODS: { readonly [Name in MethodName]: Method<RequestOf<Name>, ResponseOf<Name>> } = DEFINITIONS;
