import {
  AddMemoryRequest,
  GetMemoryRequest,
  MemoryServiceService,
  SearchMemoryRequest,
} from "../../gen/sessions/v1/memory_service.js";
import type { RoleType } from "../../gen/sessions/v1/resources.js";
import {
  GetSessionRequest,
  ListSessionsRequest,
  SessionServiceService,
} from "../../gen/sessions/v1/session_service.js";
import { idOf } from "../../src/domain/keys.js";
import type { SessionRecord } from "../../src/domain/records.js";
import { frame } from "../load/frames.js";
import { QUESTION, type Said } from "./records.js";

/** Requests as bytes, framed, ready to be sent again and again. */

export const PATHS = {
  getSession: SessionServiceService.getSession.path,
  deleteSession: SessionServiceService.deleteSession.path,
  listSessions: SessionServiceService.listSessions.path,
  addMemory: MemoryServiceService.addMemory.path,
  getMemory: MemoryServiceService.getMemory.path,
  searchMemory: MemoryServiceService.searchMemory.path,
} as const;

export function getSession({ _id }: SessionRecord): Buffer {
  return frame(GetSessionRequest.encode(GetSessionRequest.fromPartial({ sessionId: idOf(_id) })).finish());
}

/** Without message ids, as they would make the second sending a repetition of the first. */
export function addMemory({ _id }: SessionRecord, said: readonly Said[] = [QUESTION]): Buffer {
  const messages = said.map((one) => ({ ...one, roleType: one.roleType as RoleType }));
  const request = AddMemoryRequest.fromPartial({ sessionId: idOf(_id), messages });
  return frame(AddMemoryRequest.encode(request).finish());
}

export function getMemory({ _id }: SessionRecord, lastN: number): Buffer {
  return frame(GetMemoryRequest.encode(GetMemoryRequest.fromPartial({ sessionId: idOf(_id), lastN })).finish());
}

/** In all sessions of a user. */
export function searchMemory(userId: string, text: string): Buffer {
  return frame(SearchMemoryRequest.encode(SearchMemoryRequest.fromPartial({ userId, text })).finish());
}

export function listSessions(request: Parameters<typeof ListSessionsRequest.fromPartial>[0]): Buffer {
  return frame(ListSessionsRequest.encode(ListSessionsRequest.fromPartial(request)).finish());
}
