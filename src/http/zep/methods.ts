/** The calls of the legacy API, for those who count calls by what they are. */
export const ZEP_METHODS: readonly { readonly path: string; readonly streams: boolean }[] = [
  ...["AddSession", "GetSession", "UpdateSession", "AddMemory", "GetMemory", "DeleteMemory", "SearchMemory"].map(call),
  ...["GetMessage", "UpdateMessage", "AddUser", "GetUser", "UpdateUser", "DeleteUser"].map(call),
  ...["ListSessions", "ListMessages", "ListUsers", "ListUserSessions"].map(list),
];

function call(name: string) {
  return { path: `/zep.v1/${name}`, streams: false };
}

function list(name: string) {
  return { path: `/zep.v1/${name}`, streams: true };
}
