import type { Role } from "../domain/principal.js";

/**
 * What each method of the process takes, named once. A method that is not here is closed to everybody, so that a new one is thought
 * about; a test holds this table against the protos.
 */
const METHODS: Readonly<Record<string, Readonly<Record<string, Role | "anybody">>>> = {
  "sessions.v1.SessionService": {
    CreateSession: "writer",
    GetSession: "reader",
    BatchGetSessions: "reader",
    UpdateSession: "writer",
    DeleteSession: "writer",
    UndeleteSession: "writer",
    PurgeSession: "admin",
    ForkSession: "writer",
    ListSessions: "reader",
    WatchSessions: "reader",
  },
  "sessions.v1.MemoryService": {
    AddMemory: "writer",
    GetMemory: "reader",
    ListMessages: "reader",
    GetMessage: "reader",
    UpdateMessage: "writer",
    DeleteMessage: "writer",
    RewindMemory: "writer",
    ClearMemory: "writer",
    SetSummary: "writer",
    SearchMemory: "reader",
  },
  "sessions.v1.UserService": {
    CreateUser: "writer",
    GetUser: "reader",
    UpdateUser: "writer",
    DeleteUser: "writer",
    UndeleteUser: "writer",
    PurgeUser: "admin",
    ListUsers: "reader",
  },
  "sessions.v1.PurgeService": {
    PurgeDeleted: "admin",
    ListErasures: "admin",
  },
  "sessions.v1.KeyService": {
    CreateKey: "admin",
    ListKeys: "admin",
    RevokeKey: "admin",
  },
  // The legacy API. There whoever may write may delete users, and relies on their being gone.
  "zep.v1": {
    AddSession: "writer",
    GetSession: "reader",
    UpdateSession: "writer",
    ListSessions: "reader",
    AddMemory: "writer",
    GetMemory: "reader",
    DeleteMemory: "writer",
    SearchMemory: "reader",
    ListMessages: "reader",
    GetMessage: "reader",
    UpdateMessage: "writer",
    AddUser: "writer",
    GetUser: "reader",
    UpdateUser: "writer",
    DeleteUser: "writer",
    ListUsers: "reader",
    ListUserSessions: "reader",
  },
  // Probes have no credentials.
  "grpc.health.v1.Health": {
    Check: "anybody",
    Watch: "anybody",
    List: "anybody",
  },
  "grpc.reflection.v1.ServerReflection": {
    ServerReflectionInfo: "reader",
  },
  "grpc.reflection.v1alpha.ServerReflection": {
    ServerReflectionInfo: "reader",
  },
};

const ROLES_BY_PATH: ReadonlyMap<string, Role | "anybody"> = new Map(
  Object.entries(METHODS).flatMap(([service, methods]) =>
    Object.entries(methods).map(([method, role]) => [`/${service}/${method}`, role] as const),
  ),
);

/** The role that a method takes, by its path; undefined when nobody may call it. */
export function roleFor(path: string): Role | "anybody" | undefined {
  return ROLES_BY_PATH.get(path);
}
