import { MetadataMode, type User } from "../../../gen/sessions/v1/resources.js";
import { ListUsersRequest } from "../../../gen/sessions/v1/user_service.js";
import type { Call } from "../../domain/call.js";
import type { SessionService } from "../../services/session/session.js";
import type { UserService } from "../../services/user.js";
import { fieldsOf, readBody } from "./body.js";
import { jsonArray, type Listing, type Place, pageOf } from "./listing.js";
import { createTimeIn, toZepUser, userNumber } from "./objects.js";
import type { Positions } from "./positions.js";
import { json, OK, type Route } from "./route.js";
import { listSessions } from "./sessions.js";

export function userRoutes(users: UserService, sessions: SessionService, positions: Positions<Place>): Route[] {
  return [
    {
      method: "POST",
      url: "/user",
      path: "/zep.v1/AddUser",
      status: 201,
      async run({ body }, call) {
        const fields = fieldsOf(readBody(body));
        const request = {
          userId: fields.text("user_id") ?? "",
          email: fields.text("email") ?? "",
          firstName: fields.text("first_name") ?? "",
          lastName: fields.text("last_name") ?? "",
          metadata: fields.object("metadata"),
        };
        fields.done();
        const { user } = await users.createUser(request, call);
        return json(toZepUser(user as User));
      },
    },
    {
      method: "GET",
      url: "/user",
      path: "/zep.v1/ListUsers",
      list: ({ query, connection }, call) =>
        jsonArray(pageOf(listingOf(users, call), query, connection, positions), toZepUser),
    },
    {
      method: "GET",
      url: "/user/:id",
      path: "/zep.v1/GetUser",
      async run({ ids }, call) {
        const { user } = await users.getUser({ userId: ids.id }, call);
        return json(toZepUser(user as User));
      },
    },
    {
      method: "PATCH",
      url: "/user/:id",
      path: "/zep.v1/UpdateUser",
      async run({ ids, body }, call) {
        const fields = fieldsOf(readBody(body));
        // Empty texts are how the SDKs' types say that a field is not to change.
        const request = {
          userId: ids.id,
          email: fields.text("email") || undefined,
          firstName: fields.text("first_name") || undefined,
          lastName: fields.text("last_name") || undefined,
          metadata: fields.object("metadata"),
          metadataMode: MetadataMode.METADATA_MODE_MERGE,
          etag: "",
        };
        fields.done();
        const { user } = await users.updateUser(request, call);
        return json(toZepUser(user as User));
      },
    },
    {
      // The legacy server erases users, and whoever deletes one relies on it: their ids are free at once.
      method: "DELETE",
      url: "/user/:id",
      path: "/zep.v1/DeleteUser",
      isUnbounded: true,
      async run({ ids }, call) {
        await users.purgeUser({ userId: ids.id }, call);
        return OK;
      },
    },
    {
      method: "GET",
      url: "/user/:id/sessions",
      path: "/zep.v1/ListUserSessions",
      list: (incoming, call) => listSessions(sessions, positions, incoming.ids.id, incoming, call),
    },
  ];
}

function listingOf(users: UserService, call: Call): Listing<User> {
  const list = async function* (request: Partial<ListUsersRequest>) {
    yield* users.listUsers(ListUsersRequest.fromPartial(request), call);
  };
  return {
    name: JSON.stringify(["users", call.project, call.user]),
    async *read({ cursor }, limit) {
      for await (const chunk of list({ cursor, limit, chunkSize: limit })) {
        yield { items: chunk.users, nextCursor: chunk.nextCursor };
      }
    },
    numberOf: userNumber,
    async find(number) {
      const created = createTimeIn(number);
      let skip = 0;
      let count = 0;
      for await (const chunk of list({ chunkSize: 1000 })) {
        for (const user of chunk.users) {
          const other = userNumber(user);
          count += 1;
          if (createTimeIn(other) > created) return { place: { cursor: "" }, skip };
          if (createTimeIn(other) < created || other === number) skip = count;
        }
      }
      return { place: { cursor: "" }, skip };
    },
    beyond: () => undefined,
  };
}
