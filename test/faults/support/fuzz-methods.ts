import type { BinaryReader } from "@bufbuild/protobuf/wire";
import * as keyApi from "../../../gen/sessions/v1/key_service.js";
import * as memoryApi from "../../../gen/sessions/v1/memory_service.js";
import * as purgeApi from "../../../gen/sessions/v1/purge_service.js";
import * as sessionApi from "../../../gen/sessions/v1/session_service.js";
import * as userApi from "../../../gen/sessions/v1/user_service.js";

/** The kinds of fields of a request, by their numbers: what each of them refuses is known from the contract alone. */
export interface Kinds {
  readonly ids?: readonly number[];
  readonly optionalIds?: readonly number[];
  readonly texts?: readonly number[];
  readonly structs?: readonly number[];
  readonly counts?: readonly number[];
  readonly counts64?: readonly number[];
  readonly enums?: readonly number[];
  readonly times?: readonly number[];
  readonly durations?: readonly number[];
  readonly cursors?: readonly number[];
  readonly etags?: readonly number[];
  readonly projects?: readonly number[];
}

export interface FuzzedMethod {
  readonly name: string;
  readonly path: string;
  readonly kinds: Kinds;
  readonly responseStream: boolean;
  /** How often it is chosen; what costs the database more than others, less often. */
  readonly weight: number;
  encode(request: object): Uint8Array;
  decodeRequest(bytes: Uint8Array): Record<string, unknown>;
  decodeResponse(bytes: Uint8Array): Record<string, unknown>;
}

const KINDS: Readonly<Record<string, Kinds & { weight?: number }>> = {
  createSession: { ids: [1], optionalIds: [2], structs: [3], times: [4], durations: [5] },
  getSession: { ids: [1] },
  batchGetSessions: { ids: [1] },
  updateSession: { ids: [1], structs: [2], enums: [3], etags: [5], times: [6], durations: [7] },
  deleteSession: { ids: [1], etags: [3] },
  undeleteSession: { ids: [1], weight: 0.5 },
  purgeSession: { ids: [1], weight: 0.3 },
  forkSession: { ids: [1], optionalIds: [3], structs: [5], weight: 0.3 },
  listSessions: { counts: [1, 3], cursors: [2], optionalIds: [4], structs: [5], times: [6, 7, 11, 12], enums: [8] },
  watchSessions: { optionalIds: [1, 2], cursors: [3], weight: 0.3 },
  addMemory: {
    ids: [1],
    optionalIds: [3],
    structs: [4, 6],
    counts64: [5],
    enums: [7],
    times: [8],
    durations: [9],
    weight: 2,
  },
  getMemory: { ids: [1], counts: [2, 3, 4], enums: [5] },
  listMessages: { ids: [1], counts: [2, 4], cursors: [3] },
  getMessage: { ids: [1, 2] },
  updateMessage: { ids: [1, 2], structs: [3], enums: [4], counts: [5], texts: [8], etags: [9] },
  deleteMessage: { ids: [1, 2] },
  rewindMemory: { ids: [1], optionalIds: [2], counts64: [3, 4] },
  clearMemory: { ids: [1] },
  setSummary: { ids: [1, 3], structs: [4], counts: [5] },
  searchMemory: { optionalIds: [3, 4], structs: [2], enums: [5, 9], times: [6, 7], counts: [8, 10], weight: 0.5 },
  createUser: { ids: [1], texts: [2, 3, 4], structs: [5] },
  getUser: { ids: [1] },
  updateUser: { ids: [1], texts: [2, 3, 4], structs: [5], enums: [6], etags: [7] },
  deleteUser: { ids: [1], weight: 0.3 },
  undeleteUser: { ids: [1], weight: 0.3 },
  purgeUser: { ids: [1], weight: 0.1 },
  listUsers: { counts: [1, 3], cursors: [2] },
  listErasures: { counts: [1, 3], cursors: [2] },
  purgeDeleted: { durations: [1], weight: 0.1 },
  createKey: { texts: [1], enums: [2], optionalIds: [3], times: [4], projects: [5], weight: 0.5 },
  listKeys: { counts: [1, 3], cursors: [2], projects: [4] },
  revokeKey: { ids: [1], projects: [2] },
};

/** A NewMessage within an AddMemoryRequest. */
export const NEW_MESSAGE: Kinds = {
  optionalIds: [1, 10],
  texts: [2, 6],
  enums: [3],
  structs: [7],
  counts: [8],
  times: [9],
};

interface Codec {
  fromPartial(partial: object): unknown;
  encode(message: unknown): { finish(): Uint8Array };
  decode(bytes: Uint8Array | BinaryReader): unknown;
}

interface Definition {
  readonly path: string;
  readonly responseStream: boolean;
}

function methodsOf(definitions: object, api: object): FuzzedMethod[] {
  const codecs = api as Record<string, Codec>;
  return Object.entries(definitions as Record<string, Definition>).map(([name, { path, responseStream }]) => {
    const type = `${name.charAt(0).toUpperCase()}${name.slice(1)}`;
    const request = codecs[`${type}Request`] as Codec;
    const response = codecs[`${type}Response`] as Codec;
    const kinds = KINDS[name];
    if (!kinds) throw new Error(`${name} is new: say in KINDS what its fields are`);
    return {
      name,
      path,
      kinds,
      responseStream,
      weight: kinds.weight ?? 1,
      encode: (partial) => request.encode(request.fromPartial(partial)).finish(),
      decodeRequest: (bytes) => request.decode(bytes) as Record<string, unknown>,
      decodeResponse: (bytes) => response.decode(bytes) as Record<string, unknown>,
    };
  });
}

export const METHODS: readonly FuzzedMethod[] = [
  ...methodsOf(sessionApi.SessionServiceService, sessionApi),
  ...methodsOf(memoryApi.MemoryServiceService, memoryApi),
  ...methodsOf(userApi.UserServiceService, userApi),
  ...methodsOf(purgeApi.PurgeServiceService, purgeApi),
  ...methodsOf(keyApi.KeyServiceService, keyApi),
];
